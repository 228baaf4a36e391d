"""Which C kernel runs a layer: the tuned ones, what each needs to be exact, and the choice among them.

Every operator has a portable kernel, which its own ``lower`` describes.  A tuned kernel is one class here: it packs the
weights for one kind of core, proves from the actual weights that its packing is exact, and names the C that reads the
packed bytes.  That C always has a portable form, so that the host verifies the bytes that ship.

To add one: write a ``Kernel`` in a module of this package with ``@register``, its C beside the family's portable header
in ``ckernels/``, and import the module below.  ``tests/test_kernels.py`` finds it from here.
"""

from genn.kernels import (  # noqa: F401  (they register themselves)
    block,
    dsp_conv,
    dsp_conv_s16,
    dsp_depthwise,
    dsp_linear,
    float_conv,
    nm,
    unrolled,
    v6m,
)
from genn.kernels.base import GOAL, GOALS, OPTIMIZE, Goal, Kernel, choose, goal_of, kernels, register

__all__ = ["GOAL", "GOALS", "OPTIMIZE", "Goal", "Kernel", "choose", "goal_of", "kernels", "register"]
