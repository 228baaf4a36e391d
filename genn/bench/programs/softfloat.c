/* A float convolution, ReLU and pooling on a core without FPU: every product and sum is a call of the compiler's library. */
#include "bench.h"
BENCH;
enum { H = 12, W = 12, IN = 2, OUT = 4, K = 3 };
static float x[H][W][IN], w[OUT][K][K][IN], y[H - 2][W - 2][OUT];

static void __attribute__((noinline, noclone)) conv(void)
{
    for (int r = 0; r < H - 2; r++)
        for (int c = 0; c < W - 2; c++)
            for (int o = 0; o < OUT; o++) {
                float acc = 0.125f;
                for (int i = 0; i < K; i++)
                    for (int j = 0; j < K; j++)
                        for (int k = 0; k < IN; k++) acc += x[r + i][c + j][k] * w[o][i][j][k];
                y[r][c][o] = acc < 0.0f ? 0.0f : acc;
            }
}

uint32_t work(void)
{
    union { float f; uint32_t u; } v;
    uint32_t seed = 3, r;
    float *p = &w[0][0][0][0];
    v.f = 0.0f;
    for (int i = 0; i < OUT * K * K * IN; i++) { seed = seed * 1664525u + 1013904223u; p[i] = (float)(int32_t)seed * 2e-10f; }
    for (r = 0; r < bench_rounds; r++) {
        float sum = v.f * 0.5f;
        p = &x[0][0][0];
        for (int i = 0; i < H * W * IN; i++) { seed = seed * 1664525u + 1013904223u; p[i] = (float)(int32_t)seed * 1e-9f; }
        conv();
        p = &y[0][0][0];
        for (int i = 0; i < (H - 2) * (W - 2) * OUT; i++) sum += p[i];
        v.f = sum;
    }
    return v.u;
}
