"""Looking at real stores again: they tell what changes with the bytes, and nothing is fetched."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.stores.authority import Authority
from tests.stores.source import Source
from tests.supply.step import Ended, fetched
from tests.supply.test_sources import SCHEMES

FILE = "moving.onnx"
FIRST, SECOND = os.urandom(300_000), os.urandom(300_000)


def looked(
    folder: Path, source: Source, authority: Authority, known: dict[str, Any] | None = None
) -> Ended:
    """Look, in a pod of its own."""
    words = [f"--known-{key}={value}" for key, value in (known or {}).items()]
    done = fetched(
        folder,
        source.uri(FILE),
        secret=source.secret(),
        ca=authority.file,
        settings=source.settings(),
        more=["--look", *words],
    )
    assert done.code == 0, done.log
    return done


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_has_not_changed_is_not_fetched_again(
    tmp_path: Path, sources: dict[str, Source], authority: Authority, scheme: str
) -> None:
    source = sources[scheme]
    source.put(FILE, FIRST)
    first = looked(tmp_path / "1", source, authority).message["look"]
    assert first["digest"] == f"sha256:{hashlib.sha256(FIRST).hexdigest()}"
    again = looked(tmp_path / "2", source, authority, first)
    assert again.message["look"] == first
    assert not again.model.exists()


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s != "hf"])  # the double has one commit
def test_what_is_overwritten_is_found(
    tmp_path: Path, sources: dict[str, Source], authority: Authority, scheme: str
) -> None:
    source = sources[scheme]
    source.put(FILE, FIRST)
    first = looked(tmp_path / "1", source, authority).message["look"]
    source.put(FILE, SECOND)
    second = looked(tmp_path / "2", source, authority, first).message["look"]
    assert second["digest"] == f"sha256:{hashlib.sha256(SECOND).hexdigest()}"
    assert second["mark"] != first["mark"]
