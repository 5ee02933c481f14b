"""Steps that compute with any numbers: scale, normalize, cast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from slipway_runtime.pipeline.graph import Graph, Misfit, Value
from slipway_runtime.pipeline.spec import Cast, Normalize, Scale


def scale(graph: Graph, value: Value, step: Scale) -> Value:
    """Multiply, and add where something is to be added."""
    numbers = graph.floating(value)
    name = graph.node("Mul", numbers.name, graph.like(step.factor, numbers))
    if step.offset:
        name = graph.node("Add", name, graph.like(step.offset, numbers))
    return replace(numbers, name=name)


def normalize(graph: Graph, value: Value, step: Normalize) -> Value:
    """Subtract and divide per channel, or per column of what is no image.

    Raises:
        Misfit: the lists are not as long as there are channels.
    """
    count = len(step.mean)
    if value.channels not in (count, -1) and count != 1:
        kind = "channels" if value.layout else "columns"
        raise Misfit(
            f"got {count} of mean and std, expected {value.channels}, one for each of the {kind}"
        )
    shape = [-1] + [1] * 2 if value.layout == "NCHW" else [-1]
    numbers = graph.floating(value)
    mean = graph.like(np.reshape(step.mean, shape), numbers)
    std = graph.like(np.reshape(step.std, shape), numbers)
    return replace(numbers, name=graph.node("Div", graph.node("Sub", numbers.name, mean), std))


def cast(graph: Graph, value: Value, step: Cast) -> Value:
    """Change the datatype.

    Raises:
        Misfit: numbers are no texts, nor the other way round.
    """
    if (value.datatype == "BYTES") != (step.to == "BYTES"):
        raise Misfit(f"got {value.datatype} for {step.to}, expected numbers on both sides")
    return graph.cast(value, step.to)
