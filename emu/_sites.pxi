"""Instructions that are counted by themselves, because a block's count does not tell: in IT blocks, and divisions.

Included by _core.pyx, where the method is described.
"""

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
        s.info[idx].division = <uint16_t>s.divisions
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


cdef void watched_too_much(State *s, uint32_t addr) noexcept nogil:
    """The block that is running, with ``addr`` in it, calls for instructions that need no watching: have it translated
    again, once it begins anew.
    """
    cdef uint32_t begins = addr, at
    while addr - begins < MAX_BLOCK:
        at = place(s, begins)
        if at == 0xFFFFFFFFu:
            return
        if s.info[at].size and begins + s.info[at].size == s.end and s.tries[at] < RETRIES:
            s.tries[at] += 1
            s.clean[at] = 0
            s.gate[at].size = 0
            record(s, s.bank, at).size = 0
        begins -= 2


cdef void on_site(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    """An instruction inside an IT block was executed, or a division begins."""
    cdef State *s = <State *>user
    cdef Record *r = <Record *>(<char *>s.records + (<uint32_t>address << 4 & s.mask))
    if likely(r.site):
        r.executed += 1
        return
    s.unusual_site(uc, address, user)


cdef void unusual_site(uc_engine *uc, uint64_t address, void *user) noexcept nogil:
    """What on_site does not settle: divisions, code in several windows, the first time in a bank, and instructions that
    need no watching.
    """
    cdef State *s = <State *>user
    cdef uint32_t idx = place(s, <uint32_t>address), n, d, bits = 0
    cdef Record *r
    cdef Division *v
    if idx == 0xFFFFFFFFu:
        return
    if s.site[idx] != COUNTED and s.site[idx] != DIVISION:
        if s.tries[idx] < RETRIES:
            s.tries[idx] += 1
            watched_too_much(s, <uint32_t>address)
        return
    r = record(s, s.bank, idx)
    r.executed += 1
    if s.site[idx] == COUNTED:
        r.site = s.windows == 1     # with several, two instructions may share a record of the main window
        return
    v = &s.division[s.info[idx].division]
    n = core_reg(uc, v.rn)
    d = core_reg(uc, v.rm)
    if v.is_signed:
        if <int32_t>n < 0:
            n = 0 - n
        if <int32_t>d < 0:
            d = 0 - d
    if d != 0 and n >= d:
        bits = <uint32_t>(clz(d) - clz(n) + 1)
    s.quotients[s.info[idx].division * DIV_OUTCOMES + bits] += 1


cdef uint32_t core_reg(uc_engine *uc, int n) noexcept nogil:
    cdef uint32_t value = 0
    uc_reg_read(uc, UC_ARM_REG_R0 + n if n < 13 else (UC_ARM_REG_SP if n == 13 else UC_ARM_REG_LR), &value)
    return value
