"""The second way of counting: a running total of cycles, settled before each instruction; included by _core.pyx.

Slower than counting blocks, and needed where the firmware reads a clock or is interrupted.  The hook also stops before
an instruction, for breakpoints, steps and exceptions.  Inside an IT block Unicorn cannot stop: an exception waits until
the block's end, as it may on the core.
"""

cdef enum ClockFlag:
    KNOWN = 1
    BREAK = 2               # stop before it
    MASKS = 4               # it may change what is masked: look at the exceptions behind it
    DIVIDES = 8
    SIGNED_DIVISION = 16
    WITHIN_IT = 32
    ENTERS = 64             # a bank begins here

cdef enum ClockEvent:
    NOTHING = 0
    UNKNOWN = 1             # an instruction whose cost has not been given
    DUE = 2                 # the clock has reached ``alarm``, or something changed
    AT_BREAK = 3
    SPENT = 4               # the budget of instructions

cdef struct ClockOp:
    int16_t cost
    uint16_t taken
    uint8_t flags, rn, rm, bank

cdef struct Sys:
    uint64_t now            # cycles, with those of the instruction that is running
    uint64_t start          # cycles when it began
    uint64_t alarm
    uint64_t instructions, limit
    uint32_t pc, next       # of the instruction that is running, and what follows it in memory
    uint32_t taken          # cycles more when something else follows
    bint on                 # instructions are counted one by one: always, or within the root
    bint look, passing      # look at the exceptions now; pass the breakpoint that it stands at
    int event
    State *state
    ClockOp *op
    uint64_t *count
    uint64_t *cycles
    uint32_t last           # index of the instruction that is running
    uint32_t division[DIV_OUTCOMES]
    # banks
    uint32_t bank, depth, ret
    Frame frame[MAX_FRAMES]
    uint64_t bank_cycles[256]
    uint64_t bank_instructions[256]
    uint64_t calls[256]
    uint64_t mark_cycles, mark_instructions
    uint32_t root
    bint overflow


cdef void settle_bank(Sys *y) noexcept nogil:
    y.bank_cycles[y.bank] += y.now - y.mark_cycles
    y.bank_instructions[y.bank] += y.instructions - y.mark_instructions
    y.mark_cycles, y.mark_instructions = y.now, y.instructions


cdef void enter_or_leave(Sys *y, uc_engine *uc, uint32_t addr, uint32_t entry) noexcept nogil:
    """As switch_bank: pop what has returned, push what begins."""
    cdef uint32_t sp = 0, lr = 0
    cdef Frame *top
    settle_bank(y)
    uc_reg_read(uc, UC_ARM_REG_SP, &sp)
    while y.depth > 0 and y.frame[y.depth - 1].ret == addr and sp >= y.frame[y.depth - 1].sp:
        y.depth -= 1
    if entry and (y.depth > 0 or y.root == 0xFFFFFFFFu or entry == y.root):
        uc_reg_read(uc, UC_ARM_REG_LR, &lr)
        lr &= ~<uint32_t>1
        top = &y.frame[y.depth - 1] if y.depth > 0 else NULL
        if top != NULL and top.bank == entry and top.ret == lr and top.sp == sp:
            pass
        elif y.depth == MAX_FRAMES:
            y.overflow = True
        else:
            y.frame[y.depth] = Frame(bank=entry, ret=lr, sp=sp)
            y.depth += 1
            y.calls[entry] += 1
    y.bank = y.frame[y.depth - 1].bank if y.depth > 0 else 0
    y.ret = y.frame[y.depth - 1].ret if y.depth > 0 else 1
    y.on = y.depth > 0 or y.root == 0xFFFFFFFFu


