"""Two graphs that differ in order and names alone are one file in their form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from slipway_runtime.convert.canonical import canonical


def graph(names: Sequence[str], order: Sequence[int], *, inner: str = "b") -> Any:
    """Compute y = If(x > 0, then w + x, else x - w), in any order and with any inner names."""
    positive, zero, chosen, weight = names
    value = helper.make_tensor_value_info(f"{inner}_out", TensorProto.FLOAT, [1])
    branches: dict[str, Any] = {
        branch: helper.make_graph(
            [helper.make_node(op, ["x", weight], [f"{inner}_out"])], inner, [], [value]
        )
        for branch, op in (("then_branch", "Add"), ("else_branch", "Sub"))
    }
    nodes = [
        helper.make_node("Greater", ["x", zero], [positive], name=f"n_{positive}"),
        helper.make_node("If", [positive], [chosen], **branches),
        helper.make_node("Neg", [chosen], ["y"]),
        helper.make_node("Abs", ["x"], ["nobody_needs_it"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros(1, np.float32), zero),
        numpy_helper.from_array(np.full(1, 3, np.float32), weight),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "y")]
    made = helper.make_graph([nodes[i] for i in order], "g", ends[:1], ends[1:], constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture
def plain() -> Any:
    return graph(("p", "z", "c", "w"), (0, 1, 2, 3))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(graph(("p", "z", "c", "w"), (3, 0, 1, 2)), id="another order"),
        pytest.param(graph(("w", "c", "z", "p"), (0, 1, 2, 3)), id="names exchanged"),
        pytest.param(graph(("p", "z", "c", "w"), (0, 1, 2), inner="q"), id="inner names"),
    ],
)
def test_the_form_is_the_same(plain: Any, other: Any) -> None:
    for model in (plain, other):
        canonical(model.graph)
    assert plain.SerializeToString(deterministic=True) == other.SerializeToString(
        deterministic=True
    )


def test_the_model_is_still_a_model_with_its_names(plain: Any) -> None:
    canonical(plain.graph)
    onnx.checker.check_model(plain, full_check=True)
    assert [each.name for each in plain.graph.input] == ["x"]
    assert [each.name for each in plain.graph.output] == ["y"]
    assert [node.op_type for node in plain.graph.node] == ["Greater", "If", "Neg"]


def test_it_answers_as_before(plain: Any) -> None:
    rows = [{"x": np.array([value], np.float32)} for value in (2, -2)]
    before = [onnx.reference.ReferenceEvaluator(plain).run(None, feeds) for feeds in rows]
    canonical(plain.graph)
    after = [onnx.reference.ReferenceEvaluator(plain).run(None, feeds) for feeds in rows]
    assert before == after == [[np.array([-5], np.float32)], [np.array([5], np.float32)]]
