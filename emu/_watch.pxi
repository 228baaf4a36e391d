"""What :class:`Tracer` does at each instruction; included by _trace.pxi."""


cdef void settle(Tracer t) noexcept nogil:
    """Charge what has run since the last call or return to the node that is running."""
    cdef Node *n = &t.nodes[t.stack[t.depth - 1].node if t.depth else 0]
    n.cycles += t.cycles - t.mark_c
    n.instructions += t.instructions - t.mark_i
    n.stalls += t.stalls - t.mark_s
    t.mark_c, t.mark_i, t.mark_s = t.cycles, t.instructions, t.stalls


cdef void note(Tracer t, uint32_t func, uint32_t opens) noexcept nogil:
    cdef Event *grown
    cdef uint32_t n, kept = 0
    if not t.every and not t.shown[func]:
        return
    if t.events_n == t.events_cap:
        if t.events_cap == MAX_EVENTS:
            if t.every:             # from here on only what was asked for, and of what is there too
                t.every, t.events_full = False, True
                for n in range(t.events_n):
                    if t.shown[t.events[n].func]:
                        t.events[kept] = t.events[n]
                        kept += 1
                t.events_n = kept
                note(t, func, opens)
            return
        grown = <Event *>realloc(t.events, 2 * t.events_cap * sizeof(Event))
        if grown == NULL:
            t.events_full = True
            return
        t.events = grown
        t.events_cap *= 2
    t.events[t.events_n] = Event(cycle=t.cycles, func=func, opens=opens)
    t.events_n += 1


cdef uint32_t new_node(Tracer t, uint32_t parent, uint32_t func, uint32_t site) noexcept nogil:
    cdef Node *grown
    cdef uint32_t up = parent
    while up:                       # recursion is folded into its first appearance
        if t.nodes[up].func == func:
            return up
        up = t.nodes[up].parent
    if t.nodes_n == t.nodes_cap:
        grown = <Node *>realloc(t.nodes, 2 * t.nodes_cap * sizeof(Node)) if t.nodes_cap < MAX_NODES else NULL
        if grown == NULL:
            t.lost = True
            return parent
        t.nodes = grown
        t.nodes_cap *= 2
    memset(&t.nodes[t.nodes_n], 0, sizeof(Node))
    t.nodes[t.nodes_n].parent, t.nodes[t.nodes_n].func, t.nodes[t.nodes_n].site = parent, func, site
    t.nodes_n += 1
    return t.nodes_n - 1


cdef uint32_t new_edge(Tracer t, uint32_t caller, uint32_t site, uint32_t callee, uint32_t jump) noexcept nogil:
    cdef Edge *grown
    cdef uint32_t i
    for i in range(t.edges_n):
        if t.edges[i].site == site and t.edges[i].callee == callee and t.edges[i].caller == caller:
            return i
    if t.edges_n == t.edges_cap:
        grown = <Edge *>realloc(t.edges, 2 * t.edges_cap * sizeof(Edge)) if t.edges_cap < MAX_EDGES else NULL
        if grown == NULL:
            t.lost = True
            return 0
        t.edges = grown
        t.edges_cap *= 2
    t.edges[t.edges_n] = Edge(caller=caller, site=site, callee=callee, jump=jump, calls=0, cycles=0, instructions=0)
    t.edges_n += 1
    return t.edges_n - 1


cdef Link *find_link(Tracer t, uint32_t node, uint32_t site, uint32_t func, uint32_t jump) noexcept nogil:
    cdef uint32_t at = (node * 0x9E3779B1u ^ site * 0x85EBCA6Bu ^ func * 0xC2B2AE35u) >> 8 & (LINKS - 1)
    cdef Link *p
    while True:
        p = &t.links[at]
        if p.to == 0:
            break
        if p.node == node and p.site == site and p.func == func:
            return p
        at = (at + 1) & (LINKS - 1)
    if t.links_n > LINKS // 2:
        t.lost = True
        return NULL
    t.links_n += 1
    p.node, p.site, p.func = node, site, func
    p.edge = new_edge(t, t.nodes[node].func, site, func, jump)
    p.to = new_node(t, node, func, site)
    if p.to == 0:
        p.to = node
    return p


cdef void push(Tracer t, uint32_t func, uint32_t site, uint32_t ret, uint32_t tail) noexcept nogil:
    cdef Link *link
    cdef Call *c
    cdef uint32_t node = t.stack[t.depth - 1].node if t.depth else 0
    if t.depth == MAX_CALLS:
        t.lost = True
        return
    settle(t)
    link = find_link(t, node, site, func, tail)
    c = &t.stack[t.depth]
    c.node, c.edge = node, 0xFFFFFFFFu
    if link != NULL:
        c.node, c.edge = link.to, link.edge
        t.edges[c.edge].calls += 1
    c.func, c.ret, c.tail, c.begin, c.begin_i = func, ret, tail, t.cycles, t.instructions
    t.depth += 1
    t.nodes[c.node].calls += 1
    t.called[func] += 1
    if t.open_[func] == 0:
        t.begun[func] = t.cycles
    t.open_[func] += 1
    note(t, func, 1)


cdef void pop(Tracer t) noexcept nogil:
    cdef Call *c
    settle(t)
    t.depth -= 1
    c = &t.stack[t.depth]
    if c.edge < t.edges_n:
        t.edges[c.edge].cycles += t.cycles - c.begin
        t.edges[c.edge].instructions += t.instructions - c.begin_i
    t.open_[c.func] -= 1
    if t.open_[c.func] == 0:
        t.inclusive[c.func] += t.cycles - t.begun[c.func]
    note(t, c.func, 0)


