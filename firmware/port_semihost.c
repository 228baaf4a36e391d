/* Port to a host through semihosting (BKPT 0xAB): genn's emulator, QEMU, or a debugger on a real board.
 *
 * Reads genn_in.bin, the inputs of a sample one behind another and the samples likewise; writes genn_out.bin in the same way.
 */
#include <stdint.h>

#include "genn_port.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_READ_BINARY = 1, OPEN_WRITE_BINARY = 5, APPLICATION_EXIT = 0x20026 };

static uint32_t input_file, output_file;

static uint32_t host_call(uint32_t number, const uint32_t *block)
{
    register uint32_t r0 __asm__("r0") = number;
    register const uint32_t *r1 __asm__("r1") = block;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static uint32_t open_file(const char *name, uint32_t length, uint32_t mode)
{
    uint32_t block[3];

    block[0] = (uint32_t)(uintptr_t)name;
    block[1] = mode;
    block[2] = length;
    return host_call(SYS_OPEN, block);
}

/* Moves bytes and returns how many did not go. */
static uint32_t move(uint32_t number, uint32_t file, const void *at, unsigned long bytes)
{
    uint32_t block[3];

    block[0] = file;
    block[1] = (uint32_t)(uintptr_t)at;
    block[2] = (uint32_t)bytes;
    return host_call(number, block);
}

int genn_port_open(void)
{
    input_file = open_file("genn_in.bin", 11, OPEN_READ_BINARY);
    output_file = open_file("genn_out.bin", 12, OPEN_WRITE_BINARY);
    return input_file == UINT32_MAX || output_file == UINT32_MAX;
}

int genn_port_read(void *to, unsigned long bytes)
{
    uint32_t left = move(SYS_READ, input_file, to, bytes);

    return left == 0 ? 1 : (left == bytes ? 0 : -1);
}

int genn_port_write(const void *from, unsigned long bytes)
{
    return move(SYS_WRITE, output_file, from, bytes) != 0;
}

void genn_port_begin(void)
{
}

void genn_port_end(void)
{
}

void genn_port_exit(int code)
{
    uint32_t block[2];

    block[0] = APPLICATION_EXIT;
    block[1] = (uint32_t)code;
    for (;;) {
        (void)host_call(SYS_EXIT_EXTENDED, block);
    }
}
