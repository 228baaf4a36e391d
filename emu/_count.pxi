"""Counters and native hooks of the emulator's hot path; included by _core.pyx, where the method is described.

``on_block`` runs once per executed block: a leaf without a frame, which one comparison sends to ``unusual``.  ``on_gate``
takes its place in blocks where a bank begins or ends.  The rest runs when something new is met.
"""

cdef enum:
    MAX_WINDOWS = 16
    MAX_FRAMES = 64
    MAX_MEMORIES = 32
    ALIASES = 4096          # blocks seen again with another length (a retranslation): each gets a record of its own
    DIV_OUTCOMES = 33       # quotient width in bits, 0 to 32
    MAX_DIVISIONS = 512
    HOOKS = 3               # instruction hooks: Unicorn walks all of them at each call
    RETRIES = 6             # translations of one block
    LEAST_ROOM = 64 << 20   # bytes for translations; in little room they lie near the libraries, and call them directly
    MOST_ROOM = 1 << 30
    MAX_BLOCK = 1024        # bytes, more than any translated block has
    NOWHERE = 0x100000000   # an address that code never has
    IT_STATE = 0x0600FC00   # of XPSR
    SLICE = 1 << 22         # blocks between two looks at signals: a fraction of a second
    FINAL = 1 << 14         # instructions: with fewer left of the budget, each block is looked at

cdef enum Reason:
    RAN = 0
    INTERRUPT = 1
    BUDGET = 2
    OUTSIDE = 3             # execution left the code of the ELF
    LOOK = 5                # at the budget and at signals
    EVENT = 6               # see _system.pxi
    SITES = 4               # a block is to be translated with instruction hooks

REASONS = {RAN: "error", INTERRUPT: "interrupt", BUDGET: "budget", OUTSIDE: "outside"}
DIVISION_OUTCOMES = DIV_OUTCOMES

cdef struct Info:
    uint32_t size           # bytes, as the engine translated it; 0: never seen
    uint16_t length         # instructions in it
    uint16_t entry          # 1 + bank that begins here
    uint16_t division       # its place in State.division, of a DIVISION

cdef struct Record:         # of a block, and of an instruction; 32 bytes: within one cache line
    uint32_t address
    uint16_t size           # another size sends on_block to the unusual case
    uint16_t site           # 1: the instruction is COUNTED, and on_site may add to ``executed``
    uint64_t began[2]       # times the block began: after a jump, and where the block before it ended
    uint64_t executed       # times the instruction was executed

cdef struct Gate:           # a block where a bank begins or ends: it is translated with on_gate in the place of on_block
    State *state            # NULL: no such block
    uint32_t size           # 0: to be translated again
    uint32_t entry          # 1 + bank that begins here

cdef enum Kind:             # of a site, with the distance to its lead in halfwords from bit 4 up
    NONE = 0
    COUNTED = 1             # in an IT block, counted by a hook
    DIVISION = 2            # likewise, with its quotient
    SAME = 3                # in an IT block, executed as often as its lead
    OPPOSITE = 4            # executed when its lead is not

cdef struct Frame:
    uint32_t bank, ret, sp

cdef struct Window:
    uint32_t lo, halfwords, first
    uint8_t *host

cdef struct Division:
    uint32_t index          # of its halfword
    int rn, rm              # operand registers
    bint is_signed

cdef struct Memory:
    uint32_t base, size, perms
    uint8_t *host

