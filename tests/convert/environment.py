"""The environment of the converter: one of its own, from its lock, kept outside of the tree.

Layout: `$SLIPWAY_CACHE/convert/venv-KEY` and `models-KEY`; KEY follows the lock, this checkout
and the programs that train. Making both takes minutes, once.
Usage: `python -m tests.convert.environment` makes what is missing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from devcluster.cache import content_key, file_lock, folder, keep_newest, repository_root
from devcluster.commands import Words, run, run_long, succeeds
from devcluster.progress import say

ROOT: Final = repository_root()
LOCK: Final = ROOT / "requirements" / "converter.txt"
PROGRAMS: Final = Path(__file__).resolve().parent / "programs"
DEBIAN_PYTHON: Final = Path("/usr/bin/python3")
"""The interpreter that Debian's PyTorch belongs to."""
_KEPT: Final = 2


def environment() -> Path:
    """Return the folder of the environment, which is made when missing."""
    key = content_key([LOCK.read_bytes(), sys.version, str(ROOT)])
    return _made("venv", key, _install)


def trained_models() -> Path:
    """Return the folder of the trained models, which are trained when missing."""
    programs = sorted(PROGRAMS.glob("train*.py"))
    key = content_key([LOCK.read_bytes(), *(path.read_bytes() for path in programs)])
    return _made("models", key, _train)


def _made(name: str, key: str, make: Callable[[Path], None]) -> Path:
    place = folder("convert") / f"{name}-{key}"
    whole = place / ".whole"
    with file_lock(f"convert-{name}"):
        if not whole.exists():
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            whole.touch()
            keep_newest(folder("convert").glob(f"{name}-*"), _KEPT)
    return place


def _install(place: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    cache = os.environ.get("UV_CACHE_DIR") or str(folder("uv"))
    variables = {**os.environ, "UV_CACHE_DIR": cache}
    run([uv, "venv", "--quiet", "--python", sys.executable, place], env=variables)
    install: Words = [uv, "pip", "install", "--python", place / "bin" / "python"]
    locked: Words = [*install, "--require-hashes", "--requirements", LOCK]
    run_long("installing the converter's environment", locked, env=variables, timeout_s=1800)
    build = ROOT / "requirements" / "build.txt"
    own: Words = [*install, "--no-deps", "--build-constraints", build, "--editable", ROOT]
    run_long("installing this checkout into it", own, env=variables, timeout_s=300)


def _train(place: Path) -> None:
    place.mkdir(parents=True)
    python = environment() / "bin" / "python"
    run_long("training the models", [python, PROGRAMS / "train.py", place], timeout_s=1800)
    _install_torch()
    torch: Words = [DEBIAN_PYTHON, PROGRAMS / "train_torch.py", place]
    run_long("training the model of PyTorch", torch, timeout_s=600)


def _install_torch() -> None:
    if not succeeds([DEBIAN_PYTHON, "-c", "import torch"]):
        command: Words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        run_long("installing PyTorch", [*command, "python3-torch"], timeout_s=900)


def main() -> None:
    """Make both."""
    say(f"environment: {environment()}")
    say(f"models: {trained_models()}")


if __name__ == "__main__":
    main()
