/* Shared by the programs: how often, and where the result goes.  No library but the compiler's own. */
#include <stddef.h>
#include <stdint.h>
extern const volatile uint32_t bench_rounds; /* a word in flash that the caller may overwrite */
extern volatile uint32_t bench_result;
uint32_t work(void);
#define BENCH volatile uint32_t bench_result