cdef struct State:
    # the hot path touches these
    uint32_t mask           # of the record table, in bytes
    uint32_t ret            # awaited return address; 1 when none
    Record *records         # of the bank that is running
    int64_t tick            # blocks until somebody looks at the budget
    uint32_t end            # of the block that is running; 1 when none
    void (*unusual)(uc_engine *, uint64_t, uint32_t, void *) noexcept nogil
    void (*unusual_site)(uc_engine *, uint64_t, void *) noexcept nogil
    # the rest
    int64_t budget          # instructions, while ``final``
    bint final
    uint32_t main, slots, longest
    Info *info
    uint64_t *quotients     # of the bank that is running
    uint32_t windows, total, aliases, seen_n, seen_cap, banks, depth, bank, root
    Window window[MAX_WINDOWS]
    Frame frame[MAX_FRAMES]
    uint32_t *seen
    uint32_t *alias_of
    Record **bank_records
    uint64_t **bank_quotients
    uint64_t *calls
    uint8_t *site           # per halfword: Kind
    uint16_t *clean         # per halfword: bytes from here on whose translation has hooks where they belong and no more
    uint8_t *tries          # per halfword: translations asked for
    Gate *gate              # per halfword
    uint32_t *sites
    uint32_t sites_n, sites_cap
    Division division[MAX_DIVISIONS]
    uint32_t divisions
    uint32_t pending, pending_size      # block to translate
    uint64_t room, translated           # bytes for translations, and what they may have taken at most
    uint32_t hooked         # instruction hooks that are there
    int reason
    uint32_t intno, fault_kind, fault_address, fault_size, outside
    bint overflow


cdef uint32_t place(State *s, uint32_t addr) noexcept nogil:
    """Index of the halfword at ``addr``, or 0xffffffff when it is outside of all code."""
    cdef uint32_t w, i
    for w in range(s.windows):
        i = (addr - s.window[w].lo) >> 1
        if i < s.window[w].halfwords:
            return s.window[w].first + i
    return 0xFFFFFFFFu


cdef bint in_main(State *s, uint32_t at) noexcept nogil:
    """Does this halfword lie in the window whose records on_block finds by their address?"""
    return at - s.window[s.main].first < s.window[s.main].halfwords


cdef Record *record(State *s, uint32_t bank, uint32_t at) noexcept nogil:
    """A bank's record: blocks of the main window lie where on_block looks for them, the others behind."""
    cdef Window *win = &s.window[s.main]
    if in_main(s, at):
        return &s.bank_records[bank][(at - win.first + (win.lo >> 1)) & (s.slots - 1)]
    return &s.bank_records[bank][s.slots + at]


cdef uint32_t step_at(State *s, uint32_t addr) noexcept nogil:
    """Bytes of the instruction at ``addr``, which lies in the code."""
    cdef uint32_t w
    for w in range(s.windows):
        if (addr - s.window[w].lo) >> 1 < s.window[w].halfwords:
            return 4 if s.window[w].host[addr - s.window[w].lo + 1] >> 3 >= 0x1D else 2
    return 2


cdef uint64_t translation(uint32_t size) noexcept nogil:
    """Bytes that the translation of a block of ``size`` bytes takes at most."""
    return 1024 + 128 * size


cdef uint64_t times(Record *r) noexcept nogil:
    return r.began[0] + r.began[1]


cdef int64_t spent(State *s) noexcept nogil:
    """Instructions that the blocks counted so far hold."""
    cdef int64_t n = 0
    cdef uint32_t b, i
    for b in range(s.banks):
        for i in range(s.seen_n):
            n += <int64_t>times(record(s, b, s.seen[i])) * s.info[s.seen[i]].length
    return n


cdef uint32_t number_of(State *s, uint32_t idx, uint32_t addr, uint32_t size) noexcept nogil:
    """Index of this block's records; a block that nobody has seen (or another length of one) is noted first."""
    cdef uint32_t i, at = idx, hooks
    cdef uint32_t *grown
    if s.info[idx].size == size:
        return idx
    if s.info[idx].size != 0:
        for i in range(s.aliases):
            if s.alias_of[i] == idx and s.info[s.total + i].size == size:
                return s.total + i
        if s.aliases == ALIASES:
            s.overflow = True
            return idx
        s.alias_of[s.aliases] = idx
        at = s.total + s.aliases
        s.aliases += 1
        s.info[at].entry = s.info[idx].entry
    s.info[at].size = size
    s.info[at].length = <uint16_t>walk(s, addr, size, &hooks)
    if s.seen_n == s.seen_cap:
        grown = <uint32_t *>realloc(s.seen, 2 * s.seen_cap * sizeof(uint32_t))
        if grown == NULL:
            s.overflow = True
            return at
        s.seen = grown
        s.seen_cap *= 2
    s.seen[s.seen_n] = at
    s.seen_n += 1
    s.translated += translation(size)
    if s.info[at].length > s.longest:
        s.longest = s.info[at].length
        s.tick = min(s.tick, <int64_t>0)    # what was left may not be left any more
    return at


