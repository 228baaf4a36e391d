"""C programs for differential tests: each prints one number, the same on every machine."""

MAIN = """
#include <stdint.h>
#include <stddef.h>
uint32_t work(void);
#ifdef __arm__
static uint32_t host(uint32_t op, const void *arg)
{
    register uint32_t r0 __asm__("r0") = op;
    register const void *r1 __asm__("r1") = arg;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
void *memcpy(void *to, const void *from, size_t n)
{
    char *a = to;
    const char *b = from;
    while (n--) { *a++ = *b++; __asm__ volatile(""); }
    return to;
}
void *memset(void *to, int c, size_t n)
{
    char *a = to;
    while (n--) { *a++ = (char)c; __asm__ volatile(""); }
    return to;
}
void cmain(void);
void cmain(void)
{
    static const char digits[] = "0123456789abcdef";
    char text[9];
    uint32_t value, block[2];
    int i;
    value = work();
    for (i = 0; i < 8; i++) text[i] = digits[value >> (28 - 4 * i) & 15];
    text[8] = 0;
    host(4, text);
    block[0] = 0x20026; block[1] = 0;
    host(0x20, block);
    for (;;) {}
}
#else
#include <stdio.h>
int main(void) { printf("%08x", (unsigned)work()); return 0; }
#endif
"""

START = """
.syntax unified
.thumb
.section .vectors, "a"
.word __stack_top
.word reset + 1
.text
.thumb_func
.global reset
.type reset, %function
reset:
#ifdef __ARM_FP
  ldr r0, =0xE000ED88
  ldr r1, [r0]
  orr r1, r1, #0xF00000
  str r1, [r0]
  dsb
  isb
#endif
  bl cmain
"""

PROGRAMS = {
    "sort": """
#include <stdint.h>
uint32_t work(void);
static void sort(int *a, int lo, int hi)
{
    int i = lo, j = hi, p = a[(lo + hi) / 2], t;
    while (i <= j) {
        while (a[i] < p) i++;
        while (a[j] > p) j--;
        if (i <= j) { t = a[i]; a[i++] = a[j]; a[j--] = t; }
    }
    if (lo < j) sort(a, lo, j);
    if (i < hi) sort(a, i, hi);
}
uint32_t work(void)
{
    int a[100], i;
    uint32_t x = 12345, h = 0;
    for (i = 0; i < 100; i++) { x = x * 1664525u + 1013904223u; a[i] = (int)(x >> 8) - 8000000; }
    sort(a, 0, 99);
    for (i = 0; i < 100; i++) h = h * 31 + (uint32_t)a[i];
    return h;
}
""",
    "machine": """
#include <stdint.h>
uint32_t work(void);
uint32_t work(void)
{
    static const uint8_t code[] = {1,2,3,4,5,6,7,0,3,3,2,9,8,1,5,7,6,4,2,0,1,1,3,8,9,9,4,5,6,0};
    uint32_t acc = 7, pass;
    unsigned i;
    for (pass = 0; pass < 40; pass++)
        for (i = 0; i < sizeof code; i++)
            switch (code[i]) {
            case 0: acc ^= acc << 3; break;
            case 1: acc += pass; break;
            case 2: if ((int32_t)acc < 0) acc = ~acc; else acc -= 5; break;
            case 3: acc *= 2654435761u; break;
            case 4: acc = (acc >> 7) | (acc << 25); break;
            case 5: acc = (acc & 0xff) < 100 ? acc + 1000 : acc - 17; break;
            case 6: acc -= (uint32_t)(int16_t)acc; break;
            case 7: if (acc > 0x70000000u && acc % 2) { acc += (uint32_t)(uint8_t)acc; } break;
            default: acc ^= 0x5a5a5a5au; break;
            }
    return acc;
}
""",
    "float": """
#include <stdint.h>
uint32_t work(void);
static float clamp(float x, float lo, float hi) { return x < lo ? lo : (x > hi ? hi : x); }
uint32_t work(void)
{
    float a[32], sum = 0.25f;
    int i, k;
    union { float f; uint32_t u; } v;
    for (i = 0; i < 32; i++) a[i] = (float)(i * 13 % 17) * 0.37f - 2.5f;
    for (k = 0; k < 6; k++)
        for (i = 1; i < 31; i++) {
            a[i] = clamp(a[i - 1] * 0.5f + a[i + 1] / 1.75f - a[i], -3.0f, 4.0f);
            sum = sum + a[i] * (float)(int)a[i - 1];
        }
    v.f = sum;
    return v.u;
}
""",
    "int8": """
#include <stdint.h>
uint32_t work(void);
static int32_t requantize(int64_t acc, int32_t m)
{
    int32_t v = (int32_t)((acc * m + (INT64_C(1) << 37)) >> 38);
    return v > 127 ? 127 : (v < -128 ? -128 : v);
}
uint32_t work(void)
{
    int8_t x[64], y[24];
    uint32_t h = 1;
    int i, o;
    for (i = 0; i < 64; i++) x[i] = (int8_t)(i * 37);
    for (o = 0; o < 24; o++) {
        int32_t acc = o * 100 - 700;
        for (i = 0; i < 64; i++) acc += x[i] * (int8_t)(i * 11 + o * 7);
        y[o] = (int8_t)requantize(acc, 1518500250);
        h = h * 31 + (uint8_t)y[o];
    }
    return h;
}
""",
}
