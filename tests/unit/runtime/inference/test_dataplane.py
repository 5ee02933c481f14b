"""The one door, from the loop and from other threads."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.config import parse_config
from slipway_runtime.errors import DeadlineExceeded, ModelNotReady
from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.inference.request import InferenceRequest
from slipway_runtime.monitoring.metrics import Metrics
from tests.unit.runtime import models
from tests.unit.runtime.processes import serving_document


def unloaded() -> DataPlane:
    config = parse_config(serving_document(serving={"threads": 1}))
    return DataPlane(config, Metrics(model="digits", version="", revision="0123456789"))


@pytest.fixture
async def dataplane(tmp_path: Path) -> AsyncIterator[DataPlane]:
    made = unloaded()
    await made.load(models.saved(models.counting(), tmp_path / "model.onnx"))
    yield made
    made.close()


def counting_to(dataplane: DataPlane, number: int) -> InferenceRequest:
    return InferenceRequest({"n": np.array([number])}, dataplane.signature.outputs)


async def in_other_thread(call: Callable[[], object]) -> object:
    """What a worker of a gRPC server does."""
    return await asyncio.get_running_loop().run_in_executor(None, call)


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110  # a queue's length tells nobody that it changes
            await asyncio.sleep(0.001)


async def test_a_thread_gets_its_answer(dataplane: DataPlane) -> None:
    def call() -> int:
        assert threading.current_thread() is not threading.main_thread()
        response = dataplane.submit(counting_to(dataplane, 5)).result(10)
        return int(response.outputs[0][1][0])

    assert await in_other_thread(call) == 5


async def test_the_deadline_of_a_thread_is_kept(dataplane: DataPlane) -> None:
    def call() -> None:
        with pytest.raises(DeadlineExceeded, match=r"of 0\.1s"):
            dataplane.submit(counting_to(dataplane, 10**9), timeout_s=0.1).result(10)

    await in_other_thread(call)
    assert dataplane.running == 0


async def test_a_thread_that_gives_up_frees_the_place(dataplane: DataPlane) -> None:
    long = asyncio.ensure_future(dataplane.infer(counting_to(dataplane, 10**9)))
    await until(lambda: dataplane.running == 1)
    future = dataplane.submit(counting_to(dataplane, 1))
    await until(lambda: dataplane.waiting == 1)
    future.cancel()
    await until(lambda: dataplane.waiting == 0)
    with pytest.raises(CancelledError):
        future.result(0)
    long.cancel()
    await until(lambda: dataplane.running == 0)


async def test_the_models_own_timeout_is_the_longest(dataplane: DataPlane) -> None:
    response = await dataplane.infer(counting_to(dataplane, 3), timeout_s=10**6)
    assert response.outputs[0][1].tolist() == [3]


async def test_before_it_is_loaded_nobody_is_served() -> None:
    made = unloaded()
    request = InferenceRequest({}, ())
    with pytest.raises(ModelNotReady, match="is loading"):
        await made.infer(request)
    with pytest.raises(ModelNotReady, match="is loading"):
        made.submit(request)
    assert made.loaded is None


async def test_after_the_end_nobody_is_served(dataplane: DataPlane) -> None:
    dataplane.close()
    with pytest.raises(ModelNotReady, match="server is draining"):
        await dataplane.infer(counting_to(dataplane, 1))


async def test_a_model_that_is_replaced_answers_what_it_has_begun(
    dataplane: DataPlane, tmp_path: Path
) -> None:
    before = dataplane.loaded
    long = asyncio.ensure_future(dataplane.infer(counting_to(dataplane, 200_000)))
    await until(lambda: dataplane.running == 1)
    with dataplane.using() as held:
        load = asyncio.ensure_future(
            dataplane.load(models.saved(models.affine(), tmp_path / "other.onnx"))
        )
        await until(lambda: dataplane.loaded is not before)
        assert [spec.name for spec in dataplane.signature.inputs] == ["x"]
        response = await held.infer(InferenceRequest({"n": np.array([2])}, held.signature.outputs))
        assert not load.done()
    await load
    assert [int(answer.outputs[0][1][0]) for answer in (await long, response)] == [200_000, 2]
    assert dataplane.running == 0


async def test_who_waits_for_an_unload_may_give_up(dataplane: DataPlane) -> None:
    long = asyncio.ensure_future(dataplane.infer(counting_to(dataplane, 200_000)))
    await until(lambda: dataplane.running == 1)
    unload = asyncio.ensure_future(dataplane.unload())
    await until(lambda: dataplane.state is State.UNLOADING)
    unload.cancel()
    with pytest.raises(ModelNotReady, match="'digits' is unloading; load it first"):
        await dataplane.infer(InferenceRequest({}, ()))
    assert int((await long).outputs[0][1][0]) == 200_000
    await until(lambda: dataplane.state is State.UNLOADED)
