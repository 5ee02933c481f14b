"""Fixtures of the tests on a real cluster: real pods, real images, the chart as users install it.

The cluster, the images, the registry and the operator belong to the session; every namespace
enforces the `restricted` Pod Security Standard, so each pod of every test proves that it meets it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from devcluster import images as builder
from devcluster.cluster import Cluster
from tests.e2e.audit import Audit
from tests.e2e.files import Digits, digit_models
from tests.e2e.installation import Installation
from tests.e2e.models import Models, namespace_with_models
from tests.e2e.registry import Registry
from tests.kubeapi import Api

NAME: Final = os.environ.get("SLIPWAY_TEST_CLUSTER", "test")
_LAST: Final = "test_rights.py"
_TIMEOUT_S: Final = 300
"""Of the first test, too, which waits for the images to be built and loaded."""

Place = Callable[[], AbstractContextManager[Models]]
"""Makes a namespace that ends with its block."""


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The tests' own Kubernetes, brought up once per run and left to the runner."""
    found = Cluster(NAME)
    found.up(metrics_server=False)
    return found


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> dict[str, str]:
    """Both images of this checkout, built and on the node."""
    built = {half: builder.build(half) for half in builder.HALVES}
    for reference in built.values():
        cluster.load_image(reference)
    return built


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[Api]:
    """The API server."""
    client = Api(cluster.kubeconfig)
    yield client
    client.http.close()


@pytest.fixture(scope="session")
def registry(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An OCI registry on this machine, at an address that pods reach."""
    with Registry(cluster.host_ip, tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def audit(cluster: Cluster) -> Audit:
    """What the API server was asked since the session began."""
    return Audit(cluster.audit)


@pytest.fixture(scope="session")
def installation(
    cluster: Cluster, api: Api, audit: Audit, images: dict[str, str], registry: Registry
) -> Iterator[Installation]:
    """The chart, installed into `slipway-system` with real images; removed at the end."""
    installed = Installation(cluster.kubeconfig, api, images, registry.address)
    installed.upgrade()
    yield installed
    installed.uninstall()


@pytest.fixture(scope="session")
def digits() -> Digits:
    """Two versions of a classifier, trained here, and digits that neither has seen."""
    return digit_models()


@pytest.fixture(scope="session")
def place(cluster: Cluster, api: Api, installation: Installation) -> Place:
    """Make a namespace with ModelDeployments, for a fixture of any scope."""
    return partial(namespace_with_models, api, cluster.kubeconfig)


@pytest.fixture
def models(place: Place) -> Iterator[Models]:
    """ModelDeployments in a namespace of the test's own."""
    with place() as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the cluster; what judges the whole session comes last."""
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(_TIMEOUT_S))
    items.sort(key=lambda item: item in mine and item.path.name == _LAST)
