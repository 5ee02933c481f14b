"""Servers that all clients talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.running import MODELS, Servers, served


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Every model on a server of its own."""
    with served(tmp_path_factory.mktemp("clients"), *MODELS) as running:
        yield running
