"""The client against a real HTTP server on loopback: what it sends, what it makes of answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.client import Configuration

from slipway_operator.kube.client import KubeClient, TokenBucket
from slipway_operator.kube.connection import Connection
from slipway_operator.kube.errors import Conflict, Throttled, Unavailable
from slipway_operator.kube.kinds import DEPLOYMENT, EVENT, LEASE, MODEL_DEPLOYMENT, POD
from tests.builders import mdep

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
DEPLOYED: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d", "namespace": "t1", "uid": "u", "resourceVersion": "7"},
}


class Server:
    """Remembers requests; `answer` says what is answered."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.raw: list[bytes] = []
        self.answers: list[web.Response] = []
        self.never = asyncio.Event()
        self.hangs = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.raw.append(body)
        self.requests.append(
            (
                request.method, request.path, dict(request.query),
                request.headers.get("Content-Type", ""), json.loads(body) if body else None,
            )
        )  # fmt: skip
        if self.hangs:
            await self.never.wait()
        if self.answers:
            return self.answers.pop(0)
        return web.json_response({"metadata": {"name": "d"}})


class Bucket:
    """Counts turns."""

    def __init__(self) -> None:
        self.taken = 0
        self.patient: list[bool] = []
        self.pauses: list[float] = []

    async def take(self, *, patient: bool = False) -> None:
        self.taken += 1
        self.patient.append(patient)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    found.never.set()
    await runner.cleanup()


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def observed() -> list[tuple[str, str, int]]:
    return []


def _connection(url: str) -> Connection:
    return Connection(Configuration(host=url))


@pytest.fixture
async def client(
    server: Server, bucket: Bucket, observed: list[tuple[str, str, int]]
) -> AsyncIterator[KubeClient]:
    kube = KubeClient(
        _connection(server.url), bucket, observe=lambda *seen: observed.append(seen), timeout_s=0.5
    )
    yield kube
    await kube.close()


APPLY = {"fieldManager": "slipway-operator", "force": "true", "fieldValidation": "Strict"}
PATH = "/apis/apps/v1/namespaces/t1/deployments"


async def test_apply_is_a_strict_forced_server_side_apply(
    client: KubeClient, server: Server
) -> None:
    await client.apply(DEPLOYED)
    assert server.requests == [
        ("PATCH", f"{PATH}/d", APPLY, "application/apply-patch+yaml; charset=utf-8", DEPLOYED)
    ]


async def test_apply_status_goes_to_the_subresource(client: KubeClient, server: Server) -> None:
    await client.apply_status(mdep())
    path = "/apis/slipway.dev/v1alpha1/namespaces/t1/modeldeployments/digits/status"
    assert server.requests == [
        ("PATCH", path, APPLY, "application/apply-patch+yaml; charset=utf-8", mdep())
    ]


async def test_delete_names_exactly_what_was_seen(client: KubeClient, server: Server) -> None:
    await client.delete(DEPLOYED)
    body = {
        "preconditions": {"uid": "u", "resourceVersion": "7"},
        "propagationPolicy": "Background",
    }
    assert server.requests == [("DELETE", f"{PATH}/d", {}, "application/json", body)]


async def test_create_replace_and_merge(client: KubeClient, server: Server) -> None:
    await client.create(DEPLOYED)
    await client.replace(DEPLOYED)
    await client.merge(DEPLOYED)
    assert [(m, p, t) for m, p, _, t, _ in server.requests] == [
        ("POST", PATH, "application/json"),
        ("PUT", f"{PATH}/d", "application/json"),
        ("PATCH", f"{PATH}/d", "application/merge-patch+json"),
    ]


async def test_writes_wait_for_the_bucket_and_reads_and_leases_do_not(
    client: KubeClient, bucket: Bucket
) -> None:
    await client.get(POD, "t1", "p")
    await client.create({**DEPLOYED, "kind": LEASE.kind})
    assert bucket.taken == 0
    await client.apply(DEPLOYED)
    assert bucket.taken == 1


def _page(names: list[str], token: str | None) -> web.Response:
    items = [{"metadata": {"name": n}} for n in names]
    return web.json_response(
        {"metadata": {"resourceVersion": "42", "continue": token}, "items": items}
    )


async def test_a_list_is_read_page_by_page(client: KubeClient, server: Server) -> None:
    server.answers = [_page(["a", "b"], "next"), _page(["c"], None)]
    listing = await client.list_all(DEPLOYMENT)
    assert [i["metadata"]["name"] for i in listing.items] == ["a", "b", "c"]
    assert listing.resource_version == "42"
    selector = "app.kubernetes.io/managed-by=slipway"
    assert [q for _, _, q, _, _ in server.requests] == [
        {"limit": "200", "labelSelector": selector},
        {"limit": "200", "labelSelector": selector, "continue": "next"},
    ]


