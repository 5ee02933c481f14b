"""Writing and hashing a model: whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from slipway_runtime.errors import DigestMismatch, DiskFull, Unavailable, Unsupported
from slipway_runtime.supply.digest import ModelWriter, check_digest, file_digest, looks_like


def test_a_model_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "in" / "model.onnx"
    with ModelWriter(target.parent, max_bytes=100) as writer:
        writer.write(b"abc")
        writer.write(b"def")
        assert not target.exists()
        writer.commit(target)
    assert target.read_bytes() == b"abcdef"
    assert writer.digest == f"sha256:{hashlib.sha256(b'abcdef').hexdigest()}" == file_digest(target)
    assert list(target.parent.iterdir()) == [target]


def test_what_was_not_committed_is_removed(tmp_path: Path) -> None:
    with ModelWriter(tmp_path, max_bytes=100) as writer:
        writer.write(b"half a mod")
    assert list(tmp_path.iterdir()) == []


def test_a_restart_forgets(tmp_path: Path) -> None:
    with ModelWriter(tmp_path, max_bytes=5) as writer:
        writer.write(b"old")
        writer.restart()
        writer.write(b"new")
        writer.commit(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == b"new"


def test_a_model_over_the_limit_is_refused(tmp_path: Path) -> None:
    with ModelWriter(tmp_path, max_bytes=5) as writer:
        writer.write(b"12345")
        with pytest.raises(Unsupported, match="raise SLIPWAY_RUNTIME_MAX_MODEL_BYTES"):
            writer.write(b"6")


def test_a_folder_that_cannot_be_written_may_pass(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="cannot be written"):
        ModelWriter(tmp_path / "file", max_bytes=5)


def test_a_full_disk_may_pass(tmp_path: Path) -> None:
    (tmp_path / ".model.partial").symlink_to("/dev/full")
    with (
        ModelWriter(tmp_path, max_bytes=2**20) as writer,
        pytest.raises(DiskFull, match="no space left"),
    ):
        writer.write(bytes(2**20))


def test_no_promise_is_no_mismatch() -> None:
    check_digest("model.digest", "sha256:a", None)


def test_a_mismatch_says_when_the_file_is_a_web_page() -> None:
    with pytest.raises(
        DigestMismatch, match="got sha256:a, expected sha256:b; it looks like an HTML"
    ):
        check_digest("model.digest", "sha256:a", "sha256:b", b"\n <html>")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer", id="LFS"),
        pytest.param(b'{"message": "no"}', "a JSON document", id="JSON"),
        pytest.param(b"\x80\x04\x95", "a Python pickle", id="pickle"),
        pytest.param(b"PK\x03\x04", "a ZIP archive", id="zip"),
        pytest.param(b"\x08\x08\x12\x07skl2onnx", None, id="ONNX"),
    ],
)
def test_wrong_files_are_recognised(head: bytes, expected: str | None) -> None:
    found = looks_like(head)
    assert found is None if expected is None else str(found).startswith(expected)
