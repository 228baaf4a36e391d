/* Runs a generated network over all samples that the port has; knows the network only through genn_net.h.
 *
 * genn_net.h is written by the build and maps GENN_RUN, GENN_ARENA_BYTES, ... onto the network's own names.
 * Exit codes: 0 all done, 2 no input, 3 the input breaks off inside of a sample, 4 the run failed, 5 an output was not taken.
 */
#include "genn_net.h"
#include "genn_port.h"

unsigned char genn_arena[GENN_ARENA_BYTES] __attribute__((aligned(GENN_ARENA_ALIGN)));

static const unsigned long input_bytes[] = GENN_INPUT_BYTES;
static const unsigned long output_bytes[] = GENN_OUTPUT_BYTES;

int main(void);

int main(void)
{
    int i, got;

    if (genn_port_open() != 0) {
        return 2;
    }
    for (;;) {
        for (i = 0; i < GENN_INPUTS; i++) {
            got = genn_port_read(GENN_INPUT(genn_arena, i), input_bytes[i]);
            if (got != 1) {
                return got == 0 && i == 0 ? 0 : 3;
            }
        }
        genn_port_begin();
        got = GENN_RUN(genn_arena);
        genn_port_end();
        if (got != 0) {
            return 4;
        }
        for (i = 0; i < GENN_OUTPUTS; i++) {
            if (genn_port_write(GENN_OUTPUT(genn_arena, i), output_bytes[i]) != 0) {
                return 5;
            }
        }
    }
}
