"""Shared fixtures.

A test that needs a program names it with ``need_tool``: without the program it is skipped with the reason, and where
the environment says ``CI`` it fails, because a test that never ran proves nothing there.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# Threads that wait for each other take ten times as long where tests already run side by side; also in child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def in_ci() -> bool:
    """True where a missing tool must fail a test: the variable CI is set to anything but 0, false or nothing."""
    return os.environ.get("CI", "").strip().lower() not in {"", "0", "false", "no"}


def missing(what: str) -> None:
    """Skip the running test because ``what`` is missing; fail it in CI.  For what ``need_tool`` cannot look up."""
    if in_ci():
        pytest.fail(f"{what} is missing, and in CI no test may be skipped for that", pytrace=False)
    pytest.skip(f"{what} is missing")


def _need_tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        missing(name)
    assert path is not None
    return path


@pytest.fixture(scope="session")
def need_tool() -> Callable[[str], str]:
    """``need_tool("arm-none-eabi-gcc")`` returns its path; without it the test is skipped, and fails in CI."""
    return _need_tool


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Ctrl-C works in tests of it even where pytest runs in the background of a script, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Builds of one test run share a cache that ends with the run, unless GENN_CACHE names one."""
    if "GENN_CACHE" not in os.environ:
        base = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            base = base.parent
        os.environ["GENN_CACHE"] = str(base / "cache")


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The folder of the checkout."""
    return Path(__file__).resolve().parent.parent
