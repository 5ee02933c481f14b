"""What every exported graph goes through: names, checks, metadata, and bytes that repeat.

Lives here: ONNX, and nothing of where the graph comes from.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import onnx

from slipway_runtime.convert.canonical import canonical
from slipway_runtime.convert.original import Original
from slipway_runtime.errors import ConversionMismatch, InvalidModel, Unsupported, clipped
from slipway_runtime.provenance import CONVERSION, Conversion
from slipway_runtime.vocabulary import Format

_MAX_PROTOBUF_BYTES: Final = 2**31 - 1
_EXPORTERS: Final[dict[Format, tuple[str, ...]]] = {
    "Sklearn": ("skl2onnx", "scikit-learn"),
    "XGBoost": ("onnxmltools", "xgboost-cpu", "xgboost"),
    "LightGBM": ("onnxmltools", "lightgbm"),
    "Keras": ("keras", "tf2onnx", "tensorflow-cpu", "tensorflow"),
    "TensorFlow": ("tf2onnx", "tensorflow-cpu", "tensorflow"),
    "TFLite": ("tf2onnx", "tensorflow-cpu", "tensorflow"),
    "PMML": ("sklearn-pmml-model", "skl2onnx", "scikit-learn"),
}


def finished(proto: Any, original: Original) -> Any:
    """Name inputs and outputs, drop what differs between two runs, and check.

    Raises:
        InvalidModel: it breaks the rules of ONNX, or its shapes contradict each other.
        ConversionMismatch: it has other inputs or outputs than the original.
    """
    initial = {each.name for each in proto.graph.initializer}
    inputs = [each for each in proto.graph.input if each.name not in initial]
    _rename(proto.graph, inputs, [column.name for column in original.inputs], "input")
    _rename(proto.graph, proto.graph.output, list(original.outputs), "output")
    canonical(proto.graph)
    proto.graph.name = "model"  # some exporters put a random number here
    proto.graph.doc_string = proto.doc_string = ""
    _free_batch(proto.graph, original)
    _check(proto)
    return proto


def write(proto: Any, claim: Conversion | None, target: Path) -> None:
    """Write a model with what it says of itself: the same model is always the same bytes."""
    if claim is not None:
        del proto.metadata_props[:]
        onnx.helper.set_model_props(proto, {CONVERSION: claim.model_dump_json(by_alias=True)})
    if proto.ByteSize() > _MAX_PROTOBUF_BYTES:
        raise Unsupported("model: 2 GiB or more as ONNX, expected less: one file holds no more")
    target.write_bytes(proto.SerializeToString(deterministic=True))


def versions(*formats: Format) -> str:
    """Names and versions of the libraries that write the graph of these formats, with our own."""
    found = []
    exporters = (name for format_ in formats for name in _EXPORTERS.get(format_, ()))
    for name in dict.fromkeys(("slipway", *exporters, "onnx")):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _rename(graph: Any, tensors: Any, wanted: list[str], kind: str) -> None:
    if len(tensors) != len(wanted):
        raise ConversionMismatch(
            f"model: the converted model has {len(tensors)} {kind}s, expected {len(wanted)}"
        )
    if {tensor.name for tensor in tensors} == set(wanted):
        return  # another order is no matter: tensors are asked for by name
    renamed = {t.name: name for t, name in zip(tensors, wanted, strict=True) if t.name != name}
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    for new in taken.intersection(renamed.values()) - set(renamed):
        renamed[new] = f"{new}_inner"  # the name is one of ours now
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for each in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        each.name = renamed.get(each.name, each.name)


def _free_batch(graph: Any, original: Original) -> None:
    """Name the free first dimension alike everywhere: exporters call it N, unk__12 or nothing."""
    columns = {column.name: column for column in original.inputs}
    has_batch = all(c.shape and c.shape[0] == -1 for c in columns.values())
    for each in (*graph.input, *graph.output):
        sizes = each.type.tensor_type.shape.dim
        if has_batch and len(sizes) and not sizes[0].dim_value:
            sizes[0].dim_param = "batch"
        for place, size in enumerate(sizes):
            if place and not size.HasField("dim_value"):
                size.dim_param = f"{each.name}_{place}"


def _check(proto: Any) -> None:
    try:
        onnx.checker.check_model(proto)
        onnx.shape_inference.infer_shapes(proto, check_type=True)
    except Exception as err:  # the checker's own errors, and whatever its C++ raises
        reason = clipped(" ".join(str(err).split()), 400)
        raise InvalidModel(
            f"model: the converted model breaks the rules of ONNX ({reason})"
        ) from err
