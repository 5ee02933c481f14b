"""What several tests of the runtime stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runtime import models
from tests.unit.runtime.store import StoreDouble, store


@pytest.fixture(scope="session")
def affine_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.saved(models.affine(), tmp_path_factory.mktemp("affine") / "affine.onnx")


@pytest.fixture
def store_double() -> Iterator[StoreDouble]:
    with store() as double:
        yield double


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doubles are on loopback; a proxy of this machine has no part in it."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
