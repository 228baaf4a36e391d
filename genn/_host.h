/* How the generated C of one network runs on the host: one table of the network, and the loop over samples.
 *
 * The table (`genn_host_table`) is written per model by genn/host_build.py, in a file that defines GENN_HOST_TABLE and
 * so compiles the loop too.  The Python module (genn/_host.pyx) and the stand-alone program that the sanitizers watch
 * (GENN_HOST_MAIN) share both.
 */
#ifndef GENN_HOST_H
#define GENN_HOST_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    size_t offset, bytes; /* in the arena */
} genn_host_value;

typedef struct {
    void (*run)(unsigned char *arena);
    size_t outputs; /* its outputs are the next so many taps */
} genn_host_layer;

typedef struct {
    const char *manifest; /* JSON */
    size_t arena_bytes, arena_align;
    int (*run)(void *arena);
    size_t n_inputs, n_outputs, n_layers, n_taps;
    const genn_host_value *inputs, *outputs, *taps; /* taps: the outputs of every layer, layer after layer */
    const genn_host_layer *layers;
} genn_host_model;

extern const genn_host_model genn_host_table;

/* A batch: for each input, output and tap the address of its first sample; samples lie one behind another. */
typedef struct {
    const genn_host_model *model;
    unsigned char **in, **out, **taps; /* taps: NULL to call run() instead of the layers one by one */
    volatile int64_t *progress;        /* NULL, or two numbers: the sample and the layer that runs now */
    size_t samples, chunk, next;
    int status; /* 0, -1: no memory, else what run() returned */
} genn_host_batch;

/* Run all samples on `threads` threads, the caller's included; fewer where no more can be had.  Returns the status. */
int genn_host_run(genn_host_batch *b, size_t threads);

#ifdef GENN_HOST_TABLE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define GENN_HOST_MAX_THREADS 256

static void genn_host_sample(const genn_host_batch *b, unsigned char *arena, size_t s, int *status)
{
    const genn_host_model *m = b->model;
    size_t i, l, tap = 0;

    for (i = 0; i < m->n_inputs; i++)
        memcpy(arena + m->inputs[i].offset, b->in[i] + s * m->inputs[i].bytes, m->inputs[i].bytes);
    if (b->taps == NULL) {
        if (b->progress != NULL)
            b->progress[0] = (int64_t)s;
        *status = m->run(arena);
    } else {
        for (l = 0; l < m->n_layers; l++) {
            if (b->progress != NULL) {
                b->progress[0] = (int64_t)s;
                b->progress[1] = (int64_t)l;
            }
            m->layers[l].run(arena);
            for (i = 0; i < m->layers[l].outputs; i++, tap++)
                if (b->taps[tap] != NULL)
                    memcpy(b->taps[tap] + s * m->taps[tap].bytes, arena + m->taps[tap].offset, m->taps[tap].bytes);
        }
    }
    for (i = 0; i < m->n_outputs; i++)
        memcpy(b->out[i] + s * m->outputs[i].bytes, arena + m->outputs[i].offset, m->outputs[i].bytes);
}

/* One worker with its own arena: takes chunk after chunk until none is left. */
static void *genn_host_worker(void *argument)
{
    genn_host_batch *b = argument;
    const genn_host_model *m = b->model;
    size_t first, s, align = m->arena_align < sizeof(void *) ? sizeof(void *) : m->arena_align;
    void *arena = NULL;
    int status = 0;

    if (posix_memalign(&arena, align, m->arena_bytes) != 0) {
        __atomic_store_n(&b->status, -1, __ATOMIC_RELAXED);
        return NULL;
    }
    memset(arena, 0xa5, m->arena_bytes); /* what a layer reads without writing it first shows as a mismatch */
    while (status == 0 && (first = __atomic_fetch_add(&b->next, b->chunk, __ATOMIC_RELAXED)) < b->samples)
        for (s = first; status == 0 && s < first + b->chunk && s < b->samples; s++)
            genn_host_sample(b, arena, s, &status);
    if (status != 0)
        __atomic_store_n(&b->status, status, __ATOMIC_RELAXED);
    free(arena);
    return NULL;
}

int genn_host_run(genn_host_batch *b, size_t threads)
{
    pthread_t worker[GENN_HOST_MAX_THREADS];
    size_t n = 0;

    if (threads > GENN_HOST_MAX_THREADS)
        threads = GENN_HOST_MAX_THREADS;
    if (threads > b->samples)
        threads = b->samples;
    b->chunk = threads > 1 ? b->samples / (threads * 8) : b->samples;
    b->chunk = b->chunk < 1 ? 1 : b->chunk > 64 ? 64 : b->chunk;
    b->next = 0;
    b->status = 0;
    while (n + 1 < threads && pthread_create(&worker[n], NULL, genn_host_worker, b) == 0)
        n++;
    genn_host_worker(b);
    while (n > 0)
        pthread_join(worker[--n], NULL);
    return b->status;
}
#endif

#ifdef GENN_HOST_MAIN
#include <stdio.h>

/* The stand-alone program: PROGRAM SAMPLES IN OUT.  IN holds each input's samples as one block, input after input; OUT
 * likewise.  Every buffer is allocated to the byte, so that a sanitizer sees the first byte too far. */
static unsigned char *genn_host_block(size_t bytes)
{
    unsigned char *p = malloc(bytes > 0 ? bytes : 1);

    if (p == NULL)
        exit(3);
    return p;
}

int main(int argc, char **argv)
{
    const genn_host_model *m = &genn_host_table;
    unsigned char **in = (unsigned char **)genn_host_block(m->n_inputs * sizeof *in);
    unsigned char **out = (unsigned char **)genn_host_block(m->n_outputs * sizeof *out);
    genn_host_batch batch;
    size_t i, n;
    int status;
    FILE *f;

    if (argc != 4 || (f = fopen(argv[2], "rb")) == NULL)
        return 2;
    n = (size_t)strtoull(argv[1], NULL, 10);
    for (i = 0; i < m->n_inputs; i++) {
        in[i] = genn_host_block(n * m->inputs[i].bytes);
        if (fread(in[i], 1, n * m->inputs[i].bytes, f) != n * m->inputs[i].bytes)
            return 2;
    }
    fclose(f);
    for (i = 0; i < m->n_outputs; i++)
        out[i] = genn_host_block(n * m->outputs[i].bytes);
    memset(&batch, 0, sizeof batch);
    batch.model = m;
    batch.in = in;
    batch.out = out;
    batch.samples = n;
    status = genn_host_run(&batch, 1);
    if ((f = fopen(argv[3], "wb")) == NULL)
        return 2;
    for (i = 0; i < m->n_outputs; i++) {
        if (fwrite(out[i], 1, n * m->outputs[i].bytes, f) != n * m->outputs[i].bytes)
            return 2;
        free(out[i]);
    }
    if (fclose(f) != 0)
        return 2;
    for (i = 0; i < m->n_inputs; i++)
        free(in[i]);
    free(in);
    free(out);
    return status == 0 ? 0 : 4;
}
#endif

#endif
