"""The operators: one class each; importing this package fills the registry."""

from genn.ops.base import aten_table, registry

from genn.ops import conv, dense  # noqa: F401  isort: skip
from genn.ops import activation, softmax  # noqa: F401  isort: skip
from genn.ops import elementwise, move, pool  # noqa: F401  isort: skip

__all__ = ["aten_table", "registry"]
