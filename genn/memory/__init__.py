"""Planning of SRAM: which operator runs when, and where each tensor lies; docs/memory.md explains it."""