cdef void use_bank(State *s, uint32_t bank) noexcept nogil:
    s.bank = bank
    s.records = s.bank_records[bank]
    s.quotients = s.bank_quotients[bank]


cdef void switch_bank(State *s, uc_engine *uc, uint32_t addr, uint32_t entry) noexcept nogil:
    """Pop what has returned, push what begins."""
    cdef uint32_t sp = 0, lr = 0
    cdef Frame *top
    uc_reg_read(uc, UC_ARM_REG_SP, &sp)
    while s.depth > 0 and s.frame[s.depth - 1].ret == addr and sp >= s.frame[s.depth - 1].sp:
        s.depth -= 1
    if entry and (s.depth > 0 or s.root == 0xFFFFFFFFu or entry - 1 == s.root):
        uc_reg_read(uc, UC_ARM_REG_LR, &lr)
        lr &= ~<uint32_t>1
        top = &s.frame[s.depth - 1] if s.depth > 0 else NULL
        if top != NULL and top.bank == entry - 1 and top.ret == lr and top.sp == sp:
            pass                # a loop back to the function's first instruction, not a call
        elif s.depth == MAX_FRAMES:
            s.overflow = True
        else:
            s.frame[s.depth].bank = entry - 1
            s.frame[s.depth].ret = lr
            s.frame[s.depth].sp = sp
            s.depth += 1
            s.calls[entry - 1] += 1
    if s.depth > 0:
        s.ret = s.frame[s.depth - 1].ret
        use_bank(s, s.frame[s.depth - 1].bank)
        sp = place(s, s.ret)
        if sp != 0xFFFFFFFFu and s.gate[sp].state == NULL:
            record(s, s.bank, sp).size = 0      # so that the block there is noticed
    else:
        s.ret = 1
        use_bank(s, 0)


cdef void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    cdef State *s = <State *>user
    cdef Record *r = <Record *>(<char *>s.records + (<uint32_t>address << 4 & s.mask))
    cdef uint32_t fell
    if likely(r.address == <uint32_t>address):      # nested, so that the usual way has no jumps
        if likely(r.size == size):
            s.tick -= 1
            if likely(s.tick >= 0):
                fell = <uint32_t>address == s.end
                s.end = <uint32_t>address + size
                r.began[fell] += 1
                return
    s.unusual(uc, address, size, user)


