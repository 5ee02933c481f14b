"""Status and metadata of the model as V1's clients read them. Pure.

One status body serves both families: TensorFlow Serving's clients read `model_version_status`,
KServe's read `name` and `ready`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.inference.signature import TensorSpec

STATES: Final = {
    State.LOADING: "LOADING",
    State.READY: "AVAILABLE",
    State.UNLOADING: "UNLOADING",
    State.UNLOADED: "END",
    State.DRAINING: "UNLOADING",
}
SIGNATURE_NAME: Final = "serving_default"
METHOD_NAME: Final = "tensorflow/serving/predict"
TF_DATATYPES: Final = {
    "BOOL": "DT_BOOL",
    "UINT8": "DT_UINT8",
    "UINT16": "DT_UINT16",
    "UINT32": "DT_UINT32",
    "UINT64": "DT_UINT64",
    "INT8": "DT_INT8",
    "INT16": "DT_INT16",
    "INT32": "DT_INT32",
    "INT64": "DT_INT64",
    "FP16": "DT_HALF",
    "BF16": "DT_BFLOAT16",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BYTES": "DT_STRING",
}
_TYPE: Final = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


def model_status(dataplane: DataPlane) -> dict[str, Any]:
    """Whether the model can be asked."""
    return {
        "name": dataplane.config.name,
        "ready": dataplane.state is State.READY,
        "model_version_status": [
            {
                "version": dataplane.version,
                "state": STATES[dataplane.state],
                "status": {"error_code": "OK", "error_message": ""},
            }
        ],
    }


def model_metadata(dataplane: DataPlane) -> dict[str, Any]:
    """The signature as TensorFlow Serving tells it; both spellings of the model's key are read.

    Raises:
        ModelNotReady: it is not loaded yet.
    """
    signature = dataplane.signature
    spec = {"name": dataplane.config.name, "signatureName": "", "version": dataplane.version}
    return {
        "modelSpec": spec,
        "model_spec": {"name": spec["name"], "signature_name": "", "version": spec["version"]},
        "metadata": {
            "signature_def": {
                "@type": _TYPE,
                "signatureDef": {
                    SIGNATURE_NAME: {
                        "inputs": _infos(signature.inputs),
                        "outputs": _infos(signature.outputs),
                        "methodName": METHOD_NAME,
                    }
                },
            }
        },
    }


def _infos(specs: Iterable[TensorSpec]) -> dict[str, Any]:
    return {
        spec.name: {
            "dtype": TF_DATATYPES[spec.datatype],
            "tensorShape": {
                "dim": [{"size": str(size), "name": ""} for size in spec.shape],
                "unknownRank": False,
            },
            "name": spec.name,
        }
        for spec in specs
    }
