"""The part of the build that pyproject.toml cannot say: Cython modules, and the data folders beside the packages.

``emu._core``   compiled against the headers and library of the installed unicorn wheel.  No rpath: under build
                isolation it would name a deleted folder.  ``emu/__init__.py`` imports unicorn first, which loads the
                library under its soname, and the dynamic linker finds it there.
``genn.memory._fit``  first fit for the planner: plain C.
``genn._host``  only translated to C here.  Each network compiles that C together with its own, so that no model ever
                waits for Cython; ``genn.paths.host_wrapper()`` finds it.

``ckernels/`` and ``firmware/`` are copied to ``genn/_data/`` in a wheel.  An editable install keeps none of these
copies: ``genn.paths`` looks at ``genn/_data`` first and at the checkout's folders second.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
DATA_FOLDERS = ("ckernels", "firmware")
CORE, HOST, FIT = Path("emu/_core.pyx"), Path("genn/_host.pyx"), Path("genn/memory/_fit.pyx")


def data_files() -> list[tuple[Path, Path]]:
    """(file in the checkout, its place below genn/_data), for every file of the data folders."""
    found = (p for folder in DATA_FOLDERS for p in sorted((ROOT / folder).rglob("*")))
    return [(p, p.relative_to(ROOT)) for p in found if p.is_file() and not p.name.startswith(".")]


class BuildPy(build_py):
    """build_py that also puts the data folders under genn/_data of a wheel."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, place in data_files():
                target = Path(self.build_lib, "genn", "_data", place)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        extra = [] if self.editable_mode else [str(Path(self.build_lib, "genn", "_data", p)) for _, p in data_files()]
        return [*super().get_outputs(include_bytecode), *extra]


class BuildExt(build_ext):
    """build_ext that translates with Cython when a build is asked for, and not on sdist or metadata."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if not self.distribution.ext_modules:
            return
        import numpy
        import unicorn
        from Cython.Build import cythonize

        package = Path(unicorn.__file__).parent
        libraries = sorted(p for p in (package / "lib").iterdir() if ".so" in p.suffixes or p.suffix == ".dylib")
        if not libraries:
            raise SystemExit(f"setup.py: no shared library in {package / 'lib'}; install the wheel of unicorn 2.1.4")
        for ext in self.distribution.ext_modules:
            if ext.name == "emu._core":
                ext.include_dirs += ["emu", str(package / "include"), numpy.get_include()]
                ext.extra_objects += [str(libraries[0])]
        self.extensions = cythonize(self.distribution.ext_modules, language_level=3, build_dir=self.build_temp)
        for ext in self.extensions:
            ext._needs_stub = False

    @property
    def wrapper(self) -> Path:
        """Where the translated genn._host goes."""
        return ROOT / "genn/_host.c" if self.inplace else Path(self.build_lib, "genn/_data/_host.c")

    def run(self) -> None:
        super().run()
        if HOST.is_file():
            from Cython.Compiler.Main import CompilationOptions, compile_single
            from Cython.Compiler.Options import default_options

            self.wrapper.parent.mkdir(parents=True, exist_ok=True)
            options = CompilationOptions({**default_options, "language_level": 3}, output_file=str(self.wrapper))
            if compile_single(str(HOST), options, "genn._host").num_errors:
                raise SystemExit("setup.py: Cython could not translate genn/_host.pyx")

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), *([str(self.wrapper)] if HOST.is_file() and not self.inplace else [])]


def extensions() -> list[Any]:
    """The modules compiled at installation."""
    if not CORE.is_file():
        return []
    depends = [str(p) for p in sorted(Path("emu").iterdir()) if p.suffix in {".h", ".pxd", ".pxi"}]
    return [
        Extension(
            "emu._core",
            [str(CORE)],
            depends=depends,
            extra_compile_args=["-O2", "-falign-functions=64"],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        ),
        Extension("genn.memory._fit", [str(FIT)], extra_compile_args=["-O2"]),
    ]


setup(ext_modules=extensions(), cmdclass={"build_py": BuildPy, "build_ext": BuildExt})
