# cython: boundscheck=False, wraparound=False, cdivision=True
"""First fit in native code: the inner loop of genn.memory.offsets, run for every order that is tried."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t

cdef struct Meet:           # an item that lives at the same time, and the starts it forbids: an open interval around its own
    Py_ssize_t other
    int64_t below, above
    bint exact              # its own start is free


cdef class Fitter:
    """Places items one after another.

    sizes, aligns: of each item, in bytes.  meets: for each item the others it meets, as (other, below, above, exact):
    starts between that one's start - ``below`` and its start + ``above`` are taken, but for its start if ``exact``.
    """

    cdef Py_ssize_t n
    cdef int64_t *size
    cdef int64_t *align
    cdef int64_t *at            # start, or -1: not placed
    cdef Py_ssize_t *first      # of an item's meets
    cdef Meet *meet

    def __cinit__(self, sizes, aligns, meets):
        cdef Py_ssize_t i, k = 0, total = sum(len(m) for m in meets)
        self.n = len(sizes)
        self.size = <int64_t *>PyMem_Malloc((self.n + 1) * sizeof(int64_t))
        self.align = <int64_t *>PyMem_Malloc((self.n + 1) * sizeof(int64_t))
        self.at = <int64_t *>PyMem_Malloc((self.n + 1) * sizeof(int64_t))
        self.first = <Py_ssize_t *>PyMem_Malloc((self.n + 1) * sizeof(Py_ssize_t))
        self.meet = <Meet *>PyMem_Malloc((total + 1) * sizeof(Meet))
        if not (self.size and self.align and self.at and self.first and self.meet):
            raise MemoryError
        for i in range(self.n):
            self.size[i], self.align[i], self.first[i] = sizes[i], aligns[i], k
            for other, below, above, exact in meets[i]:
                self.meet[k] = Meet(other, below, above, exact)
                k += 1
        self.first[self.n] = k

    def __dealloc__(self):
        PyMem_Free(self.size)
        PyMem_Free(self.align)
        PyMem_Free(self.at)
        PyMem_Free(self.first)
        PyMem_Free(self.meet)

    cdef int64_t lowest(self, Py_ssize_t i) noexcept:
        """The lowest free start of item ``i``."""
        cdef int64_t start = 0, low, high, align = self.align[i]
        cdef bint moved = True
        cdef Meet *m
        while moved:
            moved = False
            for k in range(self.first[i], self.first[i + 1]):
                m = &self.meet[k]
                if self.at[m.other] < 0:
                    continue
                low, high = self.at[m.other] - m.below, self.at[m.other] + m.above
                if low < start < high and not (m.exact and start == self.at[m.other]):
                    if m.exact and start < self.at[m.other]:
                        high = self.at[m.other]
                    start = (high + align - 1) // align * align
                    moved = True
        return start

    cdef int64_t highest(self, Py_ssize_t i, int64_t top) noexcept:
        """The highest free start of item ``i`` with which it ends at ``top`` or below; negative if there is none."""
        cdef int64_t low, high, align = self.align[i]
        cdef int64_t start = top - self.size[i]
        cdef bint moved = True
        cdef Meet *m
        start = start // align * align if start >= 0 else -1
        while moved and start >= 0:
            moved = False
            for k in range(self.first[i], self.first[i + 1]):
                m = &self.meet[k]
                if self.at[m.other] < 0:
                    continue
                low, high = self.at[m.other] - m.below, self.at[m.other] + m.above
                if low < start < high and not (m.exact and start == self.at[m.other]):
                    if m.exact and start > self.at[m.other]:
                        low = self.at[m.other]
                    if low < 0:
                        return -1
                    start = low // align * align
                    moved = True
        return start

    def place(self, order, high, top, int64_t limit):
        """Items in ``order``, those in ``high`` from ``top`` down as long as there is room, the others from 0 up.

        Returns places, arena, and by how many bytes all items together reach beyond ``top``; stops where that exceeds
        ``limit``.
        """
        cdef int64_t ceiling = -1 if top is None else top, arena = 0, beyond = 0, start, end
        cdef Py_ssize_t i
        for i in range(self.n):
            self.at[i] = -1
        for i in order:
            start = self.highest(i, ceiling) if ceiling >= 0 and high[i] else -1
            if start < 0:
                start = self.lowest(i)
            self.at[i] = start
            end = start + self.size[i]
            if end > arena:
                arena = end
            if 0 <= ceiling < end:
                beyond += end - ceiling
                if beyond > limit:
                    break
        return [self.at[i] for i in range(self.n)], arena, beyond
