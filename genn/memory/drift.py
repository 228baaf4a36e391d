"""A lower bound for chains of overlaps, which drift: what no order of any two stretches leaves room for is refuted.

In an arena of so many bytes each stretch has a lowest and a highest start.  Where two that meet have only one way left
to lie beside each other, it moves those starts, which may leave other pairs one way only, and so on; a pair with no way
left refutes the arena.  The sum of the distances along a chain of overlaps comes out of this by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

MOST = 40  # times that an item is looked at, on average: what is not refuted by then counts as possible
Meets = Sequence[Sequence[tuple[int, int, int, bool]]]  # of each item, as in ``offsets.Conflicts``


def bound(sizes: Sequence[int], aligns: Sequence[int], meets: Meets, low: int, high: int) -> int:
    """The smallest arena from ``low`` to ``high`` bytes that is not refuted; ``high`` is known to be enough."""
    if low >= high or not refuted(sizes, aligns, meets, low):
        return low
    while high - low > 1:  # an arena of low bytes is refuted, one of high bytes is not
        middle = (low + high) // 2
        if refuted(sizes, aligns, meets, middle):
            low = middle
        else:
            high = middle
    return high


def refuted(sizes: Sequence[int], aligns: Sequence[int], meets: Meets, arena: int) -> bool:
    """True if the items certainly do not fit into ``arena`` bytes."""
    n = len(sizes)
    low, high = [0] * n, [(arena - size) // align * align for size, align in zip(sizes, aligns, strict=True)]
    if min(high, default=0) < 0:
        return True
    waiting, queued = deque(range(n)), [True] * n

    def narrow(i: int, start: int, end: int) -> bool:
        """Item ``i`` starts in ``start`` to ``end``; False if that leaves it no start."""
        start, end = -(-start // aligns[i]) * aligns[i], end // aligns[i] * aligns[i]
        if start > low[i] or end < high[i]:
            low[i], high[i] = max(low[i], start), min(high[i], end)
            if not queued[i]:
                queued[i] = True
                waiting.append(i)
        return low[i] <= high[i]

    for _ in range(MOST * n):
        if not waiting:
            return False
        i = waiting.popleft()
        queued[i] = False
        for j, below, above, exact in meets[i]:
            under, over = low[i] + below <= high[j], low[j] + above <= high[i]
            same = exact and max(low[i], low[j]) <= min(high[i], high[j])
            if under + over + same > 1:
                continue
            if under:
                fits = narrow(j, low[i] + below, high[j]) and narrow(i, low[i], high[j] - below)
            elif over:
                fits = narrow(i, low[j] + above, high[i]) and narrow(j, low[j], high[i] - above)
            else:
                fits = same and narrow(i, low[j], high[j]) and narrow(j, low[i], high[i])
            if not fits:
                return True
    return False
