@ Vector table, reset, and an end: semihosting's exit.  Linked for Thumbulator's memories: flash at 0, RAM at 0x40000000.
.syntax unified
.thumb
.section .vectors, "a"
.word __stack_top
.word reset + 1
.text
.thumb_func
.global reset
.type reset, %function
reset:
  bl work
  ldr r1, =bench_result
  str r0, [r1]
  ldr r1, =0x20026
  movs r0, #0x18
.thumb_func
.global bench_end
.type bench_end, %function
bench_end:
  bkpt 0xab
  b .
.ltorg
.section .rodata.rounds, "a"
.balign 4
.global bench_rounds
.type bench_rounds, %object
.size bench_rounds, 4
bench_rounds: .word ROUNDS
