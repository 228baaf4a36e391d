/* From reset to main: vector table, FPU, initialised and zeroed memory.  For every Cortex-M; link.ld.in names the borders. */
#include <stdint.h>

#include "genn_port.h"

typedef void (*genn_handler)(void);

struct genn_vectors {
    unsigned char *stack;
    genn_handler handler[15];
};

extern unsigned char __stack_top[];
extern uint32_t __data_start[], __data_end[], __bss_start[], __bss_end[];
extern const uint32_t __data_load[];
extern const struct genn_vectors genn_vectors;

int main(void);
void genn_reset(void) __attribute__((noreturn));
void genn_stop(void);
void genn_nmi(void) __attribute__((weak, alias("genn_stop")));
void genn_fault(void) __attribute__((weak, alias("genn_stop")));
void genn_svc(void) __attribute__((weak, alias("genn_stop")));
void genn_pendsv(void) __attribute__((weak, alias("genn_stop")));
void genn_systick(void) __attribute__((weak, alias("genn_stop")));

/* An exception that nobody asked for ends here, where a debugger finds it. */
void genn_stop(void)
{
    for (;;) {
        __asm__ volatile("");
    }
}

const struct genn_vectors genn_vectors __attribute__((section(".vectors"), used)) = {
    __stack_top,
    {genn_reset, genn_nmi, genn_fault, genn_fault, genn_fault, genn_fault, 0, 0, 0, 0, genn_svc, genn_stop, 0, genn_pendsv,
     genn_systick}};

void genn_reset(void)
{
    const uint32_t *from = __data_load;
    /* volatile: the compiler must not make library calls of these loops */
    volatile uint32_t *to;

#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= UINT32_C(0xF) << 20; /* CPACR: full access to the FPU */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    for (to = __data_start; to < (volatile uint32_t *)__data_end; to++) {
        *to = *from++;
    }
    for (to = __bss_start; to < (volatile uint32_t *)__bss_end; to++) {
        *to = 0;
    }
    genn_port_exit(main());
}
