# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Native heart of the emulator: Unicorn through its C API, counting each block and edge without entering Python.

What is counted, and how it stays exact:

* one native block hook adds one to ``count`` of (bank, block) and, when the following block does not begin where this
  one ended, one to ``taken``; a dot product with the timing afterwards gives cycles (:mod:`emu.account`);
* a *bank* is the layer that is running.  A block at a bank's entry address pushes (bank, return address, stack
  pointer); a block at the awaited return address with the stack back at its height pops.  Whatever runs in between,
  soft-float or shared kernels, is therefore charged to the layer that called it, by counting;
* inside IT blocks a skipped instruction is still part of its block.  Unicorn tests the condition *before* it calls an
  instruction hook (``arm_skip_unless`` in its translate.c), so a hook on exactly these addresses counts what was
  executed;
* UDIV and SDIV take a number of cycles that depends on the operands: a hook on these addresses keeps a histogram of the
  quotient's width in bits.

Unicorn walks the whole list of instruction hooks at each call, so hooks are added lazily, only for code that runs: when
a block is met for the first time and holds such an instruction, the engine stops before the block's first instruction,
the hooks are added, the translation is dropped and the block begins again (its IT state lies in the engine and
survives).  Memory hooks are never used: they make Unicorn 2.1.4 execute IT blocks wrongly.
"""

from cpython.exc cimport PyErr_CheckSignals

from .errors import EmuError

include "_count.pxi"


class EngineError(EmuError):
    """Unicorn refused a call."""


cdef check(uc_err err, str doing):
    if err != 0:
        raise EngineError(f"Unicorn, {doing}: {uc_strerror(err).decode()}")


cdef class Engine:
    """One Unicorn engine with its memories, counters and hooks.

    ``windows`` are (address, size in bytes) of code; map the memories, then call :meth:`arm` once.
    """

    cdef uc_engine *uc
    cdef uc_context *fresh
    cdef State s
    cdef Memory memory[MAX_MEMORIES]
    cdef int memories
    cdef bint armed

    def __cinit__(self, int cpu_model):
        memset(&self.s, 0, sizeof(State))
        check(uc_open(UC_ARCH_ARM, UC_MODE_THUMB, &self.uc), "open")
        # first of all, and never with UC_MODE_MCLASS, which silently gives a Cortex-M33
        check(uc_ctl_set_cpu_model(self.uc, cpu_model), "set the CPU model")
        check(uc_context_alloc(self.uc, &self.fresh), "context")
        check(uc_context_save(self.uc, self.fresh), "context")

    def __dealloc__(self):
        cdef uint32_t b
        cdef int m
        if self.fresh != NULL:
            uc_context_free(self.fresh)
        if self.uc != NULL:
            uc_close(self.uc)
        for m in range(self.memories):
            free(self.memory[m].host)
        if self.s.bank_records != NULL:
            for b in range(self.s.banks):
                free(self.s.bank_records[b])
        if self.s.bank_executed != NULL:
            for b in range(self.s.banks):
                free(self.s.bank_executed[b])
        if self.s.bank_quotients != NULL:
            for b in range(self.s.banks):
                free(self.s.bank_quotients[b])
        free(self.s.bank_records)
        free(self.s.bank_executed)
        free(self.s.bank_quotients)
        free(self.s.info)
        free(self.s.seen)
        free(self.s.alias_of)
        free(self.s.calls)
        free(self.s.site)
        free(self.s.sites)

    # memory ---------------------------------------------------------------------------------------------------------

    def map(self, uint32_t base, uint32_t size, uint32_t perms):
        """Map ``size`` bytes (a multiple of 4096) of zeros; ``perms`` are Unicorn's 1 read, 2 write, 4 execute."""
        cdef void *host = NULL
        if self.memories == MAX_MEMORIES:
            raise EngineError("too many memory regions")
        if posix_memalign(&host, 4096, size):
            raise MemoryError
        memset(host, 0, size)
        self.memory[self.memories] = Memory(base=base, size=size, host=<uint8_t *>host)
        self.memories += 1
        check(uc_mem_map_ptr(self.uc, base, size, perms, host), f"map 0x{base:08x}")

    cdef uint8_t *host(self, uint64_t address, uint64_t size) except NULL:
        cdef int m
        cdef uint64_t off
        for m in range(self.memories):
            if address >= self.memory[m].base:
                off = address - self.memory[m].base
                if off + size <= self.memory[m].size:
                    return self.memory[m].host + off
        raise IndexError(f"0x{address:08x}..0x{address + size:08x} is not in one memory")

    def write(self, uint64_t address, const uint8_t[::1] data):
        """Copy ``data`` to the device's memory (code that was already translated is not looked at again)."""
        if data.shape[0]:
            memcpy(self.host(address, data.shape[0]), &data[0], data.shape[0])

    def read(self, uint64_t address, uint64_t size):
        """``size`` bytes of the device's memory."""
        cdef uint8_t *p = self.host(address, size)
        return (<char *>p)[:size]

    def fill(self, uint64_t address, uint64_t size, int byte):
        """Set ``size`` bytes to ``byte``."""
        memset(self.host(address, size), byte, size)

    def untouched(self, uint64_t address, uint64_t size, int byte):
        """How many bytes from ``address`` upwards still equal ``byte``."""
        cdef uint8_t *p = self.host(address, size)
        cdef uint64_t n = 0
        while n < size and p[n] == byte:
            n += 1
        return n

    # registers ------------------------------------------------------------------------------------------------------

    def reg(self, int number):
        """Value of a register by Unicorn's number."""
        cdef uint32_t value = 0
        check(uc_reg_read(self.uc, number, &value), "read a register")
        return value

    def set_reg(self, int number, uint32_t value):
        """Set a register by Unicorn's number."""
        check(uc_reg_write(self.uc, number, &value), "write a register")

    # counting -------------------------------------------------------------------------------------------------------

    def arm(self, windows, uint32_t banks, entries, uint32_t root, bint counting=True):
        """Install counters and hooks.

        ``windows``: (address, bytes) of code.  ``entries``: (address, bank), banks 1 to ``banks``-1; bank 0 is what
        runs outside of ``root``, the bank whose call starts the tracking (0xffffffff: each starts its own).
        """
        cdef State *s = &self.s
        cdef uint32_t total = 0, b
        cdef uc_hook hook
        cdef uint32_t lo, size, idx, address, bank
        if self.armed:
            raise EngineError("armed twice")
        self.armed = True
        if not windows or len(windows) > MAX_WINDOWS:
            raise EngineError("between 1 and 16 pieces of code are supported")
        for lo, size in windows:
            s.window[s.windows] = Window(lo=lo, halfwords=size >> 1, first=total, host=self.host(lo, size))
            s.windows += 1
            total += size >> 1
        s.lo, s.halfwords, s.total = s.window[0].lo, s.window[0].halfwords, total
        s.info = <Info *>calloc(total + ALIASES, sizeof(Info))
        s.alias_of = <uint32_t *>calloc(ALIASES, sizeof(uint32_t))
        s.site = <uint8_t *>calloc(total, 1)
        s.seen_cap = s.sites_cap = 1024
        s.seen = <uint32_t *>calloc(s.seen_cap, sizeof(uint32_t))
        s.sites = <uint32_t *>calloc(s.sites_cap, sizeof(uint32_t))
        s.bank_records = <Record **>calloc(banks, sizeof(Record *))
        s.bank_executed = <uint64_t **>calloc(banks, sizeof(uint64_t *))
        s.bank_quotients = <uint64_t **>calloc(banks, sizeof(uint64_t *))
        s.calls = <uint64_t *>calloc(banks, sizeof(uint64_t))
        if (s.info == NULL or s.alias_of == NULL or s.site == NULL or s.seen == NULL or s.sites == NULL
                or s.bank_records == NULL or s.bank_executed == NULL or s.bank_quotients == NULL or s.calls == NULL):
            raise MemoryError
        s.banks = banks
        for b in range(s.banks):
            s.bank_records[b] = <Record *>calloc(total + ALIASES, sizeof(Record))
            s.bank_executed[b] = <uint64_t *>calloc(total, sizeof(uint64_t))
            s.bank_quotients[b] = <uint64_t *>calloc(MAX_DIVISIONS * DIV_OUTCOMES, sizeof(uint64_t))
            if s.bank_records[b] == NULL or s.bank_executed[b] == NULL or s.bank_quotients[b] == NULL:
                raise MemoryError
        for address, bank in entries:
            idx = place(s, address)
            if idx == 0xFFFFFFFFu:
                raise EngineError(f"0x{address:08x} is not in the code")
            s.info[idx].entry = <uint16_t>(bank + 1)
        s.root = root
        self.rewind()
        check(uc_hook_add(self.uc, &hook, UC_HOOK_INTR, <void *>on_interrupt, s, 1, 0), "hook")
        check(uc_hook_add(self.uc, &hook, UC_HOOK_MEM_INVALID, <void *>on_bad_memory, s, 1, 0), "hook")
        if not counting:
            return
        check(uc_hook_add(self.uc, &hook, UC_HOOK_BLOCK, <void *>on_block, s, 1, 0), "hook")

    def rewind(self):
        """Back to bank 0 with an empty call record and reset registers; the counts stay."""
        self.s.depth = 0
        self.s.ret = 1
        self.s.prev_taken = &self.s.no_edge
        self.s.prev_end = 0
        use_bank(&self.s, 0)
        check(uc_context_restore(self.uc, self.fresh), "reset")

    def clear(self):
        """All counts to zero; blocks stay translated and known."""
        cdef uint32_t b, i
        for b in range(self.s.banks):
            for i in range(self.s.seen_n):
                self.s.bank_records[b][self.s.seen[i]].count = 0
                self.s.bank_records[b][self.s.seen[i]].taken = 0
            for i in range(self.s.sites_n):
                self.s.bank_executed[b][self.s.sites[i]] = 0
            memset(self.s.bank_quotients[b], 0, self.s.divisions * DIV_OUTCOMES * sizeof(uint64_t))
            self.s.calls[b] = 0
        self.s.overflow = False

    def run(self, uint32_t pc, int64_t budget):
        """Run from ``pc`` until something asks for attention: (reason, error text, instructions left of the budget)."""
        cdef uc_err err
        cdef State *s = &self.s
        cdef int64_t piece
        s.fault_kind = 0
        s.budget = 0
        while True:
            piece = min(budget, <int64_t>SLICE)
            budget -= piece
            s.budget += piece
            s.reason = RAN
            with nogil:
                err = uc_emu_start(self.uc, pc | 1, 0xFFFFFFF0u, 0, 0)
            budget += s.budget
            s.budget = 0
            if s.reason == SITES:
                self.add_hooks()
            elif s.reason != BUDGET or budget < MAX_BLOCK:
                break
            PyErr_CheckSignals()
            pc = self.reg(UC_ARM_REG_PC)
        return REASONS[s.reason], uc_strerror(err).decode() if err else "", budget

    cdef add_hooks(self):
        cdef State *s = &self.s
        cdef uc_hook hook
        cdef uint32_t k, first, last
        for k in range(s.pending_n):
            first, last = s.pending[2 * k], s.pending[2 * k + 1]
            check(uc_hook_add(self.uc, &hook, UC_HOOK_CODE, <void *>on_site, s, first, last), "hook")
            check(uc_ctl_remove_cache(self.uc, first, last + 2), "drop a translation")
        s.pending_n = 0

    @property
    def intno(self):
        """Number of the interrupt that ended the last run: 2 SVC, 7 BKPT."""
        return self.s.intno

    @property
    def bad_access(self):
        """(kind, address, size) of the memory access that failed in the last run, kind 0 when none did."""
        return self.s.fault_kind, self.s.fault_address, self.s.fault_size

    @property
    def outside(self):
        """Address outside of the code where execution went."""
        return self.s.outside

    @property
    def bank(self):
        """The bank that is running."""
        return self.s.bank

    cdef uint32_t address_of(self, uint32_t idx):
        cdef uint32_t w
        for w in range(self.s.windows):
            if self.s.window[w].first <= idx < self.s.window[w].first + self.s.window[w].halfwords:
                return self.s.window[w].lo + 2 * (idx - self.s.window[w].first)
        return 0

    def counts(self):
        """Every block that ran: (bank, address, bytes, count, taken)."""
        cdef uint32_t b, i, at, address
        cdef State *s = &self.s
        cdef list out = []
        if s.overflow:
            raise EngineError("a counter table overflowed: the counts of this run are not exact")
        for i in range(s.seen_n):
            at = s.seen[i]
            address = self.address_of(s.alias_of[at - s.total] if at >= s.total else at)
            for b in range(s.banks):
                if s.bank_records[b][at].count:
                    out.append((b, address, s.info[at].size, s.bank_records[b][at].count, s.bank_records[b][at].taken))
        return out

    def executed(self):
        """Executions of the instructions that stand in IT blocks, and of divisions: (bank, address, times)."""
        cdef uint32_t b, i
        return [(b, self.address_of(self.s.sites[i]), self.s.bank_executed[b][self.s.sites[i]])
                for b in range(self.s.banks) for i in range(self.s.sites_n) if self.s.bank_executed[b][self.s.sites[i]]]

    def quotients(self):
        """Divisions by the width of their quotient: (bank, address, [times at 0 bits, ... at 32 bits])."""
        cdef uint32_t b, i, k
        return [(b, self.address_of(self.s.division[i].index),
                 [self.s.bank_quotients[b][i * DIV_OUTCOMES + k] for k in range(<uint32_t>DIV_OUTCOMES)])
                for b in range(self.s.banks) for i in range(self.s.divisions)]

    def calls(self):
        """Calls of each bank's function while tracking."""
        return [self.s.calls[b] for b in range(self.s.banks)]
