"""Counters and native hooks of the emulator's hot path; included by _core.pyx, where the method is described.

``on_block`` runs once per executed block: a leaf without a frame, which one comparison sends to ``unusual``.  ``on_site``
runs once per executed instruction that has to be watched; the rest when something new is met.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

cdef extern from "<sys/mman.h>" nogil:
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MADV_DONTNEED
    void *MAP_FAILED
    void *mmap(void *address, size_t size, int prot, int flags, int fd, long offset)
    int munmap(void *address, size_t size)
    int madvise(void *address, size_t size, int advice)

cdef extern from *:
    """
    #define EMU_UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define EMU_LIKELY(x) __builtin_expect(!!(x), 1)
    #define EMU_CLZ(x) ((x) ? __builtin_clz(x) : 32)
    /* The head of struct hook of unicorn 2.1.4 (include/uc_priv.h), which a uc_hook points at. */
    struct emu_hook_head { int type, insn, refs, op, op_flags; _Bool to_delete; uint64_t begin, end; };
    """
    bint unlikely "EMU_UNLIKELY"(bint) nogil
    bint likely "EMU_LIKELY"(bint) nogil
    int clz "EMU_CLZ"(uint32_t) nogil
    ctypedef struct HookHead "struct emu_hook_head":
        uint64_t begin, end

cdef extern from "unicorn/unicorn.h" nogil:
    ctypedef struct uc_engine
    ctypedef struct uc_context
    ctypedef size_t uc_hook
    ctypedef int uc_err
    int UC_ARCH_ARM, UC_MODE_THUMB
    int UC_HOOK_BLOCK, UC_HOOK_CODE, UC_HOOK_INTR, UC_HOOK_MEM_INVALID, UC_HOOK_TLB_FILL
    int UC_TLB_VIRTUAL, UC_ERR_FETCH_PROT, UC_MEM_FETCH_PROT, UC_MEM_FETCH, UC_PROT_ALL, UC_PROT_READ, UC_PROT_WRITE
    ctypedef struct uc_tlb_entry:
        uint64_t paddr
        int perms
    uc_err uc_ctl_tlb_mode(uc_engine *, int mode)
    uc_err uc_mmio_map(uc_engine *, uint64_t address, size_t size, void *read, void *, void *write, void *)
    int UC_ARM_REG_R0, UC_ARM_REG_SP, UC_ARM_REG_LR, UC_ARM_REG_PC
    uc_err uc_open(int arch, int mode, uc_engine **out)
    uc_err uc_close(uc_engine *)
    uc_err uc_ctl_set_cpu_model(uc_engine *, int model)
    ctypedef struct uc_tb
    uc_err uc_ctl_remove_cache(uc_engine *, uint64_t address, uint64_t end)
    uc_err uc_ctl_request_cache(uc_engine *, uint64_t address, uc_tb *)
    uc_err uc_mem_map_ptr(uc_engine *, uint64_t address, size_t size, uint32_t perms, void *ptr)
    uc_err uc_hook_add(uc_engine *, uc_hook *, int type, void *callback, void *user, uint64_t begin, uint64_t end, ...)
    uc_err uc_emu_start(uc_engine *, uint64_t begin, uint64_t until, uint64_t timeout, size_t count)
    uc_err uc_emu_stop(uc_engine *)
    uc_err uc_reg_read(uc_engine *, int reg, void *value)
    uc_err uc_reg_write(uc_engine *, int reg, const void *value)
    uc_err uc_context_alloc(uc_engine *, uc_context **)
    uc_err uc_context_save(uc_engine *, uc_context *)
    uc_err uc_context_restore(uc_engine *, uc_context *)
    uc_err uc_context_free(uc_context *)
    const char *uc_strerror(uc_err)

cdef enum:
    MAX_WINDOWS = 16
    MAX_FRAMES = 64
    MAX_MEMORIES = 32
    ALIASES = 4096          # blocks seen again with another length (a retranslation): each gets a record of its own
    DIV_OUTCOMES = 33       # quotient width in bits, 0 to 32
    MAX_DIVISIONS = 512
    HOOKS = 4               # instruction hooks: Unicorn walks all of them at each call
    RETRIES = 6             # translations of one block
    MAX_BLOCK = 1024        # bytes, more than any translated block has
    NOWHERE = 0x100000000   # an address that code never has
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

cdef struct Record:         # 32 bytes: within one cache line
    uint32_t address, size  # another size sends on_block to the unusual case
    uint32_t end, unused
    uint64_t count          # times the block began
    uint64_t taken          # times the next block began elsewhere than at this one's end

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
    Record *prev
    void (*unusual)(uc_engine *, uint64_t, uint32_t, void *) noexcept nogil
    # the rest
    int64_t budget          # instructions, while ``final``
    bint final
    uint32_t main, slots, longest
    Info *info
    uint64_t *executed      # of the bank that is running, per halfword
    uint64_t *quotients     # of the bank that is running
    uint32_t windows, total, aliases, seen_n, seen_cap, banks, depth, bank, root
    Window window[MAX_WINDOWS]
    Frame frame[MAX_FRAMES]
    uint32_t *seen
    uint32_t *alias_of
    Record **bank_records
    uint64_t **bank_executed
    uint64_t **bank_quotients
    uint64_t *calls
    uint8_t *site           # per halfword: Kind
    uint16_t *clean         # per halfword: bytes from here on whose translation has hooks where they belong and no more
    uint8_t *tries          # per halfword: translations asked for
    uint32_t *sites
    uint32_t sites_n, sites_cap
    Division division[MAX_DIVISIONS]
    uint32_t divisions
    uint32_t pending, pending_size      # block to translate
    bint hooked             # the instruction hooks are there
    Record nobody
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


cdef Record *record(State *s, uint32_t bank, uint32_t at) noexcept nogil:
    """A bank's record: blocks of the main window lie where on_block looks for them, the others behind."""
    cdef Window *win = &s.window[s.main]
    if win.first <= at < win.first + win.halfwords:
        return &s.bank_records[bank][(at - win.first + (win.lo >> 1)) & (s.slots - 1)]
    return &s.bank_records[bank][s.slots + at]


