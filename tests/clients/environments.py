"""Environments of the public clients: one each, from a hashed lock, kept outside of the tree.

Two clients that want different versions of one library cannot share an environment, and none of
them may reach into the project's own.
Layout: `$SLIPWAY_CACHE/clients/NAME-KEY/`, where KEY follows the lock and this Python.

Usage: `python -m tests.clients.environments` makes those that are missing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from devcluster.cache import cache_root, content_key, file_lock, folder, keep_newest
from devcluster.commands import Words, run, run_long
from devcluster.progress import say

LOCKS: Final = Path(__file__).resolve().parents[2] / "requirements" / "clients"
CLIENTS: Final = ("tritonclient", "kserve", "ovmsclient", "open-inference", "schemathesis")
DESCRIPTION: Final = "mlserver"
"""The wheel that holds the protocol's OpenAPI description; it is read, and never installed."""
KEPT: Final = 2
"""Environments per client: those of the lock before are there when one goes back."""


def interpreter(client: str) -> Path:
    """Return the Python of a client's environment, which is made when missing."""
    return _made(client, _environment) / "bin" / "python"


def description_wheel() -> Path:
    """Return the wheel with the OpenAPI description, which is downloaded when missing."""
    (wheel,) = _made(DESCRIPTION, _download).glob("*.whl")
    return wheel


def _made(name: str, make: Callable[[Path, Path], None]) -> Path:
    lock = LOCKS / f"{name}.txt"
    key = content_key([lock.read_bytes(), sys.version])
    place = cache_root() / "clients" / f"{name}-{key}"
    whole = place / ".whole"
    with file_lock(f"client-{name}"):
        if not whole.exists():
            shutil.rmtree(place, ignore_errors=True)
            make(lock, place)
            whole.touch()
            keep_newest(folder("clients").glob(f"{name}-*"), KEPT)
    return place


def _environment(lock: Path, place: Path) -> None:
    uv = Path(sys.executable).parent / "uv"
    environment = {**os.environ, "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or _uv_cache()}
    run([uv, "venv", "--quiet", "--python", sys.executable, place], env=environment)
    python = place / "bin" / "python"
    install: Words = [
        *(uv, "pip", "install", "--python", python),
        *("--require-hashes", "--requirements", lock),
    ]
    run_long(f"installing the client {lock.stem}", install, env=environment, timeout_s=900)


def _uv_cache() -> str:
    return str(cache_root() / "uv")


def _download(lock: Path, place: Path) -> None:
    download: Words = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--require-hashes", "--requirement", lock, "--dest", place),
    ]
    run_long(f"downloading the wheel {lock.stem}", download, timeout_s=300)


def main() -> None:
    """Make every environment that is missing."""
    for client in CLIENTS:
        interpreter(client)
    description_wheel()
    say(f"the environments of {len(CLIENTS)} clients are there")


if __name__ == "__main__":
    main()
