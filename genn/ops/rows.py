"""How an operator reads rows, so that layers can take turns row by row: which input rows one output row needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The input rows of output row r: [r * stride - pad, r * stride - pad + reach), where they exist.

    inputs: which of the node's inputs are read so; all others are read whole for every row.  gaps: a window may hold no
    row at all; the layer then reads none.
    """

    stride: int
    pad: int
    reach: int
    rows_in: int
    rows_out: int
    inputs: tuple[int, ...] = (0,)
    gaps: bool = False

    @staticmethod
    def plain(rows: int, inputs: tuple[int, ...] = (0,)) -> Window:
        """Each row of the inputs becomes a row of the output."""
        return Window(1, 0, 1, rows, rows, inputs)

    def first(self, r: int) -> int:
        return max(0, r * self.stride - self.pad)

    def end(self, r: int) -> int:
        return min(self.rows_in, r * self.stride - self.pad + self.reach)

    @property
    def padded(self) -> bool:
        """True if some row's window reaches beyond the input."""
        return self.pad > 0 or self.below > 0

    @property
    def below(self) -> int:
        """Rows by which the last window reaches beyond the input."""
        return max(0, (self.rows_out - 1) * self.stride - self.pad + self.reach - self.rows_in)

    @property
    def alone(self) -> int:
        """Input rows of an image of which all padding makes one output row; below 1 if padding alone fills a window."""
        return 1 if self.gaps else self.reach - max(0, self.pad) - self.below

    @property
    def usable(self) -> bool:
        """True if every window holds a row that exists, where it must."""
        return self.alone >= 1 and (self.gaps or all(self.end(r) > self.first(r) for r in range(self.rows_out)))
