"""A second, slower way to count: every executed instruction is seen, which gives a running total of cycles, the call
graph, instructions one by one, and the stream of accesses to flash that a model of its cache is fed with.

Included by _core.pyx.  The costs come from Python (:mod:`emu.trace`), decoded from the blocks that a fast run counted,
and the totals are compared with that run's.  Only an instruction hook is used, no memory hooks: addresses of loads are
worked out from the registers before the load.
"""

from libc.string cimport memmove

cdef enum OpFlag:
    F_CALL = 1              # BL, BLX: a jump from here is a call
    F_LEAVE = 2             # BX, POP, LDM or MOV to PC: a jump from here may be a return
    F_DIV = 4
    F_LOAD = 8              # reads what may be flash
    F_KNOWN = 16
    F_SIGNED = 32

cdef struct Op:
    int32_t cost            # cycles, with the pair that it makes with the next
    int32_t taken           # more, when the next instruction is not the one behind
    uint32_t func
    uint16_t flags
    uint8_t rn, rm          # base and index of a load (255 none), or the operands of a division
    int32_t disp
    uint8_t shift, size, bytes, bank
    uint64_t count, jumps, extra, stalls

cdef struct Node:           # of the tree of calls, recursion folded into its first appearance
    uint32_t parent, func, site, unused
    uint64_t calls, cycles, instructions, stalls

cdef struct Edge:
    uint32_t caller, site, callee, jump
    uint64_t calls, cycles, instructions

cdef struct Link:           # (node, site, func) -> node and edge; node 0xffffffff: free
    uint32_t node, site, func, to, edge

cdef struct Call:
    uint32_t node, func, ret, edge, tail, unused
    uint64_t begin, begin_i

cdef struct Event:
    uint64_t cycle
    uint32_t func, opens

cdef struct Cache:
    uint32_t shift, sets, ways
    uint32_t *tag           # line + 1, most recently used first
    uint64_t hits, misses

cdef enum:
    MAX_CALLS = 4096
    MAX_NODES = 1 << 20
    MAX_EDGES = 1 << 18
    MAX_EVENTS = 1 << 22
    LINKS = 1 << 21
    SEARCH = 1024           # frames looked through for a return address


cdef bint cached(Cache *c, uint32_t line, bint fill) noexcept nogil:
    """Is the line in the cache?  It becomes the most recently used one; what is missing is put in if ``fill``."""
    cdef uint32_t *row
    cdef uint32_t w, n = c.ways
    if n == 0:
        c.misses += 1
        return False
    row = c.tag + (line % c.sets) * n
    for w in range(n):
        if row[w] == line + 1:
            memmove(row + 1, row, w * sizeof(uint32_t))
            row[0] = line + 1
            c.hits += 1
            return True
    c.misses += 1
    if fill:
        memmove(row + 1, row, (n - 1) * sizeof(uint32_t))
        row[0] = line + 1
    return False


