"""Loading and unloading on request, on a laptop: files change, requests go on."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
import httpx
import numpy as np
import pytest
from onnx import helper

from slipway_runtime.config import parse_config
from slipway_runtime.errors import InvalidRequest, LoadFailed, ModelNotFound, ModelNotReady
from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.protocols import grpc_repository
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.repository import Repository, Source, revision_of
from slipway_runtime.supply.digest import file_digest
from tests.unit.runtime import models
from tests.unit.runtime.processes import (
    Serving,
    infer_body,
    pod_folder,
    runtime,
    serving,
    serving_document,
)
from tests.unit.runtime.protocols import calls

LOAD: Final = "/v2/repository/models/m/load"
UNLOAD: Final = "/v2/repository/models/m/unload"
INFER: Final = "/v2/models/m/infer"


def negating(datatype: str, name: str = "x") -> Any:
    """`y = -x`; its input is named and typed as asked."""
    return models.model_of(
        [helper.make_node("Neg", [name], ["y"])],
        [models.tensor(name, datatype, ["n", 1])],
        [models.tensor("y", datatype, ["n", 1])],
    )


def doubling() -> Any:
    """`y = x + x`."""
    return models.model_of(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [models.tensor("x", "FP32", ["n", 1])],
        [models.tensor("y", "FP32", ["n", 1])],
    )


def replaced(path: Path, content: bytes) -> None:
    """Put other bytes in a file's place, whole."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def content_of(model: Any) -> bytes:
    content: bytes = model.SerializeToString()
    return content


def revision(path: Path) -> str:
    return revision_of(file_digest(path))


MANIFEST: Final = """\
apiVersion: slipway.dev/v1alpha1
kind: ModelDeployment
metadata: {name: m}
spec:
  model: {uri: "configmap://m/k"}
  serving: {batching: {mode: "Off"}, threads: 1, warmup: {requests: 1}}
"""


@contextmanager
def repository(path: Path) -> Iterator[tuple[Serving, httpx.Client]]:
    """A server that loads quickly: it neither measures batches nor warms for long."""
    manifest = path.with_suffix(".yaml")
    manifest.write_text(MANIFEST)
    with serving("-f", manifest, "--model", path, "--allow-repository") as server:
        server.wait_for("ready")
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
            yield server, client


def asking(value: float) -> Any:
    return infer_body("x", "FP32", [1, 1], [value])


def _counted(metrics: str, name: str) -> float:
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(name))