cdef void on_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    cdef Sys *y = <Sys *>user
    cdef uint32_t addr = <uint32_t>address, idx = place(y.state, addr), n, d, bits = 0, spent
    cdef ClockOp *op
    if addr != y.next:
        y.now += y.taken
        if y.taken and y.on:
            y.cycles[y.last] += y.taken
    y.taken, y.next = 0, addr
    if unlikely(idx == 0xFFFFFFFFu):
        y.state.reason = OUTSIDE
        y.state.outside = addr
        uc_emu_stop(uc)
        return
    op = &y.op[idx]
    if unlikely(not op.flags & KNOWN or (not op.flags & WITHIN_IT and (
            y.now >= y.alarm or y.look or y.instructions >= y.limit or (op.flags & BREAK and not y.passing)))):
        y.event = UNKNOWN if not op.flags & KNOWN else AT_BREAK if op.flags & BREAK and not y.passing else (
            SPENT if y.instructions >= y.limit else DUE)
        y.state.reason = EVENT
        uc_emu_stop(uc)
        return
    y.passing = False
    if unlikely(op.flags & ENTERS or addr == y.ret):
        enter_or_leave(y, uc, addr, op.bank if op.flags & ENTERS else 0)
    spent = op.cost
    if op.flags & DIVIDES:
        n, d = core_reg(uc, op.rn), core_reg(uc, op.rm)
        if op.flags & SIGNED_DIVISION:
            n = 0 - n if <int32_t>n < 0 else n
            d = 0 - d if <int32_t>d < 0 else d
        if d != 0 and n >= d:
            bits = <uint32_t>(clz(d) - clz(n) + 1)
        spent += y.division[bits]
    y.start = y.now
    y.now += spent
    y.instructions += 1
    if y.on:
        y.count[idx] += 1
        y.cycles[idx] += spent
    y.pc, y.last = addr, idx
    y.next = addr + size
    y.taken = op.taken
    if op.flags & MASKS:
        y.look = True


cdef uint64_t on_io_read(uc_engine *uc, uint64_t offset, unsigned size, void *user) noexcept with gil:
    io = <object>user
    try:
        return io[1](io[0] + offset, size) & 0xFFFFFFFFu
    except BaseException as error:
        io[3].append(error)
        uc_emu_stop(uc)
        return 0


cdef void on_io_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user) noexcept with gil:
    io = <object>user
    try:
        io[2](io[0] + offset, size, value)
    except BaseException as error:
        io[3].append(error)
        uc_emu_stop(uc)


