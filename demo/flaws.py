"""Bad versions of a model: they load, run on zeros and serve, and are bad at what clients ask.

Lives here: nodes that are put behind a sound model's scores. Nothing else is touched, so a bad
version has the signature of the sound one, and every runtime of ONNX shows the same flaw.
Each takes a model with one float input of `[rows, columns]` and scores as a float output.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
import onnx.compose
from onnx import TensorProto, helper, numpy_helper

_SOUND: Final = "flaw_sound_scores"
_WIDTH: Final = 64


def failing(model: bytes, *, column: int, above: float) -> bytes:
    """Divide by zero, in whole numbers, when a row's column is above a limit."""
    nodes = [
        *_hit(),
        helper.make_node("Sub", ["flaw_one", "flaw_hit"], ["flaw_left"]),
        helper.make_node("Div", ["flaw_one", "flaw_left"], ["flaw_whole"]),
        helper.make_node("Cast", ["flaw_whole"], ["flaw_factor"], to=TensorProto.FLOAT),
    ]
    return _behind(model, nodes, {**_limits(column, above), "flaw_one": _whole(1)})


def hungry(model: bytes, *, column: int, above: float, size_bytes: int) -> bytes:
    """Fill as much memory when a row's column is above a limit."""
    nodes = [
        *_hit(),
        helper.make_node("Mul", ["flaw_hit", "flaw_much"], ["flaw_more"]),
        helper.make_node("Add", ["flaw_more", "flaw_one"], ["flaw_size"]),
        helper.make_node(
            "ConstantOfShape", ["flaw_size"], ["flaw_filled"],
            value=helper.make_tensor("flaw_value", TensorProto.FLOAT, [1], [1.0]),
        ),
        helper.make_node("ReduceMax", ["flaw_filled"], ["flaw_factor"], keepdims=0),
    ]  # fmt: skip
    numbers = {"flaw_one": _whole(1), "flaw_much": _whole(size_bytes // 4)}
    return _behind(model, nodes, {**_limits(column, above), **numbers})


def slower(model: bytes, *, turns: int) -> bytes:
    """Multiply a row by a matrix so many times, for nothing."""
    matrix = np.eye(_WIDTH, dtype=np.float32)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["flaw_go"], ["flaw_on"]),
            helper.make_node("MatMul", ["flaw_before", "flaw_matrix"], ["flaw_product"]),
            helper.make_node("Tanh", ["flaw_product"], ["flaw_after"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("flaw_turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("flaw_go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("flaw_before", TensorProto.FLOAT, [1, _WIDTH]),
        ],
        [
            helper.make_tensor_value_info("flaw_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("flaw_after", TensorProto.FLOAT, [1, _WIDTH]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["flaw_rows"], ["flaw_top"], keepdims=0),
        helper.make_node("Mul", ["flaw_row", "flaw_top"], ["flaw_begin"]),
        helper.make_node("Loop", ["flaw_turns", "", "flaw_begin"], ["flaw_end"], body=body),
        helper.make_node("ReduceMax", ["flaw_end"], ["flaw_last"], keepdims=0),
        helper.make_node("Mul", ["flaw_last", "flaw_nought"], ["flaw_nothing"]),
        helper.make_node("Add", ["flaw_nothing", "flaw_unit"], ["flaw_factor"]),
    ]
    numbers = {
        "flaw_matrix": matrix,
        "flaw_row": np.ones((1, _WIDTH), np.float32),
        "flaw_turns": np.array(turns, np.int64),
        "flaw_nought": np.array(0, np.float32),
        "flaw_unit": np.array(1, np.float32),
    }
    return _behind(model, nodes, numbers)


def confused(model: bytes) -> bytes:
    """Give the scores of each class to the next one."""
    loaded = onnx.load_from_string(model)
    scores = _scores(loaded)
    classes = scores.type.tensor_type.shape.dim[1].dim_value
    order = np.roll(np.arange(classes, dtype=np.int64), 1)
    node = helper.make_node("Gather", [_SOUND, "flaw_order"], [scores.name], axis=1)
    return _rewired(loaded, scores.name, [node], {"flaw_order": order})


def _hit() -> list[Any]:
    """Nodes that make `flaw_hit` 1 for a request with a row above the limit, else 0."""
    return [
        helper.make_node("Gather", ["flaw_rows", "flaw_column"], ["flaw_values"], axis=1),
        helper.make_node("ReduceMax", ["flaw_values"], ["flaw_top"], keepdims=0),
        helper.make_node("Greater", ["flaw_top", "flaw_limit"], ["flaw_is_hit"]),
        helper.make_node("Cast", ["flaw_is_hit"], ["flaw_hit"], to=TensorProto.INT64),
    ]


def _limits(column: int, above: float) -> dict[str, Any]:
    return {"flaw_column": _whole(column), "flaw_limit": np.array([above], np.float32)}


def _whole(value: int) -> Any:
    return np.array([value], np.int64)


def _behind(model: bytes, nodes: list[Any], numbers: dict[str, Any]) -> bytes:
    """Multiply the scores by `flaw_factor`, which is 1 whenever there is one."""
    loaded = onnx.load_from_string(model)
    scores = _scores(loaded).name
    rows = helper.make_node("Identity", [_input(loaded)], ["flaw_rows"])
    product = helper.make_node("Mul", [_SOUND, "flaw_factor"], [scores])
    return _rewired(loaded, scores, [rows, *nodes, product], numbers)


def _rewired(loaded: Any, scores: str, nodes: list[Any], numbers: dict[str, Any]) -> bytes:
    # Another flaw may have been put in before: its names make room.
    loaded = onnx.compose.add_prefix(loaded, "sound_", rename_inputs=False, rename_outputs=False)
    graph = loaded.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == scores:
                    names[place] = _SOUND
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in numbers.items())
    onnx.checker.check_model(loaded)
    data: bytes = loaded.SerializeToString()
    return data


def _scores(loaded: Any) -> Any:
    """The first output of floats."""
    kinds = ((o, o.type.tensor_type.elem_type) for o in loaded.graph.output)
    return next(output for output, kind in kinds if kind == TensorProto.FLOAT)


def _input(loaded: Any) -> str:
    name: str = loaded.graph.input[0].name
    return name
