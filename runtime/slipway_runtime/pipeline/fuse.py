"""Make one model of a pipeline and a model.

Lives here: which step goes to which function, the check that all of it fits together, and where
the parts are joined. Every message names the step: `pipeline.preprocess[2].normalize: …`.
Stays out: what a step computes, files, and what is done before the graph begins: images' own bytes
(`pictures.py`) and texts (`texts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import onnx
from onnx import compose, helper, version_converter

from slipway_runtime.errors import shown
from slipway_runtime.pipeline import answers, image, table, tensors
from slipway_runtime.pipeline import spec as s
from slipway_runtime.pipeline.ahead import after_pictures, picture_shape
from slipway_runtime.pipeline.answers import Outputs
from slipway_runtime.pipeline.graph import DATATYPES, ML, ONNX_TYPES, Graph, Misfit, Value
from slipway_runtime.pipeline.table import Table
from slipway_runtime.pipeline.texts import check_inputs, tokenize_step

IMAGE: Final = "image"
"""The input of a model that takes pictures."""
_BASE_OPSET: Final = 13
"""The first whose Softmax, Squeeze and friends are today's."""
_MODEL: Final = "model/"

_TENSOR_STEPS: Final[dict[type, Callable[[Graph, Value, Any], Value]]] = {
    s.Resize: image.resize,
    s.CenterCrop: image.center_crop,
    s.ChannelOrder: image.channel_order,
    s.Transpose: image.transpose,
    s.Scale: tensors.scale,
    s.Normalize: tensors.normalize,
    s.Cast: tensors.cast,
}
_TABLE_STEPS: Final[dict[type, Callable[[Graph, Table, Any], None]]] = {
    s.Impute: table.impute,
    s.OneHot: table.one_hot,
    s.Standardize: table.standardize,
}
_ANSWER_STEPS: Final[dict[type, Callable[[Graph, Outputs, Any], Outputs]]] = {
    s.Softmax: answers.softmax,
    s.Sigmoid: answers.sigmoid,
    s.Argmax: answers.argmax,
    s.TopK: answers.top_k,
    s.Threshold: answers.threshold,
    s.Labels: answers.labels,
}


def fused(model: onnx.ModelProto, pipeline: s.Pipeline) -> onnx.ModelProto:
    """Join a pipeline to a model; the model is changed on the way and must not be used again.

    Raises:
        Misfit: a step does not go with what comes before it, or with the model.
    """
    model = _of_opset(model, _needed_opset(pipeline))
    imported = {used.domain: used.version for used in model.opset_import}
    opset, ml_opset = imported[""], imported.get(ML, 3)
    inputs, outputs = inputs_of(model.graph), {v.name: _value(v) for v in model.graph.output}
    before = Graph("before", opset, ml_opset)
    sent, fed = _before(before, pipeline, inputs)
    after = Graph("after", opset, ml_opset)
    # The model's own names step aside: those of columns and answers are the user's.
    compose.add_prefix(model, _MODEL, inplace=True)
    answered = _after(after, pipeline, outputs)
    if clash := sorted({value.name for value in sent} & answered.keys()):
        raise Misfit(f"pipeline: {shown(clash[0])} is an input and an output, expected two names")
    _join(model.graph, before, sent, fed, after, answered)
    if ML not in imported and (before.uses_ml or after.uses_ml):
        model.opset_import.append(helper.make_opsetid(ML, ml_opset))
    return model


def _needed_opset(pipeline: s.Pipeline) -> int:
    def of(step: Any) -> int:
        if isinstance(step, s.Resize):
            return image.RESIZE_OPSET
        is_text = isinstance(step, s.Impute) and step.text is not None
        return table.TEXT_OPSET if is_text else _BASE_OPSET

    return max((of(item.step) for item in after_pictures(pipeline)), default=_BASE_OPSET)


def _of_opset(model: onnx.ModelProto, needed: int) -> onnx.ModelProto:
    # skl2onnx names a domain twice at times, and the converter then changes one of the two.
    imported = {used.domain: used.version for used in model.opset_import}
    found = imported.setdefault("", needed)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*used) for used in imported.items())
    if found >= needed:
        return model
    try:
        return version_converter.convert_version(model, needed)
    except Exception as err:  # whatever its C++ raises
        raise Misfit(
            f"pipeline: needs a model of opset {needed}, got one of opset {found} that cannot be "
            f"converted; export it again with opset {needed}"
        ) from err


def inputs_of(graph: Any) -> dict[str, Value]:
    """What a model is fed with, by name."""
    stored = {tensor.name for tensor in graph.initializer}
    return {v.name: _value(v) for v in graph.input if v.name not in stored}