cdef int64_t spent(State *s) noexcept nogil:
    """Instructions that the blocks counted so far hold."""
    cdef int64_t n = 0
    cdef uint32_t b, i
    for b in range(s.banks):
        for i in range(s.seen_n):
            n += <int64_t>record(s, b, s.seen[i]).count * s.info[s.seen[i]].length
    return n


cdef bint add_site(State *s, uint32_t idx, uint32_t kind, uint32_t op) noexcept nogil:
    """Mark one instruction as counted by itself; False when it was already."""
    cdef uint32_t *grown
    if s.site[idx]:
        return False
    if s.sites_n == s.sites_cap:
        grown = <uint32_t *>realloc(s.sites, 2 * s.sites_cap * sizeof(uint32_t))
        if grown == NULL:
            s.overflow = True
            return False
        s.sites = grown
        s.sites_cap *= 2
    if kind == DIVISION:
        if s.divisions == MAX_DIVISIONS:
            s.overflow = True
            return False
        s.division[s.divisions] = Division(index=idx, rn=(op >> 16) & 15, rm=op & 15, is_signed=(op & 0x00200000) == 0)
        s.divisions += 1
    s.site[idx] = <uint8_t>kind
    s.sites[s.sites_n] = idx
    s.sites_n += 1
    return True


cdef bint sets_flags(uint32_t op, uint32_t step) noexcept nogil:
    """May this instruction, inside an IT block, change the flags?  False only where it certainly does not."""
    cdef uint32_t high
    if step == 2:
        # in an IT block the 16-bit forms leave the flags alone, but for CMP, CMN and TST
        return op >> 11 == 5 or op >> 6 in (0x108, 0x10A, 0x10B) or op >> 8 == 0x45
    high = op >> 16
    if high >> 9 == 0x7C or high >> 9 == 0x74 or high >> 9 == 0x76:
        return False        # loads and stores: single; multiple, dual and of the FPU
    return (high & 0x10) != 0 or (high & 0xFFE0) == 0xF380


cdef uint32_t walk(State *s, uint32_t addr, uint32_t size, uint32_t *hooks) noexcept nogil:
    """Number of instructions in ``size`` bytes of Thumb code; marks the sites among them and counts those to hook."""
    cdef uint32_t w, off, end, n = 0, op, step, predicated = 0, lead = 0, flags = 0, k = 0, idx
    cdef uint32_t kind, condition = 0
    cdef Window *win
    hooks[0] = 0
    for w in range(s.windows):
        win = &s.window[w]
        off = addr - win.lo
        if (off >> 1) >= win.halfwords:
            continue
        end = off + size
        while (off < end or predicated) and off + 2 <= 2 * win.halfwords:
            op = win.host[off] | (<uint32_t>win.host[off + 1] << 8)
            step = 2
            if (op >> 11) >= 0x1D and off + 4 <= 2 * win.halfwords:
                op = (op << 16) | win.host[off + 2] | (<uint32_t>win.host[off + 3] << 8)
                step = 4
            idx = win.first + (off >> 1)
            kind = DIVISION if step == 4 and (op & 0xFFD0F0F0u) == 0xFB90F0F0u else NONE
            if predicated:
                if kind == NONE:
                    kind = COUNTED
                    if k and not flags:
                        # the flags are still those that the lead saw: counting one of them is enough
                        kind = ((SAME if (condition >> (4 - k) & 1) == condition >> 4 else OPPOSITE)
                                | (idx - lead) << 4)
                flags = flags or sets_flags(op, step)
                predicated -= 1
                k += 1
            elif step == 2 and (op & 0xFF00) == 0xBF00 and op & 15:
                # IT: the lowest set bit of the mask says how many instructions follow, 1 to 4
                predicated = 1 if (op & 15) == 8 else (2 if (op & 7) == 4 else (3 if (op & 3) == 2 else 4))
                condition, lead, k, flags = op & 31, idx + 1, 0, 0
            if kind != NONE:
                add_site(s, idx, kind, op)
            if off < end:
                n += 1
                if s.site[idx] == COUNTED or s.site[idx] == DIVISION:
                    hooks[0] += 1
            off += step
        return n
    return 0


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
    if s.info[at].length > s.longest:
        s.longest = s.info[at].length
        s.tick = min(s.tick, <int64_t>0)    # what was left may not be left any more
    return at


