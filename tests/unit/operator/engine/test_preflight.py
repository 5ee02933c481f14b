"""Preflights are made with real runtimes on real sockets, and tell what stands in their way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from aiohttp import web
from onnx import helper, numpy_helper

from slipway_operator.engine import preflight
from slipway_operator.engine.bounded import BoundedClient
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.preflight import Preflights
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.errors import NotFound, Unavailable
from slipway_operator.kube.kinds import CONTROLLER_REVISION, MODEL_DEPLOYMENT, POD, Kind
from slipway_operator.plan.names import MODEL, REVISION, Owner
from slipway_operator.plan.revision import record, revision_hash
from slipway_operator.verdict.outcome import Finding, Verdict
from tests.builders import LONG_AGO, mdep, revision_of, spec_of
from tests.unit.runtime import models
from tests.unit.runtime.processes import serving

KEY = ObjectKey("t1", "digits")
OLD = "aaaaaaaaaa"
GOOD, WRONG = "127.0.78.1", "127.0.78.2"
_ROW = [1.0, 0.0, 0.0, 2.0]
_WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
_SCORES = (np.array([_ROW], np.float32) @ _WEIGHTS).ravel().tolist()
INPUTS = [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": _ROW}]
EXPECTED = [{"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": _SCORES}]
SAMPLES = json.dumps([{"inputs": INPUTS, "outputs": EXPECTED}])
SOURCE = {"configMap": {"name": "samples", "key": "samples.json"}}


def _negative() -> Any:
    """The model `affine` with a minus."""
    return models.model_of(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Neg", ["z"], ["scores"]),
        ],
        [models.tensor("x", "FP32", ["batch", 4])],
        [models.tensor("scores", "FP32", ["batch", 3])],
        [numpy_helper.from_array(_WEIGHTS, "w")],
    )


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The admin port of two runtimes, one of which has another model."""
    folder = tmp_path_factory.mktemp("models")
    for name, model in (("good", models.affine()), ("wrong", _negative())):
        (folder / name).mkdir()
        models.saved(model, folder / name / "digits.onnx")
    with serving(folder / "good" / "digits.onnx", host=GOOD) as good:
        found = int(good.wait_for("listening")["admin_port"])
        with serving(folder / "wrong" / "digits.onnx", host=WRONG, admin_port=found) as wrong:
            good.wait_for("ready")
            wrong.wait_for("ready")
            yield found


class Store:
    """An API server with one ConfigMap."""

    def __init__(self, data: dict[str, str] | Exception) -> None:
        self.data = data

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        assert (kind.kind, namespace, name) == ("ConfigMap", "t1", "samples")
        if isinstance(self.data, Exception):
            raise self.data
        return {"data": self.data}


class Stage:
    """A rollout in its preflight."""

    def __init__(
        self,
        port: int,
        candidate: str = GOOD,
        *,
        data: dict[str, str] | Exception | None = None,
        samples: dict[str, Any] | None = SOURCE,
        **wish: Any,
    ) -> None:
        blocks = {"model": {"uri": "https://x/y", **({"samples": samples} if samples else {})}}
        self.spec = {**spec_of(rollout={"preflight": wish}), **blocks}
        self.hash = revision_hash(self.spec)
        self.cache, self.queue, self.client = Cache(), WorkQueue[ObjectKey](), BoundedClient()
        self.store = Store({"samples.json": SAMPLES} if data is None else data)
        self.preflights = Preflights(
            self.cache, self.queue, self.store, self.client, lambda: True, port
        )
        self.put("Preflight")
        owner = Owner.of(mdep(self.spec))
        made = record(owner, revision_of(owner, self.spec))
        made["metadata"] |= {"uid": "r", "resourceVersion": "3"}
        self.cache.put(CONTROLLER_REVISION, made)
        for revision, host in ((OLD, GOOD), (self.hash, candidate)):
            if host:
                self.cache.put(POD, _pod(revision, host))

    def put(self, state: str, version: str = "2", **more: Any) -> None:
        status = {
            "stable": {"hash": OLD}, "candidate": {"hash": self.hash},
            "rollout": {"state": state, "id": "2-1", **more},
        }  # fmt: skip
        stored = mdep(self.spec, status=status)
        stored["metadata"]["resourceVersion"] = version
        self.cache.put(MODEL_DEPLOYMENT, stored)

    async def found(self) -> Finding:
        """Wait for what is told."""
        await self.preflights.look(asyncio.get_running_loop().time)
        async with asyncio.timeout(20):
            assert await self.queue.get() == KEY
        self.queue.done(KEY)
        return self.preflights.told[KEY].finding


