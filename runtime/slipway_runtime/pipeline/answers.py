"""Steps after the model: what becomes of its outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from slipway_runtime.errors import shown
from slipway_runtime.pipeline.graph import FLOATS, Graph, Misfit, Value
from slipway_runtime.pipeline.spec import Argmax, Labels, Sigmoid, Softmax, Threshold, TopK

LABEL: Final = "label"
PROBABILITY: Final = "probability"
INDEX: Final = "index"
Outputs = dict[str, Value]
"""What clients get, by its name."""


def chosen(outputs: Outputs, wanted: str | None) -> str:
    """Find the output that a step is about: the named one, else the only one of fractions.

    Raises:
        Misfit: there is none, or it cannot be told which.
    """
    if wanted is not None:
        if wanted not in outputs:
            raise Misfit(f"output {shown(wanted)}: unknown, expected one of {_listed(outputs)}")
        return wanted
    found = [name for name, value in outputs.items() if value.datatype in FLOATS]
    found = found or [name for name, value in outputs.items() if value.datatype == "INT64"]
    if len(found) != 1:
        raise Misfit(f"output: missing, expected one of {_listed(outputs)}")
    return found[0]


def softmax(graph: Graph, outputs: Outputs, step: Softmax) -> Outputs:
    """Turn scores into probabilities that sum to 1."""
    name = chosen(outputs, step.output)
    value = _scores(outputs[name])
    return outputs | {name: replace(value, name=graph.node("Softmax", value.name, axis=step.axis))}


def sigmoid(graph: Graph, outputs: Outputs, step: Sigmoid) -> Outputs:
    """Turn each score into a probability."""
    name = chosen(outputs, step.output)
    value = _scores(outputs[name])
    return outputs | {name: replace(value, name=graph.node("Sigmoid", value.name))}


def argmax(graph: Graph, outputs: Outputs, step: Argmax) -> Outputs:
    """Replace scores by the number of the largest one."""
    name = chosen(outputs, step.output)
    value = _scores(outputs[name])
    axis = step.axis % len(value.shape)
    found = graph.node("ArgMax", value.name, axis=axis, keepdims=0)
    shape = tuple(size for number, size in enumerate(value.shape) if number != axis)
    return _replaced(outputs, name, {INDEX: Value(found, "INT64", shape)})


def threshold(graph: Graph, outputs: Outputs, step: Threshold) -> Outputs:
    """Replace values by 1 where they are large enough, else 0."""
    name = chosen(outputs, step.output)
    value = _scores(outputs[name])
    hits = graph.node("GreaterOrEqual", value.name, graph.like(step.value, value))
    return outputs | {name: graph.cast(replace(value, name=hits, datatype="BOOL"), "INT64")}


def top_k(graph: Graph, outputs: Outputs, step: TopK) -> Outputs:
    """Replace scores by the largest ones and their numbers."""
    name = chosen(outputs, step.output)
    scores, numbers = _largest(graph, _scores(outputs[name]), step.k)
    return _replaced(outputs, name, {PROBABILITY: scores, INDEX: numbers})


def labels(graph: Graph, outputs: Outputs, step: Labels) -> Outputs:
    """Put names to the largest scores, or to numbers that an earlier step has found.

    Raises:
        Misfit: there are not as many names as classes.
    """
    name = chosen(outputs, INDEX if step.output is None and INDEX in outputs else step.output)
    value = outputs[name]
    names = step.names or ()
    words = graph.constant(np.array(names, np.object_))
    if value.datatype == "INT64":
        found = graph.node("Gather", words, value.name)
        return _replaced(outputs, name, {LABEL: replace(value, name=found, datatype="BYTES")})
    scores = _scores(value)
    if scores.shape[-1] not in (-1, len(names)):
        where = f" in {step.config_map}" if step.config_map else ""
        raise Misfit(f"got {len(names)} names{where}, expected {scores.shape[-1]}, one per class")
    best, numbers = _largest(graph, scores, step.top_k)
    found = graph.node("Gather", words, numbers.name)
    named = replace(numbers, name=found, datatype="BYTES")
    return _replaced(outputs, name, {LABEL: named, PROBABILITY: best})


def _largest(graph: Graph, value: Value, k: int) -> tuple[Value, Value]:
    if 0 <= value.shape[-1] < k:
        raise Misfit(f"got the {k} largest of {value.shape[-1]}, expected no more than there are")
    count = graph.constant([k], np.int64)
    best, numbers = graph.nodes_of("TopK", 2, value.name, count, axis=-1)
    shape = (*value.shape[:-1], k)
    return replace(value, name=best, shape=shape), Value(numbers, "INT64", shape)


def _scores(value: Value) -> Value:
    if value.datatype not in FLOATS or not value.shape:
        raise Misfit(
            f"got an output of {value.datatype} and shape {list(value.shape)}, expected scores"
        )
    return value


def _replaced(outputs: Outputs, name: str, found: Outputs) -> Outputs:
    """Put outputs in the place of one; they take the names that they need.

    Classifiers of scikit-learn have an output `label` of numbers: names are what is asked for.
    """
    order: Outputs = {}
    for key, value in outputs.items():
        if key == name:
            order |= found
        elif key not in found:
            order[key] = value
    return order


def _listed(outputs: Outputs) -> str:
    return ", ".join(f"{shown(name)} ({value.datatype})" for name, value in outputs.items())
