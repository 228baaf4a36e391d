/* Port to a board by itself: runs the network a few times and reports how many cycles each run took.
 *
 * The clock is DWT CYCCNT where the core has one (ARMv7-M: M3, M4), otherwise SysTick, whose 24 bits an interrupt extends
 * (M0, M0+).  Reports go through genn_port_putc, which does nothing here: define it in a file of your own, for example
 *
 *     void genn_port_putc(char c) { while (!(USART2->SR & USART_SR_TXE)) {} USART2->DR = (unsigned char)c; }
 *
 * and likewise genn_port_sample, which may put sensor data into an input (as it comes here it leaves what is there: zeros
 * at first), and genn_port_board, which sets up clocks and pins.  Runs: GENN_BOARD_RUNS, 10 if not defined.
 */
#include <stdint.h>

#include "genn_net.h"
#include "genn_port.h"

#ifndef GENN_BOARD_RUNS
#define GENN_BOARD_RUNS 10
#endif

#if defined(__ARM_ARCH) && __ARM_ARCH >= 7
#define HAS_DWT 1
#define DEMCR (*(volatile uint32_t *)0xE000EDFCu)
#define DWT_CTRL (*(volatile uint32_t *)0xE0001000u)
#define DWT_CYCCNT (*(volatile uint32_t *)0xE0001004u)
#else
#define HAS_DWT 0
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
static volatile uint32_t wraps;
void genn_systick(void);
#endif

void genn_port_putc(char c);
void genn_port_sample(void *to, unsigned long bytes);
void genn_port_board(void);

static uint32_t started, input, runs;

__attribute__((weak)) void genn_port_putc(char c)
{
    (void)c;
}

__attribute__((weak)) void genn_port_sample(void *to, unsigned long bytes)
{
    (void)to;
    (void)bytes;
}

__attribute__((weak)) void genn_port_board(void)
{
}

#if HAS_DWT
static void start_clock(void)
{
    DEMCR |= UINT32_C(1) << 24; /* TRCENA */
    DWT_CYCCNT = 0;
    DWT_CTRL |= 1;
}

static uint32_t now(void)
{
    return DWT_CYCCNT;
}
#else
void genn_systick(void)
{
    wraps++;
}

static void start_clock(void)
{
    SYST_RVR = 0xFFFFFF;
    SYST_CVR = 0;
    SYST_CSR = 7; /* the core's clock, interrupt, on */
}

static uint32_t now(void)
{
    uint32_t before, count;

    do {
        before = wraps;
        count = SYST_CVR;
    } while (before != wraps);
    return (before << 24) - count;
}
#endif

static void put_text(const char *text)
{
    while (*text != '\0') {
        genn_port_putc(*text++);
    }
}

/* Decimal without a division, which some cores would fetch from a library. */
static void put_number(uint32_t value)
{
    static const uint32_t powers[] = {1000000000, 100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
    unsigned i;
    int begun = 0;

    for (i = 0; i < 10; i++) {
        char digit = '0';

        while (value >= powers[i]) {
            value -= powers[i];
            digit++;
        }
        if (digit != '0' || begun || i == 9) {
            genn_port_putc(digit);
            begun = 1;
        }
    }
}

int genn_port_open(void)
{
    genn_port_board();
    start_clock();
    return 0;
}

int genn_port_read(void *to, unsigned long bytes)
{
    if (input == 0 && runs == GENN_BOARD_RUNS) {
        return 0;
    }
    genn_port_sample(to, bytes);
    input = input + 1 == GENN_INPUTS ? 0 : input + 1;
    return 1;
}

int genn_port_write(const void *from, unsigned long bytes)
{
    (void)from;
    (void)bytes;
    return 0;
}

void genn_port_begin(void)
{
    started = now();
}

void genn_port_end(void)
{
    uint32_t cycles = now() - started;

    runs++;
    put_text("run ");
    put_number(runs);
    put_text(": ");
    put_number(cycles);
    put_text(" cycles\n");
}

void genn_port_exit(int code)
{
    put_text(code == 0 ? "done\n" : "failed\n");
    for (;;) {
        __asm__ volatile("");
    }
}