cdef class Clock:
    """The running total of an engine that was armed without counting; see above.

    ``banks``: how many; ``root`` as for :meth:`Engine.arm`; ``division``: cycles by the width of the quotient.
    """

    cdef Sys y
    cdef Engine engine
    cdef list ios
    cdef readonly list errors

    def __cinit__(self, Engine engine, uint32_t root, division):
        cdef uc_hook hook
        cdef State *s = &engine.s
        memset(&self.y, 0, sizeof(Sys))
        self.engine, self.ios, self.errors = engine, [], []
        self.y.state, self.y.root = s, root
        self.y.op = <ClockOp *>calloc(s.total, sizeof(ClockOp))
        self.y.count = <uint64_t *>calloc(s.total, sizeof(uint64_t))
        self.y.cycles = <uint64_t *>calloc(s.total, sizeof(uint64_t))
        if self.y.op == NULL or self.y.count == NULL or self.y.cycles == NULL:
            raise MemoryError
        for i, cycles in enumerate(division):
            self.y.division[i] = cycles
        check(uc_hook_add(engine.uc, &hook, UC_HOOK_CODE, <void *>on_instruction, &self.y, 1, 0), "hook")

    def __dealloc__(self):
        free(self.y.op)
        free(self.y.count)
        free(self.y.cycles)

    def map_io(self, uint32_t base, uint32_t size, read, write):
        """Registers at ``base``: ``read(address, size)`` and ``write(address, size, value)`` serve them."""
        io = (base, read, write, self.errors)
        self.ios.append(io)
        check(uc_mmio_map(self.engine.uc, base, size, <void *>on_io_read, <void *>io, <void *>on_io_write, <void *>io),
              f"map 0x{base:08x}")

    def rewind(self):
        """Everything to zero but what is known of the instructions."""
        memset(self.y.count, 0, self.y.state.total * sizeof(uint64_t))
        memset(self.y.cycles, 0, self.y.state.total * sizeof(uint64_t))
        memset(self.y.bank_cycles, 0, sizeof(self.y.bank_cycles))
        memset(self.y.bank_instructions, 0, sizeof(self.y.bank_instructions))
        memset(self.y.calls, 0, sizeof(self.y.calls))
        self.y.now = self.y.start = self.y.instructions = self.y.mark_cycles = self.y.mark_instructions = 0
        self.y.bank = self.y.depth = self.y.taken = 0
        self.y.ret, self.y.next = 1, 1
        self.y.alarm = self.y.limit = ~<uint64_t>0
        self.y.look = self.y.passing = self.y.overflow = False
        self.y.on = self.y.root == 0xFFFFFFFFu

    def op(self, uint32_t address, int cost, int taken, int flags, int rn=0, int rm=0, int bank=0):
        """What the instruction at ``address`` costs."""
        cdef uint32_t idx = place(self.y.state, address)
        cdef int kept
        if idx != 0xFFFFFFFFu:
            kept = self.y.op[idx].flags & BREAK
            self.y.op[idx] = ClockOp(cost=cost, flags=flags | kept | KNOWN, taken=taken, rn=rn, rm=rm, bank=bank)

    def known(self, uint32_t address):
        """Whether :meth:`op` has been told about ``address``."""
        cdef uint32_t idx = place(self.y.state, address)
        return idx != 0xFFFFFFFFu and self.y.op[idx].flags & KNOWN != 0

    def breakpoint(self, uint32_t address, bint on):
        """Stop before the instruction at ``address``; False where there is no code."""
        cdef uint32_t idx = place(self.y.state, address)
        if idx == 0xFFFFFFFFu:
            return False
        self.y.op[idx].flags = (self.y.op[idx].flags | BREAK) if on else (self.y.op[idx].flags & ~BREAK)
        return True

    def broken(self, uint32_t address):
        """Whether a breakpoint is at ``address``."""
        cdef uint32_t idx = place(self.y.state, address)
        return idx != 0xFFFFFFFFu and self.y.op[idx].flags & BREAK != 0

    def forget_breakpoints(self):
        """Take all breakpoints away."""
        cdef uint32_t i
        for i in range(self.y.state.total):
            self.y.op[i].flags &= ~BREAK

    def run(self, uint32_t pc, bint passing=False):
        """Run from ``pc``: (reason, error text, event); see ClockEvent.  ``passing``: not to stop at a breakpoint there."""
        cdef uc_err err
        cdef State *s = &self.engine.s
        s.fault_kind = 0
        s.reason = RAN
        self.y.event = NOTHING
        self.y.passing = passing
        with nogil:
            err = uc_emu_start(self.engine.uc, pc | 1, 0xFFFFFFF0u, 0, 0)
        if self.errors:
            raise self.errors.pop()
        if err == UC_ERR_FETCH_PROT and s.fault_kind == 0:
            s.fault_kind, s.fault_address, s.fault_size = UC_MEM_FETCH_PROT, self.engine.reg(UC_ARM_REG_PC), 2
        PyErr_CheckSignals()
        return REASONS.get(s.reason, "event"), uc_strerror(err).decode() if err else "", self.y.event

    def jump(self, uint32_t cycles):
        """The firmware goes on elsewhere (an exception begins or ends), which takes ``cycles``."""
        if self.y.taken:
            self.y.now += self.y.taken
            if self.y.on:
                self.y.cycles[self.y.last] += self.y.taken
        self.y.taken, self.y.next = 0, 1
        self.y.now += cycles

    def set_alarm(self, uint64_t at):
        """Stop before the first instruction at or after cycle ``at``."""
        self.y.alarm = at

    def set_limit(self, uint64_t instructions):
        """Stop before more than ``instructions`` have run in all."""
        self.y.limit = instructions

    def look(self, bint on=True):
        """Stop before the next instruction."""
        self.y.look = on

    @property
    def now(self):
        """Cycles up to here."""
        return self.y.now

    @now.setter
    def now(self, uint64_t cycles):
        self.y.now = cycles

    @property
    def began(self):
        """Cycles when the instruction that is running began: what a clock read by it shows."""
        return self.y.start

    @property
    def pc(self):
        """Address of the instruction that is running."""
        return self.y.pc

    @property
    def instructions(self):
        """Instructions executed."""
        return self.y.instructions

    def banks(self, int n):
        """For each bank cycles, instructions and calls."""
        if self.y.overflow:
            raise EngineError("too many calls within each other: the counts of this run are not exact")
        settle_bank(&self.y)
        return [(self.y.bank_cycles[b], self.y.bank_instructions[b], self.y.calls[b]) for b in range(n)]

    def executed(self):
        """Each instruction that ran: (address, times, cycles)."""
        cdef uint32_t i
        return [(self.engine.address_of(i), self.y.count[i], self.y.cycles[i]) for i in range(self.y.state.total)
                if self.y.count[i]]
