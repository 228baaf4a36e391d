"""Counters and native hooks of the emulator's hot path; included by _core.pyx, where the method is described.

``on_block`` runs once per executed block, ``on_site`` once per executed instruction of an IT block and per division;
the rest runs when something new is met.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **out, size_t alignment, size_t size)

cdef extern from *:
    """
    #define EMU_UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define EMU_CLZ(x) ((x) ? __builtin_clz(x) : 32)
    """
    bint unlikely "EMU_UNLIKELY"(bint) nogil
    int clz "EMU_CLZ"(uint32_t) nogil

cdef extern from "unicorn/unicorn.h" nogil:
    ctypedef struct uc_engine
    ctypedef struct uc_context
    ctypedef size_t uc_hook
    ctypedef int uc_err
    int UC_ARCH_ARM, UC_MODE_THUMB
    int UC_HOOK_BLOCK, UC_HOOK_CODE, UC_HOOK_INTR, UC_HOOK_MEM_INVALID
    int UC_ARM_REG_R0, UC_ARM_REG_SP, UC_ARM_REG_LR, UC_ARM_REG_PC
    uc_err uc_open(int arch, int mode, uc_engine **out)
    uc_err uc_close(uc_engine *)
    uc_err uc_ctl_set_cpu_model(uc_engine *, int model)
    uc_err uc_ctl_remove_cache(uc_engine *, uint64_t address, uint64_t end)
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
    MAX_PENDING = 256
    MAX_BLOCK = 1024        # instructions, more than any translated block has
    SLICE = 1 << 26         # instructions between two looks at signals: a fraction of a second

cdef enum Reason:
    RAN = 0
    INTERRUPT = 1
    BUDGET = 2
    OUTSIDE = 3             # execution left the code of the ELF
    SITES = 4               # instruction hooks are to be added

REASONS = {RAN: "error", INTERRUPT: "interrupt", BUDGET: "budget", OUTSIDE: "outside"}
DIVISION_OUTCOMES = DIV_OUTCOMES

cdef struct Info:
    uint32_t size           # bytes, as the engine translated it; 0: never seen
    uint16_t length         # instructions in it
    uint16_t entry          # 1 + bank that begins here

cdef struct Record:
    Info info               # a copy for each bank, so that the hot path touches one cache line
    uint64_t count          # times the block began
    uint64_t taken          # times the next block began elsewhere than at this one's end
    uint64_t unused         # 32 bytes in all

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
    uint32_t base, size
    uint8_t *host

cdef struct State:
    # the hot path touches these
    uint32_t lo, halfwords
    Info *info
    Record *records         # of the bank that is running
    uint64_t *prev_taken
    uint32_t prev_end
    uint32_t ret            # awaited return address; 1 when none
    int64_t budget
    # the rest
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
    uint8_t *site           # per halfword: 1 counted as executed, 2 a division too
    uint32_t *sites
    uint32_t sites_n, sites_cap
    Division division[MAX_DIVISIONS]
    uint32_t divisions
    uint32_t pending[2 * MAX_PENDING]   # first and last address of hooks to add
    uint32_t pending_n
    uint64_t no_edge
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


cdef bint add_site(State *s, uint32_t idx, uint8_t kind, uint32_t op) noexcept nogil:
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
    if kind == 2:
        if s.divisions == MAX_DIVISIONS:
            s.overflow = True
            return False
        s.division[s.divisions] = Division(index=idx, rn=(op >> 16) & 15, rm=op & 15, is_signed=(op & 0x00200000) == 0)
        s.divisions += 1
    s.site[idx] = kind
    s.sites[s.sites_n] = idx
    s.sites_n += 1
    return True


cdef void pend(State *s, uint32_t first, uint32_t last) noexcept nogil:
    if s.pending_n == MAX_PENDING:
        s.overflow = True
        return
    s.pending[2 * s.pending_n] = first
    s.pending[2 * s.pending_n + 1] = last
    s.pending_n += 1


cdef uint32_t walk(State *s, uint32_t addr, uint32_t size) noexcept nogil:
    """Number of instructions in ``size`` bytes of Thumb code; notes the sites among them as pending."""
    cdef uint32_t w, off, end, n = 0, op, step, predicated = 0, it_first = 0, it_last = 0
    cdef uint32_t kind
    cdef bint fresh = False
    cdef Window *win
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
            if off < end:
                n += 1
            kind = 2 if step == 4 and (op & 0xFFD0F0F0u) == 0xFB90F0F0u else 0
            if predicated:
                fresh = add_site(s, win.first + (off >> 1), 2 if kind else 1, op) or fresh
                it_last = win.lo + off
                predicated -= 1
                if predicated == 0 and fresh:
                    pend(s, it_first, it_last)
            elif kind:
                if add_site(s, win.first + (off >> 1), 2, op):
                    pend(s, win.lo + off, win.lo + off)
            elif step == 2 and (op & 0xFF00) == 0xBF00 and op & 15:
                # IT: the lowest set bit of the mask says how many instructions follow, 1 to 4
                predicated = 1 if (op & 15) == 8 else (2 if (op & 7) == 4 else (3 if (op & 3) == 2 else 4))
                it_first, fresh = win.lo + off + 2, False
            off += step
        return n
    return 0


cdef uint32_t number_of(State *s, uint32_t idx, uint32_t addr, uint32_t size) noexcept nogil:
    """Index of this block's records; a block that nobody has seen (or another length of one) is noted first."""
    cdef uint32_t i, at = idx
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
    s.info[at].length = <uint16_t>walk(s, addr, size)
    if s.seen_n == s.seen_cap:
        grown = <uint32_t *>realloc(s.seen, 2 * s.seen_cap * sizeof(uint32_t))
        if grown == NULL:
            s.overflow = True
            return at
        s.seen = grown
        s.seen_cap *= 2
    s.seen[s.seen_n] = at
    s.seen_n += 1
    return at


