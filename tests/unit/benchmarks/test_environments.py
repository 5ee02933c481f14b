"""Everything that is compared runs on the same ONNX Runtime, from locks that are in the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.runtime.environments import ENVIRONMENTS, REQUIREMENTS, ROOT, of_name, size_mb
from benchmarks.runtime.launches import SERVING

LOCKED = re.compile(r"^onnxruntime==(\S+)", re.M)


@pytest.mark.parametrize("name", sorted({server.environment for server in SERVING.values()}))
def test_every_server_has_the_same_onnx_runtime(name: str) -> None:
    (lock,) = ENVIRONMENTS[name].locks
    (ours,) = ENVIRONMENTS["slipway"].locks
    assert LOCKED.findall(lock.read_text()) == LOCKED.findall(ours.read_text()) != []


def test_every_lock_has_its_source() -> None:
    locks = {path.stem for path in REQUIREMENTS.glob("*.txt")}
    assert locks == {path.stem for path in REQUIREMENTS.glob("*.in")}


def test_the_base_is_compared_and_the_image_is_told() -> None:
    locks = {name: ENVIRONMENTS[name].locks for name in ("slipway", "slipway-all")}
    assert locks == {
        "slipway": (ROOT / "requirements" / "runtime-base.txt",),
        "slipway-all": (ROOT / "requirements" / "runtime.txt",),
    }


def test_an_environment_whose_name_begins_alike_is_another(tmp_path: Path) -> None:
    """The older ones are removed: those of the same name."""
    for name in ("slipway-0a1b", "slipway-all-0a1b", "slipway-2c3d"):
        (tmp_path / name).mkdir()
    found = {path.name for path in of_name(tmp_path, "slipway")}
    assert found == {"slipway-0a1b", "slipway-2c3d"}


def test_bytecode_and_links_have_no_size(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_bytes(b"x" * 3_000_000)
    (tmp_path / "module.pyc").write_bytes(b"x" * 5_000_000)
    (tmp_path / "python").symlink_to(tmp_path / "module.py")
    assert size_mb(tmp_path) == 3.0