cdef void on_gate(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    """on_block for a block where a bank begins, or has ended."""
    cdef Gate *gate = <Gate *>user
    cdef State *s = gate.state
    cdef uint32_t at = <uint32_t>address << 4 & s.mask, fell = <uint32_t>address == s.end
    cdef Record *before = <Record *>(<char *>s.records + at)
    cdef Record *r
    if unlikely(s.tick <= 0 or size != gate.size):
        s.unusual(uc, address, size, s)
        return
    s.tick -= 1
    if gate.entry or <uint32_t>address == s.ret:
        switch_bank(s, uc, <uint32_t>address, <uint16_t>gate.entry)
    r = <Record *>(<char *>s.records + at)
    begin(s, before, r, fell, <uint32_t>address, size)


cdef inline void begin(State *s, Record *before, Record *r, uint32_t fell, uint32_t addr, uint32_t size) noexcept nogil:
    """Count a block that begins, in record ``r``; ``before`` is its record in the bank that was running."""
    if unlikely(fell and before != r):
        before.began[1] += 1        # that the block before did not jump is for its own bank to know
        before.began[0] -= 1
        fell = 0
    r.address = addr
    r.began[fell] += 1
    s.end = addr + size


cdef void unusual(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    """A block that on_block does not settle: new, of another length, outside of the main window, where a bank begins or
    ends, or with little left of the budget.
    """
    cdef State *s = <State *>user
    cdef uint32_t addr = <uint32_t>address, at, hooks = 0
    cdef uint32_t idx = place(s, addr)
    cdef bint gate
    cdef Record *before
    cdef Record *r
    if idx == 0xFFFFFFFFu:
        s.reason = OUTSIDE
        s.outside = addr
        uc_emu_stop(uc)
        return
    if s.clean[idx] < size:
        walk(s, addr, size, &hooks)
        s.clean[idx] = <uint16_t>size
        if s.hooked or hooks:
            ask_for(s, uc, addr, size)
            return
    at = number_of(s, idx, addr, size)
    gate = s.info[idx].entry != 0 or addr == s.ret
    if gate and s.gate[idx].state == NULL and at == idx and in_main(s, idx):
        make_gate(s, idx)
        ask_for(s, uc, addr, size)
        return
    if s.final:
        s.tick = 0
        if s.budget < s.info[at].length:
            s.reason = BUDGET
            uc_emu_stop(uc)
            return
        s.budget -= s.info[at].length
    elif s.tick <= 0:
        s.reason = LOOK
        uc_emu_stop(uc)
        return
    else:
        s.tick -= 1
    before = record(s, s.bank, at)
    if gate:
        switch_bank(s, uc, addr, s.info[idx].entry)
    r = record(s, s.bank, at)
    r.size = 0 if gate or s.gate[idx].state != NULL else <uint16_t>size
    begin(s, before, r, addr == s.end, addr, size)


cdef void ask_for(State *s, uc_engine *uc, uint32_t addr, uint32_t size) noexcept nogil:
    """Stop before this block and have it translated again."""
    s.pending, s.pending_size = addr, size
    s.reason = SITES
    uc_emu_stop(uc)


cdef void make_gate(State *s, uint32_t idx) noexcept nogil:
    """From the next translation on, this block goes through on_gate; on_block is not to settle it any more."""
    cdef uint32_t b
    s.gate[idx] = Gate(state=s, size=0, entry=s.info[idx].entry)
    for b in range(s.banks):
        record(s, b, idx).size = 0


cdef void on_interrupt(uc_engine *uc, uint32_t intno, void *user) noexcept nogil:
    cdef State *s = <State *>user
    s.reason = INTERRUPT
    s.intno = intno
    uc_emu_stop(uc)


cdef bint on_bad_memory(uc_engine *uc, int kind, uint64_t address, int size, int64_t value, void *user) noexcept nogil:
    cdef State *s = <State *>user
    s.fault_kind = <uint32_t>kind
    s.fault_address = <uint32_t>address
    s.fault_size = <uint32_t>size
    return False


cdef bint on_tlb_fill(uc_engine *uc, uint64_t address, int kind, uc_tlb_entry *result, void *user) noexcept nogil:
    """Pages without code lose the right to execute here, because Unicorn sends every store to a page that has it down its
    slow path.  Whether an access is allowed is decided later, by the memory's own rights.

    Unicorn has brought the registers up to date for this call, and among them the state of an IT block that the access
    stands in, which nobody would take back: code that is looked up by its address before the next IT would begin with a
    condition.
    """
    cdef Memory *m = <Memory *>user
    cdef uint32_t xpsr = 0
    result.paddr = address
    result.perms = UC_PROT_ALL
    if kind != UC_MEM_FETCH:
        uc_reg_read(uc, UC_ARM_REG_XPSR, &xpsr)
        if xpsr & IT_STATE:
            xpsr &= ~<uint32_t>IT_STATE
            uc_reg_write(uc, UC_ARM_REG_XPSR, &xpsr)
        while m.size:
            if address - m.base < m.size:
                if m.perms == UC_PROT_READ | UC_PROT_WRITE:
                    result.perms = UC_PROT_READ | UC_PROT_WRITE
                break
            m += 1
    return True


cdef void on_each(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    """Count each instruction by itself: what other emulators do, for comparison."""
    cdef State *s = <State *>user
    (<Record *>(<char *>s.records + (<uint32_t>address << 4 & s.mask))).executed += 1


cdef void on_nothing(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    """What a block hook costs at least, for comparison."""
