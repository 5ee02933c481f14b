"""Smaller models on real pods: what a trained network still answers, and what is refused.

A network for handwritten digits, trained here. Its samples are rows that it was not trained on, and
what is asked of the pods are others again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tests.e2e.conftest import Place
from tests.e2e.models import Models
from tests.kubeapi import Manifest, condition, eventually

_READY_S: Final = 240.0
_SUPPLY: Final = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
_SAMPLES: Final = {"configMap": {"name": "rows", "key": "samples.json"}}
_TRAINED, _SAMPLED = 1300, 1500


@dataclass(frozen=True)
class Network:
    """A trained model, and what it says itself of rows that nobody has seen."""

    onnx: bytes
    rows: Any
    labels: Any


@pytest.fixture(scope="module")
def network() -> Network:
    from skl2onnx import to_onnx

    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    model = MLPClassifier((128,), max_iter=300, random_state=0).fit(x[:_TRAINED], y[:_TRAINED])
    proto = to_onnx(model, x[:1], options={"zipmap": False})
    rows = x[_SAMPLED:]
    return Network(proto.SerializeToString(), rows, model.predict(rows))


@pytest.fixture(scope="module")
def models(place: Place) -> Iterator[Models]:
    """A namespace with a ConfigMap of samples."""
    rows = load_digits().data[_TRAINED:_SAMPLED]
    tensor = {"name": "X", "datatype": "FP32", "shape": list(rows.shape)}
    samples = [{"inputs": [{**tensor, "data": rows.ravel().tolist()}]}]
    with place() as found:
        found.publish("rows", json.dumps(samples).encode(), "samples.json")
        yield found


def apply(models: Models, network: Network, name: str, **optimization: Any) -> None:
    """Ask for a smaller model."""
    model = {"format": "ONNX", "samples": _SAMPLES, "optimization": optimization}
    uri = models.publish(name, network.onnx)
    models.apply(name, uri=uri, model=model, runtime={"supplyResources": _SUPPLY})


def labels(models: Models, name: str, rows: Any) -> Any:
    """What the pods say."""
    tensor = {"name": "X", "datatype": "FP32", "shape": list(rows.shape)}
    body = {"inputs": [{**tensor, "data": rows.ravel().tolist()}]}
    answer = models.infer(body, name).raise_for_status().json()
    return np.array(next(o["data"] for o in answer["outputs"] if "label" in o["name"]))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["DynamicInt8", "StaticInt8"])
def test_int8_of_a_trained_network_is_smaller_and_agrees(
    models: Models, network: Network, kind: str
) -> None:
    name = kind.lower()
    apply(models, network, name, quantization=kind, minAgreementPercent=99)
    told = models.until("Ready", name, timeout_s=_READY_S)["status"]["model"]
    gain, parity = told["optimization"], told["parity"]
    agreement = 100.0 * float(np.mean(labels(models, name, network.rows) == network.labels))
    print(f"{kind}: {gain['sizeBytesBefore']} to {told['sizeBytes']} bytes, "
          f"{gain['latencyMicrosecondsBefore']} to {gain['latencyMicrosecondsAfter']} us, "
          f"agreement {parity['labelAgreementPercent']} % of the samples, "
          f"{agreement:.1f} % of {len(network.rows)} rows served")  # fmt: skip
    assert gain["sizeBytesBefore"] == len(network.onnx)
    assert told["sizeBytes"] < 0.5 * len(network.onnx)
    assert parity["labelAgreementPercent"] >= 99
    assert agreement >= 99
    assert told["sourceDigest"] != told["digest"]


@pytest.mark.timeout(600)
def test_a_second_pod_calibrates_to_the_same_bytes(models: Models) -> None:
    """Of the model above: it has the digest of the first, or it would not start."""
    models.kubectl("scale", "mdep", "staticint8", "--replicas=2")
    eventually(
        lambda: models.get("staticint8")["status"].get("summary", {}).get("replicas") == "2/2",
        "two pods serve", timeout_s=_READY_S,
        describe=lambda: models.get("staticint8")["status"],
    )  # fmt: skip


def refused(models: Models, name: str) -> Manifest:
    """Wait for the verdict."""

    def stalled() -> Manifest | None:
        found = condition(models.get(name), "Stalled")
        return found if found and found["status"] == "True" else None

    return eventually(
        stalled, f"{name} is refused", timeout_s=_READY_S,
        describe=lambda: models.get(name).get("status"),
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_a_model_that_lost_its_answers_is_not_deployed(models: Models, network: Network) -> None:
    apply(models, network, "pruned", pruning="Magnitude", sparsityPercent=97)
    found = refused(models, "pruned")
    assert found["reason"] == "ConversionMismatch"
    assert "of 200 labels agree with the original's, expected at least 99 %" in found["message"]
    assert "lower minAgreementPercent" in found["message"]
    assert not models.pods("pruned")