@pytest.mark.parametrize(
    ("kind", "namespace", "expected"),
    [
        pytest.param(
            EVENT, None,
            ("/api/v1/events",
             {"limit": "200",
              "fieldSelector": "involvedObject.kind=Pod,reason=FailedMount"}),
            id="by field",
        ),
        pytest.param(
            MODEL_DEPLOYMENT, "t1",
            ("/apis/slipway.dev/v1alpha1/namespaces/t1/modeldeployments", {"limit": "200"}),
            id="all of a namespace",
        ),
    ],
)  # fmt: skip
async def test_a_list_asks_only_for_what_is_needed(
    client: KubeClient, server: Server, kind: Any, namespace: str | None, expected: Any
) -> None:
    server.answers = [_page([], None)]
    await client.list_all(kind, namespace)
    assert server.requests[0][1:3] == expected


async def test_a_server_that_hangs_is_unavailable(
    client: KubeClient, server: Server, observed: list[tuple[str, str, int]]
) -> None:
    server.hangs = True
    with pytest.raises(Unavailable) as refused:
        await client.get(POD, "t1", "p")
    assert (refused.value.status, refused.value.reason) == (0, "NoAnswer")
    assert observed == [("GET", "Pod", 0)]


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    client = KubeClient(_connection("http://127.0.0.1:1"), Bucket(), timeout_s=0.5)
    try:
        with pytest.raises(Unavailable, match="/api/v1/namespaces/t1/pods/p"):
            await client.get(POD, "t1", "p")
    finally:
        await client.close()


@pytest.mark.parametrize("body", ["<html>login</html>", "", "[]", "null"])
async def test_an_answer_that_is_no_object_is_unavailable(
    client: KubeClient, server: Server, body: str
) -> None:
    server.answers = [web.Response(text=body)]
    with pytest.raises(Unavailable, match="the answer is not"):
        await client.get(POD, "t1", "p")


async def test_a_pause_is_told(client: KubeClient, server: Server) -> None:
    server.answers = [web.json_response({}, status=429, headers={"Retry-After": "5"})]
    with pytest.raises(Throttled) as refused:
        await client.apply(DEPLOYED)
    assert refused.value.retry_after_s == 5.0


async def test_a_refusal_is_told_with_its_reason(
    client: KubeClient, server: Server, observed: list[tuple[str, str, int]]
) -> None:
    body = {"reason": "Conflict", "message": "modified"}
    server.answers = [web.json_response(body, status=409)]
    with pytest.raises(Conflict, match="409 Conflict: modified"):
        await client.apply(DEPLOYED)
    assert observed == [("PATCH", "Deployment", 409)]


async def test_the_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(rate_per_s=100, burst=5)
    loop = asyncio.get_running_loop()
    start = loop.time()
    for _ in range(5):
        await bucket.take()
    burst = loop.time() - start
    await asyncio.gather(*(bucket.take() for _ in range(10)))
    assert burst < 0.05
    assert 0.08 <= loop.time() - start < 1


async def test_who_is_patient_waits_for_all_others() -> None:
    bucket = TokenBucket(rate_per_s=100, burst=1)
    order = list[str]()

    async def taker(name: str, *, patient: bool) -> None:
        await bucket.take(patient=patient)
        order.append(name)

    await bucket.take()
    await asyncio.gather(
        taker("patient", patient=True),
        *(taker(f"other {n}", patient=False) for n in range(5)),
    )
    assert order == [*(f"other {n}" for n in range(5)), "patient"]


async def test_events_are_patient(client: KubeClient, bucket: Bucket) -> None:
    metadata = {"namespace": "t1", "name": "e"}
    await client.create({"apiVersion": "v1", "kind": "Event", "metadata": metadata})
    await client.apply(DEPLOYED)
    assert bucket.patient == [True, False]


async def test_a_throttled_write_pauses_all_writes(
    client: KubeClient, server: Server, bucket: Bucket
) -> None:
    server.answers = [web.json_response({}, status=429, headers={"Retry-After": "5"})]
    with pytest.raises(Throttled):
        await client.apply(DEPLOYED)
    assert bucket.pauses == [5.0]


async def test_a_paused_bucket_gives_no_turn() -> None:
    bucket = TokenBucket(rate_per_s=100, burst=100)
    bucket.pause(0.2)
    start = asyncio.get_running_loop().time()
    await asyncio.gather(*(bucket.take() for _ in range(10)))
    assert asyncio.get_running_loop().time() - start >= 0.2
    async with asyncio.timeout(0.1):
        await bucket.take()


async def test_every_character_survives_an_apply(client: KubeClient, server: Server) -> None:
    text = '模型 🚀 \x7f \x85 \u2028 \ufeff " \\ \n \t'
    await client.apply({**DEPLOYED, "spec": {"text": text}})
    raw = server.raw[0].decode()
    assert yaml.safe_load(raw)["spec"]["text"] == json.loads(raw)["spec"]["text"] == text
    assert "\\ud83d" not in raw, "half a character"
