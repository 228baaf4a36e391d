/* Short blocks and branches that are hard to foretell: a sort, an interpreter and a binary search. */
#include "bench.h"
BENCH;
static uint16_t a[256];
static uint8_t code[512];

static void __attribute__((noinline, noclone)) sort(uint16_t *v, int lo, int hi)
{
    int i = lo, j = hi;
    uint16_t p = v[(lo + hi) / 2], t;
    while (i <= j) {
        while (v[i] < p) i++;
        while (v[j] > p) j--;
        if (i <= j) { t = v[i]; v[i++] = v[j]; v[j--] = t; }
    }
    if (lo < j) sort(v, lo, j);
    if (i < hi) sort(v, i, hi);
}

static uint32_t __attribute__((noinline, noclone)) interpret(uint32_t acc)
{
    for (unsigned i = 0; i < sizeof code; i++) {
        uint8_t c = code[i];
        if (c & 1) {
            if (c & 2) acc ^= acc << 3;
            else if (c & 4) acc += c;
            else if ((int32_t)acc < 0) acc = ~acc;
        } else if (c & 8) {
            if (acc & 16) acc -= 5;
            else acc = acc >> 1 | 0x40000000u;
        } else {
            while (acc & 3) acc += acc >> 2 & 1 ? 1 : 3;
            acc += 7;
        }
    }
    return acc;
}

static unsigned __attribute__((noinline, noclone)) find(uint16_t key)
{
    unsigned lo = 0, hi = 256;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (a[mid] < key) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

uint32_t work(void)
{
    uint32_t h = 1, seed = 11, r;
    for (r = 0; r < bench_rounds; r++) {
        for (int i = 0; i < 256; i++) { seed = seed * 1664525u + 1013904223u; a[i] = (uint16_t)(seed >> 16); }
        for (unsigned i = 0; i < sizeof code; i++) { seed = seed * 1664525u + 1013904223u; code[i] = (uint8_t)(seed >> 20); }
        sort(a, 0, 255);
        h = interpret(h);
        for (int i = 0; i < 128; i++) { seed = seed * 1664525u + 1013904223u; h += find((uint16_t)(seed >> 16)); }
    }
    return h;
}
