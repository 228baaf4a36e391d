/* What the firmware asks of its surroundings: samples in, results out, and a clock around each run.
 *
 * One file port_NAME.c implements these functions; genn's build links exactly one of them.
 *   port_semihost.c   files of the host through a debugger, QEMU or genn's emulator
 *   port_board.c      a board by itself: times each run and reports it through genn_port_putc
 */
#ifndef GENN_PORT_H
#define GENN_PORT_H

/* Get ready.  0, or another number when there is nothing to work with. */
int genn_port_open(void);

/* Fill bytes bytes at to with the next input.  1 done, 0 no more samples, -1 the data breaks off. */
int genn_port_read(void *to, unsigned long bytes);

/* Take bytes bytes of an output.  0, or another number when they cannot be taken. */
int genn_port_write(const void *from, unsigned long bytes);

/* Called right before and right after each run of the network. */
void genn_port_begin(void);
void genn_port_end(void);

/* The end; does not return. */
void genn_port_exit(int code) __attribute__((noreturn));

#endif
