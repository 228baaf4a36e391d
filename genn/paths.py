"""Where the folders that travel with the code lie, in a wheel, an editable install and a checkout alike.

A wheel carries ``ckernels/``, ``firmware/`` and the translated host wrapper in ``genn/_data/``; an editable install and
a checkout have them beside the package.  This module is the only one that knows.
"""

from __future__ import annotations

import os
from pathlib import Path

from genn.errors import ToolchainError

_PACKAGE = Path(__file__).resolve().parent


def _find(installed: str, checkout: Path, what: str) -> Path:
    for place in (_PACKAGE / "_data" / installed, checkout):
        if place.exists():
            return place
    raise ToolchainError(f"the installation of genn lacks its {what}", fix="install genn-mcu again")


def kernels_dir() -> Path:
    """The folder of the C kernels (``genn_*.h``)."""
    return _find("ckernels", _PACKAGE.parent / "ckernels", "C kernels")


def firmware_dir() -> Path:
    """The folder of the firmware: startup code, linker script template, main and ports."""
    return _find("firmware", _PACKAGE.parent / "firmware", "firmware sources")


def host_wrapper() -> Path:
    """The C file that Cython made of ``genn/_host.pyx`` when genn was installed."""
    return _find("_host.c", _PACKAGE / "_host.c", "translated host wrapper")


def targets_dir() -> Path:
    """The folder of the target descriptions that come with genn."""
    return _PACKAGE / "targets"


def cache_dir() -> Path:
    """Where builds are cached: ``$GENN_CACHE``, else ``$XDG_CACHE_HOME/genn``, else ``~/.cache/genn``.  Not created."""
    own = os.environ.get("GENN_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "genn"