Begin = Callable[..., Stage]


@pytest.fixture
async def begin(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Begin]:
    """Stages that are ended afterwards, and whose patience is short."""
    monkeypatch.setattr(preflight, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(preflight, "_AGAIN_S", 0.05)
    stages: list[Stage] = []

    def start(*arguments: Any, **more: Any) -> Stage:
        stages.append(Stage(*arguments, **more))
        return stages[-1]

    yield start
    for stage in stages:
        stage.preflights.forget()
        await stage.client.close()


def _pod(revision: str, host: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO}
    return {
        "metadata": {
            "name": f"p-{revision}", "namespace": "t1", "uid": f"p-{revision}",
            "resourceVersion": "5", "labels": {MODEL: "digits", REVISION: revision},
        },
        "status": {"podIP": host, "conditions": [ready]},
    }  # fmt: skip


def _requests(port: int, host: str) -> float:
    """What a runtime has counted."""
    page = httpx.get(f"http://{host}:{port}/metrics", trust_env=False).text
    lines = [x for x in page.splitlines() if x.startswith("slipway_requests_total{")]
    return sum(float(line.split()[-1]) for line in lines)


@pytest.mark.parametrize(
    ("candidate", "golden", "verdict", "text"),
    [
        pytest.param(GOOD, {}, Verdict.PASS, "1 of 1 answers compared, largest", id="as expected"),
        pytest.param(
            WRONG, {}, Verdict.FAIL, "output 'scores': got -", id="not as expected",
        ),
        pytest.param(
            GOOD, {"compareTo": "Stable"}, Verdict.PASS, "100 % of the labels agree",
            id="as the stable revision",
        ),
        pytest.param(
            WRONG, {"compareTo": "Stable"}, Verdict.FAIL,
            "0 of 1 labels of output 'scores' agree (0.0 %), 98 % are needed",
            id="not as the stable revision",
        ),
    ],
)  # fmt: skip
async def test_a_real_runtime_is_tried_and_counts_nothing(
    begin: Begin, port: int, candidate: str, golden: dict[str, Any], verdict: Verdict, text: str
) -> None:
    stage = begin(port, candidate, golden=golden, warmupRequests=3)
    found = await stage.found()
    assert (found.verdict, text in found.message) == (verdict, True), found.message
    assert ("3 requests warmed each of 1 pods" in found.message) == (verdict is Verdict.PASS)
    assert _requests(port, GOOD) == _requests(port, WRONG) == 0


async def test_what_is_wished_is_part_of_what_is_told(begin: Begin, port: int) -> None:
    stage = begin(port, golden={}, warmupRequests=0)
    await stage.found()
    trial = stage.preflights.told[KEY]
    assert trial.rollout == f"{stage.hash}-1"
    assert trial.about(trial.rollout, trial.wish) is not None
    assert trial.about(trial.rollout, None) is None
    assert trial.about(f"{stage.hash}-2", trial.wish) is None


async def test_it_is_made_once_and_forgotten_when_the_status_remembers_it(
    begin: Begin, port: int
) -> None:
    stage = begin(port, golden={})
    await stage.found()
    await stage.preflights.look(lambda: 0.0)
    assert len(stage.queue) == 0
    stage.put("Preflight", "4", preflight="passed")
    await stage.preflights.look(lambda: 0.0)
    assert stage.preflights.told == {}


@pytest.mark.parametrize(
    ("more", "text"),
    [
        pytest.param(
            {"data": NotFound(404, "NotFound", "gone")},
            "model.samples: ConfigMap 'samples' does not exist in namespace 't1'",
            id="no ConfigMap",
        ),
        pytest.param(
            {"data": Unavailable(0, "NoAnswer", "down")}, "cannot be read: down",
            id="no API server",
        ),
        pytest.param({"data": {}}, "has no key 'samples.json' in its data", id="no key"),
        pytest.param(
            {"data": {"samples.json": "{}"}}, "key 'samples.json': expected a list", id="no list"
        ),
        pytest.param(
            {"data": {"samples.json": json.dumps([{"inputs": INPUTS}])}},
            "no sample has outputs to compare with", id="nothing to compare with",
        ),
        pytest.param({"samples": None}, "has no model.samples", id="a revision without samples"),
        pytest.param({"candidate": ""}, "no pod of the candidate is ready", id="no pod"),
        pytest.param({"candidate": "127.0.78.9"}, "ClientConnectorError", id="nobody listens"),
    ],
)  # fmt: skip
async def test_what_stands_in_its_way_is_told(
    begin: Begin, port: int, more: dict[str, Any], text: str
) -> None:
    found = await begin(port, golden={}, **more).found()
    assert (found.verdict, text in found.message) == (Verdict.NO_DATA, True), found.message


async def test_it_goes_on_when_nothing_stands_in_its_way_any_more(begin: Begin, port: int) -> None:
    stage = begin(port, golden={}, data=NotFound(404, "NotFound", "gone"))
    assert (await stage.found()).verdict is Verdict.NO_DATA
    stage.put("Paused", "4", reason="PreflightUnavailable", pausedIn="Preflight")
    stage.store.data = {"samples.json": SAMPLES}
    assert (await stage.found()).verdict is Verdict.PASS


async def _hanging(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" " * 65536)


async def _elsewhere(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:1/")


def _saying(text: str, status: int = 200) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return answer


@pytest.mark.parametrize(
    ("answer", "verdict", "text"),
    [
        pytest.param(_hanging, Verdict.NO_DATA, "TimeoutError", id="hangs"),
        pytest.param(_endless, Verdict.NO_DATA, "more than 8388608 bytes", id="never ends"),
        pytest.param(_elsewhere, Verdict.NO_DATA, "status 302, expected 200", id="points away"),
        pytest.param(_saying("", 503), Verdict.NO_DATA, "status 503", id="is not ready"),
        pytest.param(_saying("", 404), Verdict.NO_DATA, "status 404", id="has no such path"),
        pytest.param(_saying("<html>"), Verdict.FAIL, "sample 1: ", id="a web page"),
        pytest.param(_saying("[" * 99999), Verdict.FAIL, "nested too deeply", id="deep"),
        pytest.param(
            _saying('{"error": "no"}', 400), Verdict.FAIL,
            """sample 1: status 400: '{"error": "no"}'""", id="refuses the request",
        ),
        pytest.param(_saying("boom", 500), Verdict.FAIL, "status 500: 'boom'", id="breaks"),
    ],
)  # fmt: skip
async def test_an_image_that_answers_anything_takes_nothing_down(
    begin: Begin,
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    verdict: Verdict,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "_REQUEST_S", 0.5)
    app = web.Application()
    app.router.add_post("/v2/models/digits/infer", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, GOOD, 0)
    await site.start()
    port = int(runner.addresses[0][1])
    try:
        found = await begin(port, golden={}).found()
    finally:
        await runner.cleanup()
    assert (found.verdict, text in found.message) == (verdict, True), found.message


async def test_it_ends_with_the_leadership(begin: Begin, port: int) -> None:
    stage = begin(port, golden={})
    await stage.preflights.look(lambda: 0.0)
    stage.preflights.forget()
    assert stage.preflights.told == {}
