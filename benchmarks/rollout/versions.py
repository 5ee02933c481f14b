"""The versions that are rolled out: a sound classifier, and bad ones whose flaws are in the model.

Nothing in the runtime knows of them. Which requests a bad one fails is decided by the first number
of a row; clients send all of 0 to 1 alike, so a limit is a share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from demo import flaws

COLUMNS: Final = 64
_CLASSES: Final = 10
_TURNS: Final = 2000
"""About 4 ms of computing on one core, so that five times as much can be seen from outside."""
_HUNGER_BYTES: Final = 2 << 30
"""Four times what a pod may have."""


def sound(seed: int) -> bytes:
    """A classifier of ten classes; two seeds differ by what retraining would change."""
    weights = np.random.default_rng(1).standard_normal((COLUMNS, _CLASSES))
    weights += 0.01 * np.random.default_rng(seed).standard_normal(weights.shape)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["scores"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", COLUMNS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", _CLASSES])],
        [numpy_helper.from_array(weights.astype(np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def samples(count: int = 20) -> list[dict[str, Any]]:
    """Requests that a candidate is tried with."""
    rows = np.random.default_rng(2).random((count, 1, COLUMNS), np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, COLUMNS]}
    return [{"inputs": [{**tensor, "data": row.ravel().tolist()}]} for row in rows]


def _at_work(seed: int, turns: int = _TURNS) -> bytes:
    return flaws.slower(sound(seed), turns=turns)


def _failing(seed: int, share: float) -> bytes:
    return flaws.slower(flaws.failing(sound(seed), column=0, above=1 - share), turns=_TURNS)


def _hungry(seed: int, share: float) -> bytes:
    return flaws.hungry(sound(seed), column=0, above=1 - share, size_bytes=_HUNGER_BYTES)


VERSIONS: Final[Mapping[str, Callable[[], bytes]]] = MappingProxyType(
    {
        "v1": lambda: _at_work(10),
        "v2": lambda: _at_work(11),
        "v3": lambda: _at_work(12),
        "fails-20": lambda: _failing(13, 0.2),
        "fails-50": lambda: _failing(14, 0.5),
        "slow": lambda: _at_work(15, 5 * _TURNS),
        "crashes": lambda: _hungry(16, 0.05),
        "wrong": lambda: flaws.slower(flaws.confused(sound(10)), turns=_TURNS),
    }
)
"""By the name that is also the label in `spec.model.version`."""