cdef void moved(Tracer t, Op *before, uint32_t addr, uint32_t func) noexcept nogil:
    """Control has left the sequence, or run over into another function: a call, a return or a jump."""
    cdef uint32_t d, site = t.prev, low
    if before.flags & F_CALL and addr != t.prev_end:
        push(t, func, site, t.prev_end, 0)
        return
    if before.flags & F_LEAVE:
        low = t.depth - SEARCH if t.depth > SEARCH else 0
        d = t.depth
        while d > low:
            d -= 1
            if t.stack[d].ret == addr:
                while t.stack[d].tail and d > 0:
                    d -= 1
                while t.depth > d:
                    pop(t)
                break
    if t.depth and t.stack[t.depth - 1].func == func:
        return
    if not t.depth:
        if t.root == 0xFFFFFFFFu:
            push(t, func, site, 1, 0)
        return
    # a jump into another function: in place of the one that jumped, or back to one that had jumped here
    d = t.depth
    while d > 0 and t.stack[d - 1].func != func and t.stack[d - 1].tail:
        d -= 1
    if d > 0 and t.stack[d - 1].func == func:
        while t.depth > d:
            pop(t)
        return
    push(t, func, site, t.stack[t.depth - 1].ret, 1)


cdef void fetched(Tracer t, Op *o, uint32_t line) noexcept nogil:
    """The core needs another line of the flash for its instructions."""
    cdef uint64_t stall = t.wait, run
    cdef bint next_one = line == t.line + 1
    t.line = line
    if t.prefetch and next_one:
        # read while the line before it ran, which needs wait + 1 cycles; what comes in time is not put into the cache
        run = t.cycles + t.stalls - t.line_begin
        stall = 0 if run > t.wait else t.wait + 1 - run
        if stall > t.wait:
            stall = t.wait
        if stall and cached(&t.icache, line, True):     # not there in time: a miss like any other
            stall = 0
    elif cached(&t.icache, line, True):
        stall = 0
    t.stalls += stall
    t.fetch_stalls += stall
    o.stalls += stall
    t.line_begin = t.cycles + t.stalls


cdef void loaded(Tracer t, Op *o, uint32_t addr) noexcept nogil:
    cdef uint32_t ea = <uint32_t>o.disp, line, last
    if o.rn != 255:
        ea += core_reg(t.uc, o.rn)
    if o.rm != 255:
        ea += core_reg(t.uc, o.rm) << o.shift
    if ea - t.flash_lo >= t.flash_size:
        return
    line, last = ea >> t.data.shift, (ea + o.bytes - 1) >> t.data.shift
    if t.data.ways == 0:            # no cache: each word is a read of the flash
        line, last = ea >> 2, (ea + o.bytes - 1) >> 2
    while line <= last:
        if not cached(t.data, line, True):
            t.stalls += t.data_wait
            t.data_stalls += t.data_wait
            o.stalls += t.data_wait
        line += 1


cdef void on_insn(uc_engine *uc, uint64_t address, uint32_t size, void *user) noexcept nogil:
    (<Tracer>user).s.end = <uint32_t>address + size
    watch(<Tracer>user, <uint32_t>address)


cdef void watch(Tracer t, uint32_t addr) noexcept nogil:
    cdef uint32_t i = place(t.s, addr), n, d, bits, sp = 0, lr = 0
    cdef Op *o = &t.op_[i if i < t.halfwords else 0]
    cdef Op *before = t.last
    if i >= t.halfwords or not o.flags & F_KNOWN:
        t.lost = True
        return
    if before != NULL:
        if addr != t.prev_end:
            if t.active:
                before.jumps += 1
                t.cycles += before.taken
            if t.active:
                moved(t, before, addr, o.func)
                if t.root != 0xFFFFFFFFu and t.depth == 0:
                    settle(t)
                    t.active = False
        elif before.func != o.func and t.active:
            moved(t, before, addr, o.func)
    elif t.active:
        push(t, o.func, 0, 1, 0)
    if not t.active:
        if addr == t.root and before != NULL and addr != t.prev_end:
            t.active = True
            t.line = t.data_line = 0xFFFFFFFFu
            uc_reg_read(t.uc, UC_ARM_REG_LR, &lr)
            t.last = NULL           # what called it is not counted
            push(t, o.func, t.prev, lr & ~<uint32_t>1, 0)
        else:
            t.last, t.prev, t.prev_end = o, addr, addr + o.size
            return
    if t.waits:
        if (addr >> t.icache.shift) != t.line and addr - t.flash_lo < t.flash_size:
            fetched(t, o, addr >> t.icache.shift)
        if o.size == 4 and ((addr + 2) >> t.icache.shift) != t.line and addr - t.flash_lo < t.flash_size:
            fetched(t, o, (addr + 2) >> t.icache.shift)
        if o.flags & F_LOAD:
            loaded(t, o, addr)
    t.cycles += o.cost
    t.instructions += 1
    o.count += 1
    if o.flags & F_DIV:
        n, d, bits = core_reg(t.uc, o.rn), core_reg(t.uc, o.rm), 0
        if o.flags & F_SIGNED:
            n = 0 - n if <int32_t>n < 0 else n
            d = 0 - d if <int32_t>d < 0 else d
        if d != 0 and n >= d:
            bits = <uint32_t>(clz(d) - clz(n) + 1)
        t.cycles += t.div_cost[bits]
        o.extra += t.div_cost[bits]
    if t.sp_limit and t.sp_pc == 0:
        uc_reg_read(t.uc, UC_ARM_REG_SP, &sp)
        if sp < t.sp_limit:
            t.sp_pc, t.sp_low = t.prev, sp
    t.last, t.prev, t.prev_end = o, addr, addr + o.size
