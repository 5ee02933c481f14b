"""Give classifiers tensors to answer with, where their exporter has put a ZipMap at the end.

skl2onnx, onnxmltools and CatBoost do so unless they are told not to: the scores become a sequence
of maps, which no protocol has. The tensor that goes into the ZipMap takes the output's name, and
the classes that were the maps' keys stand in the file's metadata.

Lives here: the change of a parsed graph. Stays out: files, and when it is done (`process.py`,
`supply/validate.py`). Imports no onnx, as everything it does is setting fields.
"""

from __future__ import annotations

import json
from typing import Any, Final

from slipway_runtime.provenance import CLASSES, MAX_TOLD_CHARACTERS

_ML: Final = "ai.onnx.ml"
_FLOAT: Final = 1
"""TensorProto.FLOAT, the only type that goes into a ZipMap."""
_OPSET: Final = 13
"""For a model that imports `ai.onnx.ml` alone, as CatBoost's do; pipelines need the same."""


def flatten(model: Any) -> bool:
    """Take away each ZipMap whose maps are an output of the model, and nothing else.

    Returns:
        Whether there was one.
    """
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    made = {node.output[0]: node for node in graph.node if _is_zipmap(node)}
    found = [value for value in graph.output if value.name in made.keys() - read]
    for value in found:
        _flatten(model, made[value.name], value)
    return bool(found)


def _is_zipmap(node: Any) -> bool:
    return node.op_type == "ZipMap" and node.domain == _ML and len(node.output) == 1


def _flatten(model: Any, node: Any, output: Any) -> None:
    classes = _classes(node)
    rank = _rank(model.graph, node.input[0]) if node.input else None
    node.op_type, node.domain = "Identity", ""
    del node.attribute[:]
    if not any(used.domain in ("", "ai.onnx") for used in model.opset_import):
        model.opset_import.add(domain="", version=_OPSET)
    output.type.Clear()
    tensor = output.type.tensor_type
    tensor.elem_type = _FLOAT
    if rank != 1:
        tensor.shape.dim.add()
    tensor.shape.dim.add(**({"dim_value": len(classes)} if classes else {}))
    _remember(model, f"{CLASSES}{output.name}", _told(classes))


def _classes(node: Any) -> list[str] | list[int]:
    """The keys of the maps: names, or else numbers."""
    found = {attribute.name: attribute for attribute in node.attribute}
    names = found.get("classlabels_strings")
    if names and names.strings:
        return [name.decode("utf-8", "replace") for name in names.strings]
    numbers = found.get("classlabels_int64s")
    return list(numbers.ints) if numbers else []


def _rank(graph: Any, name: str) -> int | None:
    """How many dimensions a value has; None where the file does not say."""
    for value in (*graph.value_info, *graph.input):
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return len(value.type.tensor_type.shape.dim)
    return None


def _told(classes: list[str] | list[int]) -> str:
    """A JSON list of as many of the first classes as fit."""
    words: list[str] = []
    room = MAX_TOLD_CHARACTERS
    for name in classes:
        word = json.dumps(name, ensure_ascii=False)
        room -= len(word) + 2
        if room < 0:
            break
        words.append(word)
    return f"[{', '.join(words)}]"


def _remember(model: Any, key: str, value: str) -> None:
    kept = [prop for prop in model.metadata_props if prop.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=key, value=value)
