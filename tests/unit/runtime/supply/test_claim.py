"""Files of a claim: links lead about in it, never out of it (case C26)."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slipway_runtime.errors import AccessDenied, InvalidConfig, NotFound, SupplyError
from slipway_runtime.supply.claim import fetch_claim
from slipway_runtime.supply.digest import ModelWriter

MODEL = b"model"
SECRET = b"of the fetching container"


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """A mounted claim, and a file beside it that nobody may have."""
    (tmp_path / "secret").write_bytes(SECRET)
    folder = tmp_path / "source"
    (folder / "v1").mkdir(parents=True)
    (folder / "v1" / "model 1.onnx").write_bytes(MODEL)
    return folder


def fetched(claim: Path, uri: str) -> bytes:
    into = claim.parent / "models"
    with ModelWriter(into, max_bytes=2**20) as writer:
        fetch_claim(uri, writer, folder=claim)
        writer.commit(into / "model.onnx")
    return (into / "model.onnx").read_bytes()


def test_a_file_is_copied(claim: Path) -> None:
    assert fetched(claim, "pvc://models/v1/model%201.onnx") == MODEL


@pytest.mark.parametrize("target", ["v1", "./v1", "../source/v1"])
def test_links_inside_the_claim_are_followed(claim: Path, target: str) -> None:
    (claim / "latest").symlink_to(target)
    assert fetched(claim, "pvc://models/latest/model%201.onnx") == MODEL


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda c: (c / "m").symlink_to("../secret"), id="C26 a relative link"),
        pytest.param(lambda c: (c / "m").symlink_to(c.parent / "secret"), id="C26 absolute"),
        pytest.param(lambda c: (c / "m").symlink_to("/proc/self/environ"), id="C26 the process"),
        pytest.param(
            lambda c: ((c / "up").symlink_to(".."), (c / "m").symlink_to("up/secret")),
            id="C26 by two links",
        ),
    ],
)
def test_a_link_that_leads_out_is_refused(claim: Path, make: Callable[[Path], object]) -> None:
    make(claim)
    with pytest.raises(AccessDenied, match="leads out of the claim"):
        fetched(claim, "pvc://models/m")


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("pvc://models/../secret", id="C26 a step up"),
        pytest.param("pvc://models/v1/%2e%2e/%2e%2e/secret", id="C26 a step up in disguise"),
        pytest.param("pvc://models//etc/passwd", id="C26 from the root"),
        pytest.param("pvc://models/%2Fetc/passwd", id="C26 from the root in disguise"),
        pytest.param("pvc://models/a%00b", id="a NUL"),
        pytest.param("pvc://models", id="no path"),
        pytest.param("pvc://Models/m", id="no name of a claim"),
    ],
)
def test_what_is_no_path_in_a_claim_is_refused(claim: Path, uri: str) -> None:
    with pytest.raises(InvalidConfig, match="expected pvc://CLAIM/PATH"):
        fetched(claim, uri)


def test_what_is_not_there_is_told_with_what_is(claim: Path) -> None:
    with pytest.raises(NotFound, match=r"the folder has 'model 1.onnx'"):
        fetched(claim, "pvc://models/v1/other.onnx")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(lambda path: path.mkdir(), "a folder", id="C22 a folder"),
        pytest.param(os.mkfifo, "no regular file", id="a pipe that nobody writes to"),
    ],
)
def test_what_is_no_file_is_refused(
    claim: Path, make: Callable[[Path], object], expected: str
) -> None:
    make(claim / "m")
    with pytest.raises(SupplyError, match=expected):
        fetched(claim, "pvc://models/m")
