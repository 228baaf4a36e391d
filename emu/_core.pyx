# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Native heart of the emulator: Unicorn through its C API, counting each block and edge without entering Python.

What is counted, and how it stays exact:

* one native block hook adds one to a counter of (bank, block): one of two, of which the second is for a block that
  begins where the block before it ended.  How often a branch at the end of a block was taken follows: as often as the
  blocks that end there began, less what began there without a jump.  A dot product with the timing afterwards gives
  cycles (:mod:`emu.account`);
* a *bank* is the layer that is running.  A block at a bank's entry address pushes (bank, return address, stack
  pointer); a block at the awaited return address with the stack back at its height pops.  Whatever runs in between,
  soft-float or shared kernels, is therefore charged to the layer that called it, by counting.  Such blocks are
  translated with a hook function of their own;
* inside IT blocks a skipped instruction is still part of its block.  Unicorn tests the condition *before* it calls an
  instruction hook (``arm_skip_unless`` in its translate.c), so a hook on exactly these addresses counts what was
  executed;
* UDIV and SDIV take a number of cycles that depends on the operands: a hook on these addresses keeps a histogram of the
  quotient's width in bits.

Of an IT block only the first instruction is counted, and those behind one that sets flags: the others ran as often, or
whenever it did not.

Unicorn walks the whole list of instruction hooks at each call within an IT block, so there are only as many as some
block needs, and no more than three.  Which instructions they see is decided when a block is translated: when a block is
met for the first time, the engine stops before its first instruction, the hooks' ranges are set to the instructions
wanted in it, it is translated again, and for the run the first hook's range is made to cover everything.  A translation
made during the run therefore calls for each instruction; ``on_site`` notices that, and the block is translated again.
The counts are right either way.
Memory hooks are never used: they make Unicorn 2.1.4 execute IT blocks wrongly.
"""

from cpython.exc cimport PyErr_CheckSignals

from .errors import EmuError

include "_unicorn.pxi"
include "_count.pxi"
include "_sites.pxi"


OTHER_UNICORN = "this build of Unicorn is not the one that emu was made for: version 2.1.4"


class EngineError(EmuError):
    """Unicorn refused a call."""


cdef check(uc_err err, str doing):
    if err != 0:
        raise EngineError(f"Unicorn, {doing}: {uc_strerror(err).decode()}")


cdef class Engine:
    """One Unicorn engine with its memories, counters and hooks.

    ``windows`` are (address, size in bytes) of code; map the memories, then call :meth:`arm` once.

    ``code``: bytes of code, for which there has to be room when translated; ``room`` says it in bytes.
    """

    cdef uc_engine *uc
    cdef uc_context *fresh
    cdef State s
    cdef Memory memory[MAX_MEMORIES + 1]
    cdef int memories
    cdef bint armed
    cdef size_t records_size
    cdef HookHead *hook[HOOKS]
    cdef HookHead *blocks

    def __cinit__(self, int cpu_model, uint64_t code=0, uint32_t room=0):
        cdef uc_hook hook
        memset(&self.s, 0, sizeof(State))
        if room == 0:
            room = <uint32_t>min(max(code * 1024, <uint64_t>LEAST_ROOM), <uint64_t>MOST_ROOM)
        self.s.room = room
        check(uc_open(UC_ARCH_ARM, UC_MODE_THUMB, &self.uc), "open")
        # first of all, and never with UC_MODE_MCLASS, which silently gives a Cortex-M33
        check(uc_ctl_set_cpu_model(self.uc, cpu_model), "set the CPU model")
        check(uc_ctl_set_tcg_buffer_size(self.uc, room), "set the room for translations")
        check(uc_ctl_tlb_mode(self.uc, UC_TLB_VIRTUAL), "set the TLB")
        check(uc_hook_add(self.uc, &hook, UC_HOOK_TLB_FILL, <void *>on_tlb_fill, self.memory, 1, 0), "hook")
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
            munmap(self.memory[m].host, self.memory[m].size)
        if self.s.bank_records != NULL:
            for b in range(self.s.banks):
                if self.s.bank_records[b] != NULL:
                    munmap(self.s.bank_records[b], self.records_size)
        if self.s.bank_quotients != NULL:
            for b in range(self.s.banks):
                free(self.s.bank_quotients[b])
        free(self.s.bank_records)
        free(self.s.bank_quotients)
        free(self.s.info)
        free(self.s.seen)
        free(self.s.alias_of)
        free(self.s.calls)
        free(self.s.site)
        free(self.s.clean)
        free(self.s.tries)
        free(self.s.gate)
        free(self.s.sites)

    # memory ---------------------------------------------------------------------------------------------------------

    def map(self, uint32_t base, uint32_t size, uint32_t perms):
        """Map ``size`` bytes (a multiple of 4096) of zeros; ``perms`` are Unicorn's 1 read, 2 write, 4 execute."""
        cdef void *host
        if self.memories == MAX_MEMORIES:
            raise EngineError("too many memory regions")
        host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if host == MAP_FAILED:
            raise MemoryError
        self.memory[self.memories] = Memory(base=base, size=size, perms=perms, host=<uint8_t *>host)
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
        cdef uint8_t *p = self.host(address, size)
        if byte or size < 65536 or <size_t>p % 4096 or size % 4096 or madvise(p, size, MADV_DONTNEED):
            memset(p, byte, size)       # pages given back read as zeros

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
        cdef uint32_t lo, idx, address, bank
        cdef uint64_t at, base, size
        cdef void *memory
        if self.armed:
            raise EngineError("armed twice")
        self.armed = True
        if not windows or len(windows) > MAX_WINDOWS:
            raise EngineError("between 1 and 16 pieces of code are supported")
        for lo, size in windows:
            s.window[s.windows] = Window(lo=lo, halfwords=<uint32_t>size >> 1, first=total, host=self.host(lo, size))
            s.windows += 1
            total += <uint32_t>size >> 1
        s.total = total
        for b in range(1, s.windows):
            if s.window[b].halfwords > s.window[s.main].halfwords:
                s.main = b
        s.slots = 1024
        while s.slots < s.window[s.main].halfwords:
            s.slots *= 2
        s.mask = (s.slots - 1) * sizeof(Record)
        self.records_size = (<size_t>s.slots + total + ALIASES) * sizeof(Record)
        s.info = <Info *>calloc(total + ALIASES, sizeof(Info))
        s.alias_of = <uint32_t *>calloc(ALIASES, sizeof(uint32_t))
        s.site = <uint8_t *>calloc(total + 8, 1)
        s.clean = <uint16_t *>calloc(total, sizeof(uint16_t))
        s.tries = <uint8_t *>calloc(total, 1)
        s.gate = <Gate *>calloc(total, sizeof(Gate))
        s.unusual, s.unusual_site = unusual, unusual_site
        s.seen_cap = s.sites_cap = 1024
        s.seen = <uint32_t *>calloc(s.seen_cap, sizeof(uint32_t))
        s.sites = <uint32_t *>calloc(s.sites_cap, sizeof(uint32_t))
        s.bank_records = <Record **>calloc(banks, sizeof(Record *))
        s.bank_quotients = <uint64_t **>calloc(banks, sizeof(uint64_t *))
        s.calls = <uint64_t *>calloc(banks, sizeof(uint64_t))
        if (s.info == NULL or s.alias_of == NULL or s.site == NULL or s.clean == NULL or s.tries == NULL or s.gate == NULL
                or s.seen == NULL or s.sites == NULL or s.bank_records == NULL or s.bank_quotients == NULL or s.calls == NULL):
            raise MemoryError
        s.banks = banks
        for b in range(s.banks):
            # page by page as they are needed, and none of them across two cache lines
            memory = mmap(NULL, self.records_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
            s.bank_records[b] = <Record *>memory if memory != MAP_FAILED else NULL
            s.bank_quotients[b] = <uint64_t *>calloc(MAX_DIVISIONS * DIV_OUTCOMES, sizeof(uint64_t))
            if s.bank_records[b] == NULL or s.bank_quotients[b] == NULL:
                raise MemoryError
        for address, bank in entries:
            idx = place(s, address)
            if idx == 0xFFFFFFFFu:
                raise EngineError(f"0x{address:08x} is not in the code")
            s.info[idx].entry = <uint16_t>(bank + 1)
        s.root = root
        self.rewind()
        check(uc_hook_add(self.uc, &hook, UC_HOOK_INTR, <void *>on_interrupt, s, 1, 0), "hook")
        # not over plain RAM: where such a hook is, Unicorn sends every store down its slow path
        at = 0
        for base, size in sorted((self.memory[b].base, self.memory[b].size) for b in range(<uint32_t>self.memories)
                                 if self.memory[b].perms == UC_PROT_READ | UC_PROT_WRITE) + [(1 << 32, 0)]:
            if at < base:
                check(uc_hook_add(self.uc, &hook, UC_HOOK_MEM_INVALID, <void *>on_bad_memory, s, at, base - 1), "hook")
            at = base + size
        if not counting:
            return
        check(uc_hook_add(self.uc, &hook, UC_HOOK_BLOCK, <void *>on_block, s, 1, 0), "hook")
        self.blocks = <HookHead *><void *>hook
        if self.blocks.callback != <void *>on_block or self.blocks.user != <void *>s:
            raise EngineError(OTHER_UNICORN)

    def rewind(self):
        """Back to bank 0 with an empty call record and reset registers; the counts stay."""
        self.s.depth = 0
        self.s.ret = 1
        self.s.end = 1
        use_bank(&self.s, 0)
        check(uc_context_restore(self.uc, self.fresh), "reset")

    def clear(self):
        """All counts to zero; blocks stay translated and known."""
        cdef uint32_t b, i
        for b in range(self.s.banks):
            for i in range(self.s.seen_n):
                record(&self.s, b, self.s.seen[i]).began[0] = 0
                record(&self.s, b, self.s.seen[i]).began[1] = 0
            for i in range(self.s.sites_n):
                record(&self.s, b, self.s.sites[i]).executed = 0
            memset(self.s.bank_quotients[b], 0, self.s.divisions * DIV_OUTCOMES * sizeof(uint64_t))
            self.s.calls[b] = 0
        self.s.overflow = False

    def run(self, uint32_t pc, int64_t budget):
        """Run from ``pc`` until something asks for attention: (reason, error text, instructions left of the budget)."""
        cdef uc_err err
        cdef State *s = &self.s
        cdef int64_t limit = spent(s) + budget
        s.fault_kind = 0
        while True:
            budget = limit - spent(s)
            s.final = budget < FINAL
            s.budget = budget
            s.tick = 0 if s.final else min(budget // max(s.longest, 16), <int64_t>SLICE)
            s.reason = RAN
            with nogil:
                err = uc_emu_start(self.uc, pc | 1, 0xFFFFFFF0u, 0, 0)
            if s.reason == SITES:
                self.translate(s.pending, s.pending_size)
            elif s.reason != LOOK:
                break
            PyErr_CheckSignals()
            pc = self.reg(UC_ARM_REG_PC)
        budget = limit - spent(s)
        if err == UC_ERR_FETCH_PROT and s.fault_kind == 0:
            s.fault_kind, s.fault_address, s.fault_size = UC_MEM_FETCH_PROT, self.reg(UC_ARM_REG_PC), 2
        return REASONS[s.reason], uc_strerror(err).decode() if err else "", budget

    @property
    def end(self):
        """Where the last block that began ends, or instruction when these are watched; 1: nobody counts."""
        return self.s.end

    def hook_each(self):
        """Add a hook to each instruction, for comparison."""
        cdef uc_hook hook
        check(uc_hook_add(self.uc, &hook, UC_HOOK_CODE, <void *>on_each, &self.s, 1, 0), "hook")

    def hook_blocks(self):
        """Add a hook to each block that does nothing, for comparison."""
        cdef uc_hook hook
        check(uc_hook_add(self.uc, &hook, UC_HOOK_BLOCK, <void *>on_nothing, &self.s, 1, 0), "hook")

    cdef translate(self, uint32_t addr, uint32_t size):
        """Translate the block at ``addr`` again, and those that overlap its beginning, each with the hooks it needs.

        Not when there may be no room: outside of a run Unicorn 2.1.4 dies of that.  During one it throws all translations
        away, and the counts are right without this.
        """
        cdef State *s = &self.s
        cdef uint32_t idx = place(s, addr), back, other
        cdef uint32_t k
        if s.translated > s.room // 4 * 3:
            return
        check(uc_ctl_remove_cache(self.uc, addr, addr + 2), "drop a translation")
        self.request(addr, size)
        for back in range(1, MAX_BLOCK // 2):
            if back > idx or place(s, addr - 2 * back) != idx - back:
                break
            other = s.clean[idx - back]
            if other > 2 * back:
                self.request(addr - 2 * back, other)
        for k in range(s.hooked):
            self.hook[k].begin = NOWHERE if k else 1
            self.hook[k].end = NOWHERE if k else 0

    cdef request(self, uint32_t addr, uint32_t size):
        """Have one block translated with hooks on the sites in ``size`` bytes and, where they are many, in between."""
        cdef State *s = &self.s
        cdef uint32_t idx = place(s, addr), i, n = 0, k, best, halfwords = min(size >> 1, <uint32_t>1024)
        cdef uint64_t first[1024]
        cdef uint64_t last[1024]
        for i in range(halfwords):
            if s.site[idx + i] == COUNTED or s.site[idx + i] == DIVISION:
                if n and last[n - 1] + step_at(s, <uint32_t>last[n - 1]) == addr + 2 * i:
                    last[n - 1] = addr + 2 * i      # one behind the other: one range
                else:
                    first[n] = last[n] = addr + 2 * i
                    n += 1
        while n > HOOKS:
            best = 0
            for k in range(1, n - 1):
                if first[k + 1] - last[k] < first[best + 1] - last[best]:
                    best = k
            last[best] = last[best + 1]
            for k in range(best + 1, n - 1):
                first[k], last[k] = first[k + 1], last[k + 1]
            n -= 1
        while s.hooked < n:
            self.add_hook()
        for k in range(s.hooked):
            if k >= n:
                first[k] = last[k] = NOWHERE
            self.hook[k].begin, self.hook[k].end = first[k], last[k]
        # of a block hook that is the only one, Unicorn takes function and argument into the translation
        if s.gate[idx].state != NULL:
            s.gate[idx].size = size
            self.blocks.callback, self.blocks.user = <void *>on_gate, &s.gate[idx]
        check(uc_ctl_request_cache(self.uc, addr, NULL), "translate")
        s.translated += translation(size)
        self.blocks.callback, self.blocks.user = <void *>on_block, s

    cdef add_hook(self):
        cdef uc_hook hook
        cdef uint32_t k = self.s.hooked
        check(uc_hook_add(self.uc, &hook, UC_HOOK_CODE, <void *>on_site, &self.s, NOWHERE + 2 * k, NOWHERE + 2 * k + 1),
              "hook")
        self.hook[k] = <HookHead *><void *>hook
        if self.hook[k].begin != NOWHERE + 2 * k or self.hook[k].end != NOWHERE + 2 * k + 1:
            raise EngineError(OTHER_UNICORN)
        self.s.hooked += 1

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
        """Every block that ran: (bank, address, bytes, times, times that the next block began elsewhere than at its end).

        Blocks with one end share its jumps: as they share the instruction that jumps, any of them will do.
        """
        cdef uint32_t b, i, at, address, end
        cdef uint64_t n, jumps
        cdef State *s = &self.s
        cdef list out = []
        cdef dict fell = {}
        if s.overflow:
            raise EngineError("a counter table overflowed: the counts of this run are not exact")
        if s.end != 1:
            fell[s.bank, s.end] = 1         # the run ended in this block: nothing was taken
        for i in range(s.seen_n):
            at = s.seen[i]
            address = self.address_of(s.alias_of[at - s.total] if at >= s.total else at)
            for b in range(s.banks):
                n = record(s, b, at).began[1]
                if n:
                    fell[b, address] = fell.get((b, address), 0) + n
        for i in range(s.seen_n):
            at = s.seen[i]
            address = self.address_of(s.alias_of[at - s.total] if at >= s.total else at)
            end = address + s.info[at].size
            for b in range(s.banks):
                n = times(record(s, b, at))
                if n:
                    jumps = n - min(n, <uint64_t>fell.get((b, end), 0))
                    if jumps < n:
                        fell[b, end] -= n - jumps
                    out.append((b, address, s.info[at].size, n, jumps))
        return out

    def executed(self):
        """Executions of the instructions that stand in IT blocks, and of divisions: (bank, address, times)."""
        cdef uint32_t b, i, k, at, idx, lead
        cdef uint64_t n
        cdef State *s = &self.s
        cdef uint64_t *through = <uint64_t *>calloc(s.total + 8, sizeof(uint64_t))
        cdef list out = []
        if through == NULL:
            raise MemoryError
        for b in range(s.banks):
            memset(through, 0, s.total * sizeof(uint64_t))
            for i in range(s.seen_n):
                at = s.seen[i]
                n = times(record(s, b, at))
                idx = s.alias_of[at - s.total] if at >= s.total else at
                if n:
                    for k in range(idx, min(idx + (s.info[at].size >> 1), s.total)):
                        through[k] += n
            for i in range(s.sites_n):
                idx = s.sites[i]
                lead = idx - (s.site[idx] >> 4)
                n = record(s, b, lead).executed
                if s.site[idx] & 15 == OPPOSITE:
                    n = through[lead] - n if through[lead] > n else 0
                if n:
                    out.append((b, self.address_of(idx), n))
        free(through)
        return out

    def quotients(self):
        """Divisions by the width of their quotient: (bank, address, [times at 0 bits, ... at 32 bits])."""
        cdef uint32_t b, i, k
        return [(b, self.address_of(self.s.division[i].index),
                 [self.s.bank_quotients[b][i * DIV_OUTCOMES + k] for k in range(<uint32_t>DIV_OUTCOMES)])
                for b in range(self.s.banks) for i in range(self.s.divisions)]

    def calls(self):
        """Calls of each bank's function while tracking."""
        return [self.s.calls[b] for b in range(self.s.banks)]
include "_trace.pxi"

include "_system.pxi"
