"""The repository as a set of files: what is tracked, or would be with the next commit."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[3]
PACKAGES: Final = (
    REPOSITORY / "operator" / "slipway_operator",
    REPOSITORY / "runtime" / "slipway_runtime",
)


def tracked() -> list[Path]:
    """Return every file that git tracks or does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = sorted(set(listed.split("\0")) - {""})
    return [REPOSITORY / name for name in names if (REPOSITORY / name).is_file()]


def relative(path: Path) -> str:
    """Return a path as it is written in the repository."""
    return path.relative_to(REPOSITORY).as_posix()
