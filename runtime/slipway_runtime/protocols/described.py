"""What the model is and what it has done, as Triton's extensions tell it on both wires.

Pure but for reading counters. Source: Triton, "Statistics", "Model Configuration" and "Model
Repository" extensions.
"""

from __future__ import annotations

from typing import Any, Final

from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.inference.model import LoadedModel
from slipway_runtime.inference.signature import TensorSpec
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.properties import MAX_VALUE_CHARACTERS, printable
from slipway_runtime.provenance import DIGEST

SERVER: Final = "slipway"
PLATFORM: Final = "onnx_onnxv1"
EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "parameters",
    "statistics",
    "model_configuration",
)
"""Only what is implemented: clients act on what stands here."""
REPOSITORY_EXTENSIONS: Final = ("model_repository", "model_repository(unload_dependents)")
"""Where models are loaded and unloaded on request; pods never do."""

_STATES: Final = {
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.UNLOADING: "UNLOADING",
    State.UNLOADED: "UNAVAILABLE",
    State.DRAINING: "UNLOADING",
}


def server_metadata(release: str, *, has_repository: bool = False) -> dict[str, Any]:
    """Name, version and extensions of the server."""
    extensions = (*EXTENSIONS, *(REPOSITORY_EXTENSIONS if has_repository else ()))
    return {"name": SERVER, "version": release, "extensions": list(extensions)}


def model_metadata(dataplane: DataPlane) -> dict[str, Any]:
    """The model's inputs and outputs, and what its file says of itself.

    `properties` is the protocol's own, in its gRPC and OpenAPI descriptions; Triton has none.

    Raises:
        ModelNotReady: it is not loaded yet.
    """
    model = dataplane.using()
    digest = {DIGEST: model.origin.digest} if model.origin.digest else {}
    return {
        "name": dataplane.config.name,
        "versions": [dataplane.version],
        "platform": PLATFORM,
        **model.signature.described(),
        "properties": {**model.properties, **digest},
    }


def provenance(model: LoadedModel) -> dict[str, Any]:
    """Where the model comes from, by the word of its file."""
    made = model.conversion
    told = {"format": "ONNX", "framework": model.properties.get("onnx.producer_name")}
    if made is None:
        return {**told, "conversion": None, "properties": {**model.properties}}
    return {
        "format": _short(made.format),
        "framework": _short(made.framework),
        "conversion": {
            "sourceDigest": _short(made.source_digest),
            "converter": _short(made.converter),
            "parity": {
                "rows": made.rows,
                "tolerance": made.tolerance,
                "labelsAgree": made.labels_agree,
            },
        },
        "properties": {**model.properties},
    }


def _short(text: str) -> str:
    return printable(text, MAX_VALUE_CHARACTERS)


def model_config(dataplane: DataPlane) -> dict[str, Any]:
    """The model as Triton would configure it; the batch dimension stands among `dims`.

    Raises:
        ModelNotReady: it is not loaded yet.
    """
    signature = dataplane.signature
    return {
        "name": dataplane.config.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": 0,
        "input": [_configured(spec) for spec in signature.inputs],
        "output": [_configured(spec) for spec in signature.outputs],
    }


def _configured(spec: TensorSpec) -> dict[str, Any]:
    word = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{word}", "dims": list(spec.shape)}


def repository_index(
    dataplane: DataPlane, *, only_ready: bool, reason: str = ""
) -> list[dict[str, str]]:
    """The one model of this server, its state, and why the last attempt to load it failed."""
    if only_ready and dataplane.state is not State.READY:
        return []
    return [
        {
            "name": dataplane.config.name,
            "version": dataplane.version,
            "state": _STATES[dataplane.state],
            "reason": reason or ("unloaded" if dataplane.state is State.UNLOADED else ""),
        }
    ]


def model_statistics(dataplane: DataPlane, metrics: Metrics) -> dict[str, Any]:
    """What the metrics count, in Triton's words.

    The model's own work is `compute_infer`; decoding and encoding are not measured apart.
    """
    requests = _Requests(metrics)
    queue, compute = _histogram(metrics, "queue"), _histogram(metrics, "execution")
    return {
        "name": dataplane.config.name,
        "version": dataplane.version,
        "last_inference": int(metrics.last_success_s * 1000),
        "inference_count": int(_sum(metrics, "slipway_batch_size_sum")),
        "execution_count": int(_sum(metrics, "slipway_batch_size_count")),
        "inference_stats": {
            "success": {"count": requests.good, "ns": requests.good_ns},
            "fail": {"count": requests.bad, "ns": requests.bad_ns},
            "queue": queue,
            "compute_input": _NOTHING,
            "compute_infer": compute,
            "compute_output": _NOTHING,
            "cache_hit": _NOTHING,
            "cache_miss": _NOTHING,
        },
        "response_stats": {},
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _NOTHING,
                "compute_infer": {"count": int(count), "ns": int(seconds * 1e9)},
                "compute_output": _NOTHING,
            }
            for rows, (count, seconds) in sorted(metrics.runs.items())
        ],
        "memory_usage": [],
    }


_NOTHING: Final = {"count": 0, "ns": 0}


class _Requests:
    """Requests by outcome, and their time, which is only known in sum."""

    def __init__(self, metrics: Metrics) -> None:
        total = int(_sum(metrics, "slipway_requests_total"))
        self.good: Final = int(_sum(metrics, "slipway_requests_total", code="200"))
        self.bad: Final = total - self.good
        spent_ns = int(_sum(metrics, "slipway_request_duration_seconds_sum") * 1e9)
        self.good_ns: Final = spent_ns * self.good // total if total else 0
        self.bad_ns: Final = spent_ns - self.good_ns


def _histogram(metrics: Metrics, stage: str) -> dict[str, int]:
    name = f"slipway_{stage}_duration_seconds"
    return {
        "count": int(_sum(metrics, f"{name}_count")),
        "ns": int(_sum(metrics, f"{name}_sum") * 1e9),
    }


def _sum(metrics: Metrics, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
