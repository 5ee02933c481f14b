"""The first runs of a model are those of requests that clients send."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway_runtime.config import parse_config
from slipway_runtime.errors import InvalidConfig
from slipway_runtime.inference.dataplane import DataPlane
from slipway_runtime.inference.session import Session
from slipway_runtime.inference.signature import Signature
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.protocols.samples import sampled
from tests.unit.runtime import models
from tests.unit.runtime.processes import serving_document

X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": list(range(8))}
GOOD: list[Any] = [{"inputs": [X], "outputs": [{**X, "name": "scores"}]}]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    found: Path = models.saved(models.affine(), tmp_path / "model.onnx")
    return found


def write(folder: Path, content: Any) -> Path:
    file = folder / "samples.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_samples_are_read_as_requests_of_clients(model: Path, tmp_path: Path) -> None:
    signature = Session(model, threads=1).signature
    (found,) = sampled(write(tmp_path, GOOD), signature)
    np.testing.assert_array_equal(found["x"], np.arange(8, dtype=np.float32).reshape(2, 4))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("[", "model.samples: cannot be read", id="no JSON"),
        pytest.param("[" * 100_000, "model.samples: cannot be read", id="a nest"),
        pytest.param({"inputs": []}, "model.samples: got no list", id="no list"),
        pytest.param([*GOOD, 3], "model.samples: sample 2: ", id="no request"),
        pytest.param(
            [{"inputs": [{**X, "name": "z"}]}],
            "model.samples: sample 1: .*'z'", id="another input",
        ),
        pytest.param(
            [{"inputs": [{**X, "shape": [4, 2]}]}],
            "model.samples: sample 1: .*'x'", id="another shape",
        ),
    ],
)  # fmt: skip
def test_a_sample_that_does_not_fit_is_named(
    model: Path, tmp_path: Path, content: Any, expected: str
) -> None:
    signature = Session(model, threads=1).signature
    with pytest.raises(InvalidConfig, match=expected):
        sampled(write(tmp_path, content), signature)


def loaded(model: Path, samples: Any, requests: int = 3) -> DataPlane:
    """A data plane that has loaded a model."""
    config = parse_config(serving_document(serving={"warmup": {"requests": requests}}))
    metrics = Metrics(model="digits", version="", revision="0123456789")

    async def load() -> DataPlane:
        plane = DataPlane(config, metrics, samples)
        await plane.load(model)
        plane.close()
        return plane

    return asyncio.run(load())


def test_a_model_is_run_on_the_samples_before_it_is_ready(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = []
    run = Session.run

    def spied(self: Session, feeds: Mapping[str, Any], *rest: Any) -> Any:
        seen.append(np.ravel(feeds["x"]).tolist())
        return run(self, feeds, *rest)

    def samples(_: Signature) -> list[Mapping[str, Any]]:
        return [{"x": np.full((1, 4), value, np.float32)} for value in (7, 8)]

    monkeypatch.setattr(Session, "run", spied)
    loaded(model, samples)
    assert [row for row in seen if set(row) & {7.0, 8.0}] == [[7.0] * 4, [8.0] * 4, [7.0] * 4]
    seen.clear()
    loaded(model, samples, requests=0)
    assert not [row for row in seen if set(row) & {7.0, 8.0}]


def test_samples_that_do_not_fit_keep_no_pod_from_serving(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their ConfigMap may have changed since; the log says what is wrong."""
    with caplog.at_level(logging.WARNING):
        loaded(model, partial(sampled, write(tmp_path, [3])))
    causes = [str(getattr(record, "cause", "")) for record in caplog.records]
    assert any(cause.startswith("model.samples: sample 1: ") for cause in causes)
