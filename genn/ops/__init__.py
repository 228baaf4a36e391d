"""The operators: one class each; importing this package fills the registry."""

from genn.ops import (
    activation,
    conv,
    dense,
    elementwise,
    mean,
    mfcc,
    move,
    pad,
    parts,
    pool,
    smooth,
    softmax,
    stream,
    transposed,
    upsample,
)
from genn.ops.base import aten_table, registry

FAMILIES = (
    *(activation, conv, dense, elementwise, mean, mfcc, move),
    *(pad, parts, pool, smooth, softmax, stream, transposed, upsample),
)

__all__ = ["FAMILIES", "aten_table", "registry"]