cdef Record *meet(State *s, uint32_t idx, uint32_t addr, uint32_t size) noexcept nogil:
    """The running bank's record of a block that it sees for the first time, or in another length than the first."""
    cdef Record *r = &s.records[number_of(s, idx, addr, size)]
    r.info = s.info[r - s.records]
    return r


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
    else:
        s.ret = 1
        use_bank(s, 0)


cdef void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    cdef State *s = <State *>user
    cdef uint32_t addr = <uint32_t>address
    cdef uint32_t idx = (addr - s.lo) >> 1
    cdef Record *r
    if unlikely(idx >= s.halfwords):
        idx = place(s, addr)
        if idx == 0xFFFFFFFFu:
            s.reason = OUTSIDE
            s.outside = addr
            uc_emu_stop(uc)
            return
    r = &s.records[idx]
    if unlikely(r.info.size != size):
        r = meet(s, idx, addr, size)
        if s.pending_n:
            s.reason = SITES
            uc_emu_stop(uc)
            return
    if unlikely(s.budget < r.info.length):
        s.reason = BUDGET
        uc_emu_stop(uc)
        return
    s.budget -= r.info.length
    s.prev_taken[0] += (addr != s.prev_end)
    if unlikely(r.info.entry != 0 or addr == s.ret):
        switch_bank(s, uc, addr, r.info.entry)
        r = &s.records[idx]
        if r.info.size != size:
            r = meet(s, idx, addr, size)
    r.count += 1
    s.prev_taken = &r.taken
    s.prev_end = addr + size


cdef void on_site(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    """An instruction inside an IT block was executed, or a division begins."""
    cdef State *s = <State *>user
    cdef uint32_t idx = (<uint32_t>address - s.lo) >> 1, n, d, bits = 0, k
    cdef Division *v
    if unlikely(idx >= s.halfwords):
        idx = place(s, <uint32_t>address)
        if idx == 0xFFFFFFFFu:
            return
    s.executed[idx] += 1
    if s.site[idx] == 2:
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