cdef void use_bank(State *s, uint32_t bank) noexcept nogil:
    s.bank = bank
    s.records = s.bank_records[bank]
    s.executed = s.bank_executed[bank]
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
        if sp != 0xFFFFFFFFu:
            record(s, s.bank, sp).size = 0      # so that the block there is noticed
    else:
        s.ret = 1
        use_bank(s, 0)


cdef void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    cdef State *s = <State *>user
    cdef Record *r = <Record *>(<char *>s.records + (<uint32_t>address << 4 & s.mask))
    cdef Record *prev
    if likely(r.address == <uint32_t>address):      # nested, so that the usual way has no jumps
        if likely(r.size == size):
            s.tick -= 1
            if likely(s.tick >= 0):
                prev = s.prev
                s.prev = r
                r.count += 1
                prev.taken += (<uint32_t>address != prev.end)
                return
    s.unusual(uc, address, size, user)


cdef void unusual(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    """A block that on_block does not settle: new, of another length, outside of the main window, where a bank begins or
    ends, or with little left of the budget.
    """
    cdef State *s = <State *>user
    cdef uint32_t addr = <uint32_t>address, at, hooks = 0
    cdef uint32_t idx = place(s, addr)
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
            s.pending, s.pending_size = addr, size
            s.reason = SITES
            uc_emu_stop(uc)
            return
    at = number_of(s, idx, addr, size)
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
    s.prev.taken += (addr != s.prev.end)
    if s.info[idx].entry != 0 or addr == s.ret:
        switch_bank(s, uc, addr, s.info[idx].entry)
    r = record(s, s.bank, at)
    r.address, r.end = addr, addr + size
    r.size = 0 if s.info[idx].entry != 0 or addr == s.ret else size
    r.count += 1
    s.prev = r


cdef void watched_too_much(State *s) noexcept nogil:
    """The block that is running calls for instructions that need no watching: have it translated again, once it begins
    anew.
    """
    cdef uint32_t at = place(s, s.prev.address)
    if s.prev == &s.nobody or at == 0xFFFFFFFFu or s.tries[at] >= RETRIES:
        return
    s.tries[at] += 1
    s.clean[at] = 0
    s.prev.size = 0


cdef void on_site(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    """An instruction inside an IT block was executed, or a division begins."""
    cdef State *s = <State *>user
    cdef Window *win = &s.window[s.main]
    cdef uint32_t idx = (<uint32_t>address - win.lo) >> 1, n, d, bits = 0, k
    cdef Division *v
    if unlikely(idx >= win.halfwords):
        idx = place(s, <uint32_t>address)
        if idx == 0xFFFFFFFFu:
            return
    else:
        idx += win.first
    if unlikely(s.site[idx] != COUNTED and s.site[idx] != DIVISION):
        watched_too_much(s)
        return
    s.executed[idx] += 1
    if s.site[idx] == DIVISION:
        for k in range(s.divisions):
            v = &s.division[k]
            if v.index == idx:
                n = core_reg(uc, v.rn)
                d = core_reg(uc, v.rm)
                if v.is_signed:
                    if <int32_t>n < 0:
                        n = 0 - n
                    if <int32_t>d < 0:
                        d = 0 - d
                if d != 0 and n >= d:
                    bits = <uint32_t>(clz(d) - clz(n) + 1)
                s.quotients[k * DIV_OUTCOMES + bits] += 1
                return


cdef uint32_t core_reg(uc_engine *uc, int n) noexcept nogil:
    cdef uint32_t value = 0
    uc_reg_read(uc, UC_ARM_REG_R0 + n if n < 13 else (UC_ARM_REG_SP if n == 13 else UC_ARM_REG_LR), &value)
    return value


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
    """
    cdef Memory *m = <Memory *>user
    result.paddr = address
    result.perms = UC_PROT_ALL
    if kind != UC_MEM_FETCH:
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
    cdef uint32_t idx = place(s, <uint32_t>address)
    if idx != 0xFFFFFFFFu:
        s.executed[idx] += 1