def _value(info: Any) -> Value:
    tensor = info.type.tensor_type
    if tensor.elem_type not in DATATYPES:
        raise Misfit(f"pipeline: {shown(info.name)} of the model is no tensor, expected tensors")
    sizes = (d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
    return Value(info.name, DATATYPES[tensor.elem_type], tuple(sizes))


def _before(
    graph: Graph, pipeline: s.Pipeline, inputs: dict[str, Value]
) -> tuple[list[Value], dict[str, Value]]:
    """Write what comes before the model.

    Returns:
        What clients send, and what is fed to each input of the model.
    """
    if not pipeline.preprocess:
        return list(inputs.values()), inputs
    if tokenize_step(pipeline) is not None:
        check_inputs(pipeline, inputs)
        return list(inputs.values()), inputs
    if len(inputs) != 1:
        raise Misfit(
            f"pipeline.preprocess: the model has {len(inputs)} inputs, expected one; "
            "leave preprocess out, or export the model with one input"
        )
    [(name, wanted)] = inputs.items()
    sent, value = _prepared(graph, pipeline, wanted)
    _check_fits(value, wanted)
    return sent, {name: value}


def _prepared(graph: Graph, pipeline: s.Pipeline, wanted: Value) -> tuple[list[Value], Value]:
    value: Value | Table = _first(pipeline, wanted)
    sent = [value] if isinstance(value, Value) else []
    skipped = len(pipeline.preprocess) - len(after_pictures(pipeline))
    for number, item in enumerate(pipeline.preprocess[skipped:], start=skipped):
        step, where = item.step, f"pipeline.preprocess[{number}].{item.key}"
        try:
            if isinstance(step, s.Columns):
                if number:
                    raise Misfit("got columns after another step, expected them first")
                value = table.columns(graph, step)
                sent = value.inputs
            elif isinstance(step, s.DecodeImage | s.Tokenize):
                raise Misfit("got it after another step, expected it first")
            else:
                value = _applied(graph, value, step)
        except Misfit as err:
            raise Misfit(f"{where}: {err}") from err
    if isinstance(value, Value):
        return sent, value
    try:
        return sent, table.joined(graph, value)
    except Misfit as err:
        raise Misfit(f"pipeline.preprocess: {err}") from err


def _first(pipeline: s.Pipeline, wanted: Value) -> Value:
    """What clients send when nothing has changed it yet: pictures, images, or the model's input."""
    shape = picture_shape(pipeline)
    if shape is not None:
        return Value(IMAGE, "UINT8", (-1, *shape, 3), "NHWC")
    geometry = (s.Resize, s.CenterCrop, s.ChannelOrder, s.Transpose)
    if any(isinstance(item.step, geometry) for item in pipeline.preprocess):
        return Value(IMAGE, "UINT8", (-1, -1, -1, 3), "NHWC")
    return Value(wanted.name, wanted.datatype, wanted.shape)


def _applied(graph: Graph, value: Value | Table, step: Any) -> Value | Table:
    kind = type(step)
    if isinstance(value, Table):
        if kind in _TABLE_STEPS:
            _TABLE_STEPS[kind](graph, value, step)
            return value
        value = table.joined(graph, value)
    if kind not in _TENSOR_STEPS:
        raise Misfit("there are no columns, expected the step columns before it")
    return _TENSOR_STEPS[kind](graph, value, step)


def _check_fits(value: Value, wanted: Value) -> None:
    def told(found: Value) -> str:
        return f"{found.datatype} of shape {list(found.shape)}"

    sizes = zip(value.shape, wanted.shape, strict=False)
    fits = all(-1 in pair or pair[0] == pair[1] for pair in sizes)
    is_alike = value.datatype == wanted.datatype and len(value.shape) == len(wanted.shape)
    if not (fits and is_alike):
        remedy = "" if value.datatype == wanted.datatype else f"; cast: {{to: {wanted.datatype}}}"
        raise Misfit(
            f"pipeline.preprocess: ends with {told(value)}, "
            f"the model's input {shown(wanted.name)} expects {told(wanted)}{remedy}"
        )


def _after(graph: Graph, pipeline: s.Pipeline, outputs: Outputs) -> Outputs:
    found = {
        name: Value(_MODEL + name, value.datatype, value.shape) for name, value in outputs.items()
    }
    for number, item in enumerate(pipeline.postprocess):
        step = item.step
        try:
            found = _ANSWER_STEPS[type(step)](graph, found, step)
        except Misfit as err:
            raise Misfit(f"pipeline.postprocess[{number}].{item.key}: {err}") from err
    return found


def _join(
    graph: Any,
    before: Graph,
    sent: Iterable[Value],
    fed: dict[str, Value],
    after: Graph,
    answered: Outputs,
) -> None:
    stored = {tensor.name for tensor in graph.initializer}
    kept = [info for info in graph.input if info.name in stored]
    feeds = [_renamed(value.name, _MODEL + name) for name, value in fed.items()]
    ends = [_renamed(value.name, name) for name, value in answered.items()]
    nodes = [*before.nodes, *feeds, *graph.node, *after.nodes, *ends]
    del graph.node[:]
    del graph.input[:]
    del graph.output[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.constants, *after.constants])
    graph.input.extend([*(_info(value.name, value) for value in sent), *kept])
    graph.output.extend(_info(name, value) for name, value in answered.items())


def _renamed(old: str, new: str) -> Any:
    return helper.make_node("Identity", [old], [new], name=f"join/{new}")


def _info(name: str, value: Value) -> Any:
    sizes = [
        size if size >= 0 else ("batch" if not axis else None)
        for axis, size in enumerate(value.shape)
    ]
    return helper.make_tensor_value_info(name, ONNX_TYPES[value.datatype], sizes)
