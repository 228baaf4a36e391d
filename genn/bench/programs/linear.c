/* An int8 fully connected layer, two products a turn: the loop that quantized networks spend their time in. */
#include "bench.h"
BENCH;
enum { IN = 256, OUT = 32 };
static int8_t x[IN], w[IN * OUT], y[OUT];

static void __attribute__((noinline, noclone)) linear(void)
{
    const int8_t *row = w;
    for (int o = 0; o < OUT; o++, row += IN) {
        int32_t acc = 1000 - o;
        const int8_t *a = x, *b = row, *end = x + IN;
        do {
            acc += a[0] * b[0];
            acc += a[1] * b[1];
            a += 2;
            b += 2;
        } while (a != end);
        acc >>= 9;
        y[o] = (int8_t)(acc > 127 ? 127 : acc < -128 ? -128 : acc);
    }
}

uint32_t work(void)
{
    uint32_t h = 1, r, seed = 7;
    for (int i = 0; i < IN * OUT; i++) { seed = seed * 1664525u + 1013904223u; w[i] = (int8_t)(seed >> 24); }
    for (r = 0; r < bench_rounds; r++) {
        for (int i = 0; i < IN; i++) x[i] = (int8_t)(i * 37 + (int)r + (int)h);
        linear();
        for (int i = 0; i < OUT; i++) h = h * 31 + (uint8_t)y[i];
    }
    return h;
}
