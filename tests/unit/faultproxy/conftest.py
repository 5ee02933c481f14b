"""Fixtures: an API server's double and the proxy in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.cluster.faultproxy import FaultProxy
from tests.unit.faultproxy.upstream_double import ApiServer


@pytest.fixture(scope="module")
def running_upstream() -> Iterator[ApiServer]:
    """An API server of a few lines, on loopback; one for all tests, as starting costs."""
    with ApiServer().running() as running:
        yield running


@pytest.fixture(scope="module")
def running_proxy(
    running_upstream: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultProxy]:
    """The proxy, in its own process, in front of the double."""
    folder = tmp_path_factory.mktemp("faultproxy")
    with FaultProxy(running_upstream.write_kubeconfig(folder / "kubeconfig")) as running:
        yield running


@pytest.fixture
def upstream(running_upstream: ApiServer) -> ApiServer:
    """The API server, which has forgotten the test before."""
    running_upstream.objects.clear()
    running_upstream.authorizations.clear()
    return running_upstream


@pytest.fixture
def proxy(running_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The proxy without any fault."""
    yield running_proxy
    running_proxy.clear()


@pytest.fixture
async def session(proxy: FaultProxy) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the proxy, which never waits longer than five seconds for bytes."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=5)
    headers = {"User-Agent": "slipway-operator/1"}
    async with aiohttp.ClientSession(proxy.url, timeout=timeout, headers=headers) as session:
        yield session