def test_the_life_of_a_model(tmp_path: Path) -> None:
    path = models.saved(negating("FP32"), tmp_path / "m.onnx")
    first = revision(path)
    with repository(path) as (server, client):
        assert client.get("/v2").json()["extensions"][-2:] == [
            "model_repository",
            "model_repository(unload_dependents)",
        ]
        assert client.post(LOAD, json={}).status_code == 200  # the same bytes
        assert client.post(INFER, json=asking(3)).headers["x-model-revision"] == first

        replaced(path, content_of(doubling()))
        answer = client.post(LOAD, content=b"")
        assert (answer.status_code, answer.content) == (200, b"")
        answer = client.post(INFER, json=asking(3))
        assert answer.json()["outputs"][0]["data"] == [6]
        assert answer.headers["x-model-revision"] == revision(path) != first
        assert server.status()["digest"] == file_digest(path)
        metrics = httpx.get(f"{server.admin}/metrics", trust_env=False).text
        assert metrics.count("slipway_model_info{") == 1
        assert f'digest="{file_digest(path)}"' in metrics
        told = re.findall(r'^slipway_\w+{.*revision="(\w+)"', metrics, re.MULTILINE)
        assert set(told) == {revision(path)}
        assert _counted(metrics, "slipway_requests_total") == 1
        assert _counted(metrics, "slipway_batch_size_count") == 1

        body = {"parameters": {"unload_dependents": False}}  # as tritonclient sends it
        assert client.post(UNLOAD, json=body).status_code == 200
        gone = client.post(INFER, json=asking(3))
        assert (gone.status_code, gone.headers["retry-after"]) == (503, "1")
        assert gone.json() == {"error": "model 'm' is unloaded; load it first"}
        assert [client.get(p).status_code for p in ("/v2/models/m/ready", "/v2/models/m")] == [
            503,
            503,
        ]
        status = client.get("/v1/models/m").json()["model_version_status"][0]["state"]
        index = client.post("/v2/repository/index").json()
        assert status == "END"
        assert index == [
            {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
        ]
        assert server.status()["signature"] is None
        assert client.post(UNLOAD, json={}).status_code == 200  # nothing left to do

        assert client.post(LOAD, json={}).status_code == 200
        assert client.post(INFER, json=asking(4)).json()["outputs"][0]["data"] == [8]


@pytest.mark.parametrize(
    ("path", "body", "status", "expected"),
    [
        pytest.param(
            LOAD,
            {"parameters": {"config": "{}"}},
            400,
            "parameters: got 'config', expected none; the file named when the server was started "
            "is loaded again, and nothing that a request brings",
            id="a configuration",
        ),
        pytest.param(
            LOAD,
            {"parameters": {"file:1/../../evil": "AAAA"}},
            400,
            "parameters: got 'file:1/../../evil', expected none",
            id="a file",
        ),
        pytest.param(LOAD, {"parameters": []}, 400, "parameters: got []", id="a list"),
        pytest.param(LOAD, [], 400, "body: got []", id="no object"),
        pytest.param(
            UNLOAD,
            {"parameters": {"unload_dependents": 1}},
            400,
            "parameters.unload_dependents: got 1, expected true or false",
            id="a number for a boolean",
        ),
        pytest.param(UNLOAD, {"parameters": {"x": 1}}, 400, "parameters: got 'x'", id="unknown"),
        pytest.param(LOAD.replace("/m/", "/n/"), {}, 404, "model 'n': unknown", id="another model"),
        pytest.param(LOAD.replace("/m/", "/..%2Fm/"), {}, 404, "", id="a path"),
    ],
)
def test_what_a_request_may_not_ask(
    standing: httpx.Client, path: str, body: Any, status: int, expected: str
) -> None:
    answer = standing.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(expected)
    assert standing.post(INFER, json=asking(3)).json()["outputs"][0]["data"] == [-3]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    path = models.saved(negating("FP32"), tmp_path_factory.mktemp("standing") / "m.onnx")
    with repository(path) as (_, client):
        yield client


class Load:
    """Clients that ask without a pause, and judge every answer themselves."""

    def __init__(self, server: Serving, clients: int, judged: Callable[[httpx.Response], bool]):
        self.answered = 0
        self.wrong: list[tuple[int, str]] = []
        self._stop = threading.Event()
        self._judged = judged
        self._url = server.url
        self._threads = [threading.Thread(target=self._run, args=[i]) for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def body(self, number: int) -> Any:
        return asking(number % 100 + 1)

    def _run(self, number: int) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            while not self._stop.is_set():
                answer = client.post(INFER, json=self.body(number))
                self.answered += 1
                if not self._judged(answer):
                    self.wrong.append((answer.status_code, answer.text))


def test_b54_a_bad_file_harms_nobody(tmp_path: Path) -> None:
    """The old model answers on, without one error, and the load says what is wrong."""
    cases = {
        b"garbage": "expected an ONNX model",
        b"": "the file is empty",
        content_of(models.sequence()): "output 'y' is seq(tensor(float))",
        None: "cannot be read (No such file or directory)",
    }
    path = models.saved(negating("FP32"), tmp_path / "m.onnx")
    with repository(path) as (server, client):
        load = Load(server, 2, lambda answer: answer.status_code == 200)
        for content, expected in cases.items():
            if content is None:
                path.unlink()
            else:
                replaced(path, content)
            seen = load.answered
            answer = client.post(LOAD, json={})
            assert (answer.status_code, load.answered > seen) == (400, True)
            error = answer.json()["error"]
            assert error.startswith("model 'm': cannot be loaded, the one before goes on; ")
            assert expected in error
            index = client.post("/v2/repository/index").json()[0]
            assert (index["state"], index["reason"]) == ("READY", error)
        load.stop()
        assert (load.wrong, client.get("/v2/health/ready").status_code) == ([], 200)

        replaced(path, content_of(doubling()))
        assert client.post(LOAD, json={}).status_code == 200
        assert client.post("/v2/repository/index").json()[0]["reason"] == ""


def test_b55_each_request_sees_one_model(tmp_path: Path) -> None:
    """Signature, answer and revision are of one file, whatever is swapped meanwhile."""
    path = tmp_path / "m.onnx"
    contents = [content_of(negating("FP32")), content_of(negating("INT64", "other"))]
    revisions = []
    for content in contents:
        path.write_bytes(content)
        revisions.append(revision(path))
    bodies = [asking(3), infer_body("other", "INT64", [1, 1], [3])]
    # Large enough to be decoded in a thread, where a swap can come in between.
    many = 40_000
    bodies[0] = infer_body("x", "FP32", [many, 1], [1.5] * many)
    expected = {200: "outputs", 400: "error"}
    answered = {200: 0, 400: 0}

    class Mixed(Load):
        def body(self, number: int) -> Any:
            return bodies[number % 2]

    def judged(answer: httpx.Response) -> bool:
        document = answer.json()
        if expected.get(answer.status_code) not in document:
            return False
        answered[answer.status_code] += 1
        if answer.status_code == 400:
            return "unknown, expected" in document["error"]  # for the other model
        output = document["outputs"][0]
        is_first = answer.headers["x-model-revision"] == revisions[0]
        value, datatype = (-1.5, "FP32") if is_first else (-3, "INT64")
        return output["datatype"] == datatype and set(output["data"]) == {value}

    with repository(path) as (server, client):
        load = Mixed(server, 4, judged)
        for number in range(8):
            replaced(path, contents[number % 2])
            assert client.post(LOAD, json={}).status_code == 200
        load.stop()
    assert load.wrong == []
    assert min(answered.values()) > 0


def test_b53_an_unload_waits_for_what_has_begun(tmp_path: Path) -> None:
    path = models.saved(models.counting(), tmp_path / "m.onnx")
    body = infer_body("n", "INT64", [1], [200_000])
    with repository(path) as (server, client), ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(httpx.post, server.url + INFER, json=body, trust_env=False)
                for _ in range(2)]  # fmt: skip
        server.until(running=1, queue={"length": 1, "maxLength": 1024})
        assert client.post(UNLOAD, json={}).status_code == 200
        assert all(answer.done() or answer.result(1) for answer in slow)
        assert [answer.result().json()["outputs"][0]["data"] for answer in slow] == [[200_000]] * 2
        assert server.status()["state"] == "Unloaded"


async def test_b53_a_thousand_at_once(tmp_path: Path) -> None:
    """No crash, and no answer of another model than the one that it names."""
    path = tmp_path / "m.onnx"
    contents = [content_of(negating("FP32")), content_of(doubling())]
    factors = {}
    for content, factor in zip(contents, (-1, 2), strict=True):
        path.write_bytes(content)
        factors[revision(path)] = factor
    chosen = random.Random(53)
    counts = {200: 0, 503: 0}

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        action = chosen.choice([INFER] * 8 + [LOAD, UNLOAD])
        if action == LOAD:
            replaced(path, contents[number % 2])
        async with session.post(action, json=asking(number) if action == INFER else {}) as answer:
            assert answer.status == 200 or (action, answer.status) == (INFER, 503)
            counts[answer.status] += 1
            if action == INFER and answer.status == 200:
                factor = factors[answer.headers["x-model-revision"]]
                assert (await answer.json())["outputs"][0]["data"] == [factor * number]

    with repository(path) as (server, client):
        # Not httpx: it takes milliseconds to choose among so many connections.
        async with aiohttp.ClientSession(
            server.url, connector=aiohttp.TCPConnector(limit=1000)
        ) as session:
            await asyncio.gather(*(one(session, number) for number in range(1000)))
        assert client.post(LOAD, json={}).status_code == 200
        assert client.post(INFER, json=asking(1)).status_code == 200
        assert server.process.poll() is None
    assert min(counts.values()) > 0


def test_pods_have_no_such_door(tmp_path: Path, affine_model: Path) -> None:
    config, folder = pod_folder(tmp_path, affine_model)
    arguments = ("--config", config, "--model-dir", folder)
    done = runtime("serve", *arguments, "--allow-repository")
    assert (done.returncode, "--allow-repository: got it with --config" in done.stderr) == (2, True)
    with serving(affine_model) as server:  # nor has a laptop that was not told to
        server.wait_for("ready")
        for verb in ("load", "unload"):
            url = f"{server.url}/v2/repository/models/affine/{verb}"
            assert httpx.post(url, json={}, trust_env=False).status_code == 404


@pytest.fixture
async def loaded(tmp_path: Path) -> AsyncIterator[tuple[DataPlane, Repository, Path]]:
    path = models.saved(negating("FP32"), tmp_path / "m.onnx")
    digest = file_digest(path)
    pinned = {"uri": "file:///m.onnx", "digest": digest}
    config = parse_config(
        serving_document(model=pinned, digest=digest, serving={"warmup": {"requests": 1}})
    )
    dataplane = DataPlane(config, Metrics(model="digits", version="", revision="0123456789"))
    await dataplane.load(path)
    yield dataplane, Repository(dataplane, Source(lambda: path, 2**20, 60)), path
    dataplane.close()


async def test_a_digest_that_the_manifest_pins_holds_for_every_load(
    loaded: tuple[DataPlane, Repository, Path],
) -> None:
    dataplane, repository, path = loaded
    path.write_bytes(content_of(doubling()))
    with pytest.raises(LoadFailed, match=r"model\.digest: got sha256:\w+, expected sha256:"):
        await repository.load()
    assert dataplane.state is State.READY


async def test_who_asks_during_a_load_gets_a_later_one(
    loaded: tuple[DataPlane, Repository, Path],
) -> None:
    _, repository, path = loaded
    first = asyncio.ensure_future(repository.load())
    await asyncio.sleep(0)
    path.unlink()
    later = [asyncio.ensure_future(repository.load()) for _ in range(3)]
    await asyncio.wait([first, *later])
    assert all("cannot be read" in str(load.exception()) for load in later)


async def test_a_load_that_was_given_up_is_not_what_others_get(
    loaded: tuple[DataPlane, Repository, Path],
) -> None:
    dataplane, repository, _ = loaded
    await dataplane.unload()
    first, second = (asyncio.ensure_future(repository.load()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert dataplane.state is State.READY


async def test_the_doors_of_grpc(loaded: tuple[DataPlane, Repository, Path]) -> None:
    dataplane, repository, _ = loaded
    load, unload = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest
    flag = pb.ModelRepositoryParameter(bool_param=False)
    request = unload(model_name="digits", parameters={"unload_dependents": flag})
    await grpc_repository.unload(request, dataplane, repository)
    assert dataplane.loaded is None
    await grpc_repository.load(load(model_name="digits"), dataplane, repository)
    assert dataplane.signature.inputs[0].name == "x"
    evil = pb.ModelRepositoryParameter(bytes_param=b"x")
    with pytest.raises(InvalidRequest, match=r"got 'file:1/m\.onnx', expected none"):
        await grpc_repository.load(
            load(model_name="digits", parameters={"file:1/m.onnx": evil}), dataplane, repository
        )
    with pytest.raises(ModelNotFound):
        await grpc_repository.unload(unload(model_name="other"), dataplane, repository)
    dataplane.start_draining()
    with pytest.raises(ModelNotReady, match="draining"):
        await grpc_repository.load(load(model_name="digits"), dataplane, repository)


def test_grpc_loads_and_unloads_too(tmp_path: Path) -> None:
    path = models.saved(negating("FP32"), tmp_path / "m.onnx")
    request = calls.request("x", "FP32", [1, 1], model="m", contents={"fp32_contents": [3]})

    def answered(channel: grpc.Channel) -> list[float]:
        raw: bytes = calls.infer(channel, request).raw_output_contents[0]
        values: list[float] = np.frombuffer(raw, np.float32).tolist()
        return values

    load, unload = pb.RepositoryModelLoadRequest, pb.RepositoryModelUnloadRequest
    with repository(path) as (server, client), grpc.insecure_channel(server.grpc) as channel:
        assert answered(channel) == [-3]
        replaced(path, content_of(doubling()))
        calls.call(
            channel, "RepositoryModelLoad", load(model_name="m"), pb.RepositoryModelLoadResponse
        )
        assert answered(channel) == [6]
        replaced(path, b"garbage")
        with pytest.raises(grpc.RpcError, match="the one before goes on; model: it cannot be"):
            calls.call(
                channel, "RepositoryModelLoad", load(model_name="m"), pb.RepositoryModelLoadResponse
            )
        found = calls.call(
            channel, "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse
        )
        assert "model_repository" in found.extensions
        calls.call(
            channel,
            "RepositoryModelUnload",
            unload(model_name="m"),
            pb.RepositoryModelUnloadResponse,
        )
        assert calls.refusal(channel, request) == (
            "UNAVAILABLE",
            "model 'm' is unloaded; load it first",
        )
        request.model_name = "other"
        assert calls.refusal(channel, request) == (
            "NOT_FOUND",
            "model 'other': unknown, expected 'm'",
        )
        assert client.get("/v2/health/ready").status_code == 503


def test_grpc_of_pods_has_no_such_door(affine_model: Path) -> None:
    load = pb.RepositoryModelLoadRequest(model_name="affine")
    with serving(affine_model) as server, grpc.insecure_channel(server.grpc) as channel:
        server.wait_for("ready")
        with pytest.raises(grpc.RpcError) as caught:
            calls.call(channel, "RepositoryModelLoad", load, pb.RepositoryModelLoadResponse)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
