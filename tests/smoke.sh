#!/usr/bin/env bash
# Is what is distributed whole?  A wheel in a clean environment, an sdist and an editable install, each used from another
# folder.  Run after `make test`; takes a minute.
#
# Clean means: a new virtual environment without access to this checkout.  To spare the download of torch, gigabytes of
# files that are not ours, the packages that .venv holds are lent to it by a .pth file, all but genn and emu themselves.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || { echo "smoke: no $python; run make test first" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GENN_CACHE="$work/cache" PIP_DISABLE_PIP_VERSION_CHECK=1
say() { echo "smoke: $*"; }

# Lend everything but genn and emu.
lent=$work/lent
mkdir "$lent"
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for item in "$site"/*; do
  case $(basename "$item") in
    genn* | emu* | __editable__* | distutils-precedence.pth | *virtualenv*) ;;
    *) ln -s "$item" "$lent/" ;;
  esac
done

# new_env NAME: a virtual environment at $work/NAME.
new_env() {
  "$python" -m venv --without-pip "$work/$1"
  echo "$lent" >"$("$work/$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/lent.pth"
}

# pip_in NAME ARGS...
pip_in() {
  local env=$1
  shift
  "$work/$env/bin/python" -m pip install --quiet --no-deps --no-build-isolation "$@"
}

# use NAME: the commands, from a folder that is not the checkout.
use() {
  local genn=$work/$1/bin/genn place=$work/use-$1
  mkdir "$place"
  cd "$place"
  "$genn" --version
  "$genn" targets --json targets.json >/dev/null
  "$genn" ops >/dev/null
  "$genn" doctor >doctor.txt 2>&1 || { cat doctor.txt; return 1; }
  "$work/$1/bin/python" - "$root" "$2" <<'PYTHON'
import importlib.util
import sys
from pathlib import Path

import emu
import genn
import genn.paths as paths

root, editable = Path(sys.argv[1]), sys.argv[2] == "editable"
for found in (Path(genn.__file__), Path(emu.__file__), paths.kernels_dir(), paths.firmware_dir(), paths.host_wrapper()):
    assert found.exists(), found
    assert found.is_relative_to(root) == editable, found
for name in ("tests", "bench"):
    assert importlib.util.find_spec(name) is None, f"{name} is installed as a top-level package"
PYTHON
  "$genn" convert mnist-mlp -o out --scheme int8
  "$genn" verify out
  "$genn" emulate out -t cortex-m0plus
  "$genn" footprint out -t cortex-m0plus --json footprint.json
  cd "$work"
}

say "building sdist and wheel"
cd "$work"
"$python" -m build --no-isolation --outdir "$work/dist" "$root" >build.log 2>&1 || { cat build.log; exit 1; }
wheel=$(echo "$work"/dist/*.whl) sdist=$(echo "$work"/dist/*.tar.gz)

if git -C "$root" rev-parse --git-dir >/dev/null 2>&1; then
  say "sdist and wheel hold every tracked file"
  "$python" - "$sdist" "$wheel" <<PYTHON
import subprocess, sys, tarfile, zipfile
tracked = subprocess.run(["git", "-C", "$root", "ls-files"], capture_output=True, text=True, check=True).stdout.split()
sdist = {n.partition("/")[2] for n in tarfile.open(sys.argv[1]).getnames()}
wheel = set(zipfile.ZipFile(sys.argv[2]).namelist())
lost = [n for n in tracked if n not in sdist and n != ".gitignore"]
data = {n: f"genn/_data/{n}" if n.startswith(("ckernels/", "firmware/")) else n for n in tracked}
lost += [n for n, place in data.items() if n.split("/")[0] in ("genn", "emu", "ckernels", "firmware")
         and not n.endswith((".pyx", ".pxi", ".pxd", ".md")) and place not in wheel]
stray = [n for n in wheel if n.split("/")[0] not in ("genn", "emu") and ".dist-info/" not in n]
sys.exit(f"smoke: not distributed: {lost}; stray: {stray}" if lost or stray else 0)
PYTHON
fi

say "wheel, in a clean environment"
new_env wheel
pip_in wheel "$wheel"
use wheel wheel

say "sdist, in a clean environment"
new_env sdist
pip_in sdist "$sdist"
use sdist sdist

say "editable"
new_env editable
mkdir "$work/unpacked"
tar -xzf "$sdist" -C "$work/unpacked" --strip-components=1
root=$work/unpacked
pip_in editable -e "$root"
use editable editable
say "wheel, sdist and editable install work"
