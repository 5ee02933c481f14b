"""The real stores of this folder's tests: started once, each with a certificate nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.stores.authority import Authority
from tests.stores.gcs import gcs
from tests.stores.hub_double import HubDouble, hub_double
from tests.stores.minio import Minio, minio
from tests.stores.oci import registry
from tests.stores.source import Source
from tests.stores.web import web

HOST: Final = "127.0.0.2"
"""Of this machine, and none that registries are spoken to in plain HTTP at."""
OTHER_HOST: Final = "127.0.0.3"
_TIMEOUT_S: Final = 900
"""Of the first test, which may have to wait for MinIO to be built."""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs what the stores show."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Minio]:
    """MinIO."""
    with minio(HOST, tmp_path_factory.mktemp("minio"), authority) as running:
        yield running


@pytest.fixture(scope="session")
def hub(authority: Authority) -> Iterator[HubDouble]:
    """The double of a hub, and the second host to which it sends its clients."""
    shown, other = authority.certificate(HOST), authority.certificate(OTHER_HOST)
    with hub_double(HOST, shown, OTHER_HOST, other) as running:
        yield running


@pytest.fixture(scope="session")
def sources(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, s3: Minio, hub: HubDouble
) -> Iterator[dict[str, Source]]:
    """Every store by its scheme."""
    with ExitStack() as running:
        yield {
            "s3": s3,
            "https": running.enter_context(web(HOST, authority.certificate(HOST))),
            "oci": running.enter_context(
                registry(HOST, tmp_path_factory.mktemp("registry"), authority)
            ),
            "gs": running.enter_context(gcs(HOST, tmp_path_factory.mktemp("gcs"), authority)),
            "hf": hub,
        }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stores take their time to start."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_TIMEOUT_S))