cdef class Tracer:
    """Watches an :class:`Engine` that has not run yet.  Fill the table with :meth:`op`, then :meth:`attach`."""

    cdef uc_engine *uc
    cdef State *s
    cdef uint32_t halfwords, root, prev, prev_end
    cdef Op *op_
    cdef Op *last
    cdef uint64_t cycles, instructions, stalls, fetch_stalls, data_stalls, mark_c, mark_i, mark_s, line_begin
    cdef Call *stack
    cdef uint32_t depth, base
    cdef bint active, lost, events_full, every
    cdef Node *nodes
    cdef uint32_t nodes_n, nodes_cap
    cdef Edge *edges
    cdef uint32_t edges_n, edges_cap
    cdef Link *links
    cdef uint32_t links_n
    cdef Event *events
    cdef uint32_t events_n, events_cap
    cdef uint32_t funcs
    cdef uint8_t *shown
    cdef uint32_t *open_
    cdef uint64_t *begun
    cdef uint64_t *inclusive
    cdef uint64_t *called
    cdef int32_t div_cost[33]
    cdef bint waits, prefetch, data_buffer
    cdef uint32_t wait, data_wait, flash_lo, flash_size, line, data_line
    cdef Cache icache, dcache
    cdef Cache *data
    cdef uint32_t sp_limit, sp_pc, sp_low
    cdef object keep

    def __cinit__(self, Engine engine, uint32_t funcs, uint32_t root, division):
        cdef int i
        self.uc, self.keep, self.s = engine.uc, engine, &engine.s
        self.halfwords, self.funcs, self.root = engine.s.total, funcs, root
        self.nodes_cap, self.edges_cap, self.events_cap = 1024, 1024, 65536
        self.op_ = <Op *>calloc(self.halfwords + 1, sizeof(Op))
        self.stack = <Call *>calloc(MAX_CALLS, sizeof(Call))
        self.nodes = <Node *>calloc(self.nodes_cap, sizeof(Node))
        self.edges = <Edge *>calloc(self.edges_cap, sizeof(Edge))
        self.links = <Link *>calloc(LINKS, sizeof(Link))
        self.events = <Event *>calloc(self.events_cap, sizeof(Event))
        self.shown = <uint8_t *>calloc(funcs + 1, 1)
        self.open_ = <uint32_t *>calloc(funcs + 1, sizeof(uint32_t))
        self.begun = <uint64_t *>calloc(funcs + 1, sizeof(uint64_t))
        self.inclusive = <uint64_t *>calloc(funcs + 1, sizeof(uint64_t))
        self.called = <uint64_t *>calloc(funcs + 1, sizeof(uint64_t))
        if (self.op_ == NULL or self.stack == NULL or self.nodes == NULL or self.edges == NULL or self.links == NULL
                or self.events == NULL or self.shown == NULL or self.open_ == NULL or self.begun == NULL
                or self.inclusive == NULL or self.called == NULL):
            raise MemoryError
        for i in range(33):
            self.div_cost[i] = division[i]
        self.prev_end, self.line, self.data_line = 1, 0xFFFFFFFFu, 0xFFFFFFFFu
        self.nodes_n = 1            # node 0: outside of everything
        self.nodes[0].func = funcs
        self.every = True

    def __dealloc__(self):
        free(self.op_)
        free(self.stack)
        free(self.nodes)
        free(self.edges)
        free(self.links)
        free(self.events)
        free(self.shown)
        free(self.open_)
        free(self.begun)
        free(self.inclusive)
        free(self.called)
        free(self.icache.tag)
        free(self.dcache.tag)

    def op(self, uint32_t address, uint32_t size, int cost, int taken, uint32_t func, int flags,
           int rn=255, int rm=255, int disp=0, int shift=0, int bytes_=0):
        """What the instruction at ``address`` costs and does."""
        cdef Op *o
        cdef uint32_t i = place(self.s, address)
        if i == 0xFFFFFFFFu:
            raise IndexError
        o = &self.op_[i]
        o.size, o.cost, o.taken, o.func, o.flags = size, cost, taken, func, flags | F_KNOWN
        o.rn, o.rm, o.disp, o.shift, o.bytes = rn, rm, disp, shift, min(bytes_, 255)

    def show(self, uint32_t func):
        """Keep a function's calls as events even when there are too many calls to keep all."""
        self.shown[func] = 1

    def watch_stack(self, uint32_t limit):
        """Note the first instruction that runs with SP below ``limit``."""
        self.sp_limit = limit

    def flash(self, uint32_t lo, uint32_t size, uint32_t wait, uint32_t data_wait, uint32_t shift, instruction, data,
              bint unified, bint prefetch):
        """Model the flash from ``lo`` on.  ``instruction`` and ``data`` are (lines, ways) of the caches, 0 lines: none."""
        self.flash_lo, self.flash_size, self.wait, self.data_wait = lo, size, wait, data_wait
        self.prefetch, self.waits = prefetch, True
        self.new_cache(&self.icache, shift, instruction)
        self.new_cache(&self.dcache, shift, data)
        self.data = &self.icache if unified else &self.dcache

    cdef new_cache(self, Cache *c, uint32_t shift, shape):
        lines, ways = shape
        if lines and (lines % ways or lines > 1 << 20):
            raise ValueError("a cache's lines are a multiple of its ways")
        c.shift, c.ways, c.sets = shift, ways if lines else 0, lines // ways if lines else 1
        c.tag = <uint32_t *>calloc(lines + 1, sizeof(uint32_t))
        if c.tag == NULL:
            raise MemoryError

    def attach(self):
        """Install the hook: before the first instruction runs."""
        cdef uc_hook hook
        cdef uint32_t w
        for w in range(self.s.windows):
            check(uc_hook_add(self.uc, &hook, UC_HOOK_CODE, <void *>on_insn, <void *>self, self.s.window[w].lo,
                              <uint64_t>self.s.window[w].lo + 2 * self.s.window[w].halfwords - 1), "hook")
        if self.root == 0xFFFFFFFFu:
            self.active = True

    def finish(self):
        """Close what is still open."""
        while self.depth:
            pop(self)
        settle(self)

    # results ----------------------------------------------------------------------------------------------------------

    @property
    def totals(self):
        """(cycles without stalls, instructions, stalls of fetches, stalls of loads)."""
        return self.cycles, self.instructions, self.fetch_stalls, self.data_stalls

    @property
    def complete(self):
        """(nothing was dropped or unknown, all calls are among the events)."""
        return not self.lost, not self.events_full

    @property
    def stack_fault(self):
        """(pc, sp) of the first instruction below the watched limit, None when there was none."""
        return (self.sp_pc, self.sp_low) if self.sp_pc else None

    @property
    def cache_use(self):
        """(hits, misses) of the instruction cache and of the data cache."""
        return (self.icache.hits, self.icache.misses), (self.dcache.hits, self.dcache.misses)

    def functions(self):
        """(func, calls, inclusive cycles) of each function that was called."""
        return [(i, self.called[i], self.inclusive[i]) for i in range(self.funcs) if self.called[i]]

    def tree(self):
        """Nodes: (parent, func, site, calls, cycles, instructions, stalls); a node's number is its place in the list."""
        return [(n.parent, n.func, n.site, n.calls, n.cycles, n.instructions, n.stalls)
                for n in self.nodes[:self.nodes_n]]

    def call_edges(self):
        """(caller, address of the call, callee, whether a jump, calls, inclusive cycles, inclusive instructions)."""
        return [(e.caller, e.site, e.callee, bool(e.jump), e.calls, e.cycles, e.instructions)
                for e in self.edges[:self.edges_n]]

    def timeline(self):
        """Events (cycle, func, opens), in order."""
        return [(e.cycle, e.func, bool(e.opens)) for e in self.events[:self.events_n]]

    def instructions_seen(self):
        """(address, executions, jumps, cycles, stalls) of each instruction that ran."""
        cdef uint32_t i
        cdef Op *o
        cdef list out = []
        cdef Engine engine = self.keep
        for i in range(self.halfwords):
            o = &self.op_[i]
            if o.count:
                out.append((engine.address_of(i), o.count, o.jumps,
                            <int64_t>o.count * o.cost + <int64_t>o.jumps * o.taken + <int64_t>o.extra, o.stalls))
        return out


include "_watch.pxi"
