"""Several layers that run row by row: one step to the planner, whose parts are lowered one by one."""

from __future__ import annotations

from genn.ops.base import Op, Shape, register


@register
class Stream(Op):
    """A region of ``genn.streaming`` as the planner sees it: from the first layer's input to the last one's output."""

    name, family = "stream", "stream"
    header = "genn_stream.h"
    doc = "layers that run row by row through line buffers (-O ram); made by the converter"
    traced = False

    def shape(self, attrs, *shapes: Shape) -> list[Shape]:
        raise NotImplementedError("a region is planned, never built")
