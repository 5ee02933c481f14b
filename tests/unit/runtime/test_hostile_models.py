"""The hostile model files of the project's list (C1 to C28), as far as loading and serving goes.

Every file goes two ways: through the supply step's look into it, which must refuse it by name, and
straight into `serve`, as on a laptop, which must end with exit code 10 or serve on. The others are
where their code is; `tests/unit/repository/test_hostile_cases.py` counts all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from slipway_runtime.errors import InvalidModel, SupplyError, Unsupported
from slipway_runtime.supply.validate import inspected
from tests.unit.runtime import models
from tests.unit.runtime.hostile import asked, bomb, echo, echoes, request
from tests.unit.runtime.processes import infer_body, runtime, serving


def with_external(path: Path, location: str, **entries: int) -> None:
    model = models.external(location)
    for key, value in entries.items():
        entry = model.graph.initializer[0].external_data.add()
        entry.key, entry.value = key, str(value)
    path.write_bytes(model.SerializeToString())


def linked(path: Path, link: Callable[[Path, Path], None]) -> None:
    """Weights that are a link to a file outside the model's folder."""
    outside = path.parent.parent / f"outside-{path.parent.name}"
    outside.write_bytes(b"\x00" * 48)
    link(outside, path.parent / "weights")
    with_external(path, "weights")


def node(op: str, **attributes: Any) -> Any:
    return models.model_of(
        [helper.make_node(op, ["x"], ["y"], **attributes)],
        [models.tensor("x", "FP32", ["n"])],
        [models.tensor("y", "FP32", ["n"])],
    )


def of_opset(version: int) -> Any:
    model = node("Relu")
    model.opset_import[0].version = version
    return model


def of_ir(version: int) -> Any:
    model = node("Relu")
    model.ir_version = version
    return model


def with_dimensions(*dims: int) -> Any:
    model = models.affine()
    weight = model.graph.initializer[0]
    del weight.dims[:]
    weight.dims.extend(dims)
    weight.raw_data = b"\x00" * 16
    return model


def cyclic() -> Any:
    return models.model_of(
        [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])],
        [models.tensor("x", "FP32", ["n"])],
        [models.tensor("b", "FP32", ["n"])],
    )


def without_outputs() -> Any:
    model = node("Relu")
    del model.graph.output[:]
    return model


def saved(model: Any) -> Callable[[Path], None]:
    return raw(model.SerializeToString())


def raw(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def external(location: str, **entries: int) -> Callable[[Path], None]:
    return lambda path: with_external(path, location, **entries)


def beside(**entries: int) -> Callable[[Path], None]:
    """Weights in a file of 48 bytes that is there."""

    def write(path: Path) -> None:
        (path.parent / "weights").write_bytes(b"\x00" * 48)
        with_external(path, "weights", **entries)

    return write


FILES = [
    ("C1 empty", raw(b""), InvalidModel, "empty"),
    ("C2 truncated", raw(models.affine().SerializeToString()[:-20]), InvalidModel, "model: "),
    ("C2 random", raw(bytes(range(256)) * 8), InvalidModel, "expected an ONNX model"),
    ("C2 text", raw(b"hello, world\n" * 9), InvalidModel, "expected an ONNX model"),
    ("C2 HTML", raw(b"<!DOCTYPE html><html>"), InvalidModel, "an HTML or XML document"),
    ("C2 JSON", raw(b'{"error": "AccessDenied"}'), InvalidModel, "a JSON document"),
    ("C18 a pickle", raw(b"\x80\x04\x95" + b"x" * 99), InvalidModel, "a Python pickle"),
    ("C25 a pointer", raw(b"version https://git-lfs.github.com/spec/v1\n"), InvalidModel, "LFS"),
    ("C3 opset 99", saved(of_opset(99)), InvalidModel, "99"),
    ("C3 IR 99", saved(of_ir(99)), InvalidModel, "99"),
    ("C4 an unknown operator", saved(node("Frobnicate")), InvalidModel, "Frobnicate"),
    ("C4 a custom domain", saved(node("Relu", domain="evil")), InvalidModel, "evil"),
    ("C5 ../", external("../secret"), InvalidModel, "outside of its folder"),
    ("C5 a/../../", external("a/../../secret"), InvalidModel, "outside of its folder"),
    ("C5 absolute", external("/etc/passwd"), InvalidModel, "outside of its folder"),
    ("C5 /dev/zero", external("/dev/zero"), InvalidModel, "outside of its folder"),
    (
        "C5 /proc/self/environ",
        external("/proc/self/environ"),
        InvalidModel,
        "outside of its folder",
    ),
    (
        "C5 a symbolic link",
        lambda path: linked(path, lambda target, link: link.symlink_to(target)),
        InvalidModel,
        "in a link or no file",
    ),
    ("C7 a missing file", external("weights"), Unsupported, "not beside the model"),
    ("C7 a negative offset", beside(offset=-1), InvalidModel, "in bytes -1 to"),
    ("C7 an offset of 2^63-8", beside(offset=2**63 - 8), InvalidModel, "of a file of 48"),
    ("C7 a length of 2^40", beside(length=2**40), InvalidModel, "of a file of 48"),
    ("C7 an overrun", beside(offset=16, length=48), InvalidModel, "16 to 64 of a file of 48"),
    ("C7 too short", beside(length=4), InvalidModel, "model: "),
    (
        "C7 a marker for memory",
        external("*/_ORT_MEM_ADDR_/*", offset=4096, length=48),
        InvalidModel,
        "where no file can be",
    ),
    ("C8 a dimension of -1", saved(with_dimensions(-1, 3)), InvalidModel, "model: "),
    ("C8 2^31 by 2^31", saved(with_dimensions(2**31, 2**31)), InvalidModel, "model: "),
    ("C10 cyclic", saved(cyclic()), InvalidModel, "model: "),
    ("C10 no outputs", saved(without_outputs()), InvalidModel, "model: "),
    ("C11 a map", saved(models.mapped()), Unsupported, "map(string,tensor(float))"),
    ("C11 a sequence", saved(models.sequence()), Unsupported, "seq(tensor(float))"),
]


def written(folder: Path, write: Callable[[Path], None]) -> Path:
    folder = folder / "model"
    folder.mkdir()
    path = folder / "model.onnx"
    write(path)
    return path


@pytest.mark.parametrize(
    ("write", "kind", "message"), [pytest.param(*row[1:], id=row[0]) for row in FILES]
)
def test_the_supply_step_refuses_it_by_name(
    tmp_path: Path, write: Callable[[Path], None], kind: type[SupplyError], message: str
) -> None:
    with pytest.raises(kind) as refusal:
        inspected(written(tmp_path, write))
    assert message in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)
    assert "root:" not in str(refusal.value)


