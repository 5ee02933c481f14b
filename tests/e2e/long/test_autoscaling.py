"""The number of real pods follows a real load: by a latency objective, and by measured CPU.

Prints a table of what was asked, measured and decided. Minutes, so not a part of `make test`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from devcluster.cluster import Cluster
from tests.e2e.files import request
from tests.e2e.long import poisson
from tests.e2e.models import Models
from tests.kubeapi import Manifest, eventually

CLIENT = "poisson"
SIDE = 192
_TRIED = 8


def heavy(milliseconds: float) -> bytes:
    """Make a model that computes for so long on one core of this machine, without batches."""
    least = _multiplying(_TRIED)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(least, options, providers=["CPUExecutionProvider"])
    row = {"x": np.ones((1, SIDE), np.float32)}
    best = min(_seconds(lambda: session.run(None, row)) for _ in range(50))
    return _multiplying(max(1, round(_TRIED * milliseconds / 1000 / best)))


def _seconds(do: Callable[[], object]) -> float:
    begin = time.perf_counter()
    do()
    return time.perf_counter() - begin


def _multiplying(layers: int) -> bytes:
    """Make a model that multiplies matrices."""
    weights = np.eye(SIDE, dtype=np.float32) * 0.999
    nodes = [helper.make_node("MatMul", [f"h{i}", "w"], [f"h{i + 1}"]) for i in range(layers)]
    big = helper.make_node("Expand", ["x", "shape"], ["h0"])
    last = helper.make_node("ReduceMean", [f"h{layers}"], ["y"], keepdims=1)
    graph = helper.make_graph(
        [big, *nodes, last],
        "heavy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([SIDE, SIDE], dtype=np.int64), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _load(models: Models, image: str, phases: list[tuple[float, float]]) -> None:
    """Start the client."""
    models.publish(CLIENT, Path(poisson.__file__).read_bytes(), "client.py")
    environment = {
        "MODEL_URL": f"http://m.{models.namespace}.svc/v2/models/m/infer",
        "REQUEST_BODY": json.dumps(request(np.ones((1, SIDE), np.float32))),
        "PHASES": json.dumps(phases),
    }
    command = ["/opt/slipway/bin/python", "/files/client.py"]
    models.run_pod(CLIENT, image, command, CLIENT, environment)


def _told(models: Models) -> list[dict[str, Any]]:
    """What the client has told so far."""
    path = f"{models.api.path('Pod', models.namespace, CLIENT)}/log"
    return [json.loads(line) for line in models.api.http.get(path).text.splitlines()]


def _replicas(models: Models) -> int:
    return int(models.get()["status"]["stable"]["replicas"])


class Table:
    """One row whenever something has changed."""

    def __init__(self, models: Models) -> None:
        self._models, self._begin = models, time.monotonic()
        self._last: tuple[object, ...] = ()
        print(f"\n{'s':>5} {'asked/s':>8} {'p90 ms':>8} {'λ':>7} {'µ':>7} {'busy %':>7}"
              f" {'needs':>6} {'pods':>5}  reason")  # fmt: skip

    def look(self) -> Manifest:
        """Print a row if it says something new; return the status."""
        status = self._models.get()["status"]
        capacity, told = status.get("capacity") or {}, _told(self._models) or [{}]
        row = (
            told[-1].get("rate", ""), told[-1].get("p90_ms", ""), capacity.get("lambda", ""),
            capacity.get("mu", ""), capacity.get("utilizationPercent", ""),
            capacity.get("recommended", ""), status["stable"]["available"],
            capacity.get("reason", ""),
        )  # fmt: skip
        if row != self._last:
            self._last = row
            seconds = time.monotonic() - self._begin
            print(f"{seconds:5.0f} {row[0]!s:>8} {row[1]!s:>8} {row[2]:>7} {row[3]:>7}"
                  f" {row[4]!s:>7} {row[5]!s:>6} {row[6]:>5}  {row[7]}", flush=True)  # fmt: skip
        result: Manifest = status
        return result


def test_a_tripled_load_is_answered_within_a_minute(models: Models, images: dict[str, str]) -> None:
    small = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
    models.serve(
        heavy(40),
        runtime={"resources": small},
        serving={"threads": 1},
        autoscaling={
            "maxReplicas": 4,
            # Nothing but the objective decides: the CPU is never so busy.
            "metrics": [_cpu(100_000)],
            "latencyObjective": {"percentile": 90, "target": "100ms"},
        },
    )
    _load(models, images["runtime"], [(8, 60), (24, 240)])
    table = Table(models)
    before = eventually(lambda: table.look().get("capacity"), "a first capacity", timeout_s=90)
    eventually(lambda: table.look() and _told(models)[-1]["rate"] == 24, "tripled", timeout_s=90)
    tripled = time.monotonic()
    after = eventually(
        lambda: (
            c if (c := table.look()["capacity"])["recommended"] > before["recommended"] else None
        ),
        "the tripled load needs more pods",
        timeout_s=75,
        describe=models.get,
    )
    eventually(
        lambda: table.look()["stable"]["replicas"] >= after["recommended"], "its pods are asked for"
    )
    print(f"answered {time.monotonic() - tripled:.0f} s after the client told of it")
    assert float(after["lambda"]) > float(before["lambda"])


def _cpu(percent: int) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


@pytest.fixture
def _measured(cluster: Cluster) -> None:
    cluster.up(metrics_server=True, wait_metrics=True)


@pytest.mark.usefixtures("_measured")
def test_a_real_autoscaler_scales_real_pods_up_and_down(
    models: Models, images: dict[str, str]
) -> None:
    small = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
    models.serve(
        heavy(10),
        runtime={"resources": small},
        serving={"threads": 1},
        autoscaling={
            "maxReplicas": 3,
            "metrics": [_cpu(100)],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
        },
    )
    _load(models, images["runtime"], [(40, 90)])
    table = Table(models)
    begin = time.monotonic()
    eventually(lambda: table.look() and _replicas(models) == 3, "three", timeout_s=120)
    print(f"up after {time.monotonic() - begin:.0f} s")
    name = models.get()["status"]["stable"]["name"]
    owners = _owners(models, name)
    assert "slipway-operator" not in owners
    eventually(lambda: table.look() and _replicas(models) == 1, "one again", timeout_s=200)
    print(f"down after {time.monotonic() - begin:.0f} s")


def _owners(models: Models, name: str) -> set[str]:
    found = models.api.get("Deployment", models.namespace, name)
    assert found is not None
    return {
        e["manager"]
        for e in found["metadata"]["managedFields"]
        if "f:replicas" in e["fieldsV1"].get("f:spec", {})
    }
