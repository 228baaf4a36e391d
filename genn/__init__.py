"""GENN: from PyTorch to C for microcontrollers, the same bytes on the host, in the emulator and on the device.

``import genn`` stays light: what needs torch is imported when it is first used.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_LAZY = {"convert": "genn.api", "Model": "genn.api", "prune": "genn.pruning"}
__all__ = ["Model", "__version__", "convert", "prune"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