@pytest.mark.parametrize("write", [pytest.param(row[1], id=row[0]) for row in FILES])
def test_serving_ends_with_a_reason(tmp_path: Path, write: Callable[[Path], None]) -> None:
    done = runtime("serve", written(tmp_path, write), http_port=0, admin_port=0, grpc_port=0)
    assert done.returncode == 10, done.stderr
    refused = json.loads(done.stderr.splitlines()[-1])
    assert (refused["level"], refused["message"]) == ("ERROR", "refused")
    assert refused["reason"] in ("InvalidModel", "Unsupported")
    assert "Traceback" not in done.stderr
    assert "root:" not in done.stderr


def test_c6_weights_in_a_hard_link_are_refused_by_the_supply_step(tmp_path: Path) -> None:
    """ONNX Runtime would load them; what was fetched has no links."""
    path = written(tmp_path, lambda path: linked(path, os.link))
    with pytest.raises(InvalidModel, match="in a link or no file"):
        inspected(path)


def nested(depth: int) -> Any:
    """An If in an If in an If."""
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["leaf"])],
        "leaf",
        [],
        [models.tensor("leaf", "FP32", [1])],
    )
    for level in range(depth):
        out = f"o{level}"
        branch = helper.make_node(
            "If", ["yes"], [out], then_branch=inner, else_branch=inner, name=f"if{level}"
        )
        inner = helper.make_graph([branch], f"g{level}", [], [models.tensor(out, "FP32", [1])])
    top = inner.node[0]
    return models.model_of(
        [top],
        [models.tensor("x", "FP32", [1])],
        [models.tensor(top.output[0], "FP32", [1])],
        [numpy_helper.from_array(np.array(True), "yes")],
    )


@pytest.mark.parametrize("depth", [3, 8])
def test_c10_nested_graphs_are_served(tmp_path: Path, depth: int) -> None:
    session, _ = inspected(models.saved(nested(depth), tmp_path / "model.onnx"))
    assert session.signature.outputs[0].shape == (1,)


def test_c9_a_bomb_that_loads_ends_its_own_request_only(tmp_path: Path) -> None:
    with serving(models.saved(bomb(), tmp_path / "digits.onnx")) as server:
        server.wait_for("ready")
        for size, status in ((2**37, 500), (3, 200), (2**40, 500), (4, 200)):
            text = json.dumps(infer_body("n", "INT64", [1], [size])).encode()
            reply = asked(server, request(body=text))
            assert reply.status == status, reply
        assert httpx.get(f"{server.admin}/readyz", trust_env=False).status_code == 200


HOSTILE_NAME = 'вход\n"'


def test_b60_names_that_need_escaping_are_escaped(tmp_path: Path) -> None:
    model = models.model_of(
        [helper.make_node("Softmax", [HOSTILE_NAME], ['a"\\\n{}'], axis=1)],
        [models.tensor(HOSTILE_NAME, "FP32", ["n", 3])],
        [models.tensor('a"\\\n{}', "FP32", ["n", 3])],
    )
    with serving(models.saved(model, tmp_path / "digits.onnx")) as server:
        server.wait_for("ready")
        assert asked(server, request("GET", "/v2/models/digits")).document["inputs"][0] == {
            "name": HOSTILE_NAME,
            "datatype": "FP32",
            "shape": [-1, 3],
        }
        text = json.dumps(infer_body(HOSTILE_NAME, "FP32", [1, 3], [0, 9, 0])).encode()
        reply = asked(server, request(body=text))
        assert reply.document["outputs"][0]["name"] == 'a"\\\n{}'
        metrics = httpx.get(f"{server.admin}/metrics", trust_env=False).text
        assert 'slipway_output_total{bucket="1",model="digits",output="a\\"\\\\\\n{}"' in metrics


def test_b60_a_model_of_every_datatype_is_served(tmp_path: Path) -> None:
    with serving(models.saved(echoes(), tmp_path / "digits.onnx")) as server:
        server.wait_for("ready")
        assert asked(server, request(body=echo())).status == 200


def test_a_model_that_breaks_warm_up_only_is_told(tmp_path: Path) -> None:
    """Zeros with a batch of 1 are a request that it has to answer."""
    model = models.model_of(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [models.tensor("x", "FP32", ["n", 4])],
        [models.tensor("y", "FP32", ["m", 3])],
        [numpy_helper.from_array(np.array([-1, 3], np.int64), "shape")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(model, str(path))
    done = runtime("serve", path, http_port=0, admin_port=0, grpc_port=0)
    assert done.returncode == 10
    assert "warm-up on zeros failed" in done.stderr
