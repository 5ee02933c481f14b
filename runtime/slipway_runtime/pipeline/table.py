"""Steps that compute with named columns, and how they become one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from slipway_runtime.errors import shown
from slipway_runtime.pipeline.graph import Graph, Misfit, Value
from slipway_runtime.pipeline.spec import Columns, Impute, OneHot, Standardize

TEXT_OPSET: Final = 19
"""The first whose Equal compares texts."""


@dataclass
class Table:
    """Columns by name, in the order in which they will stand side by side."""

    inputs: list[Value] = field(default_factory=list)
    """What clients send: [batch] each."""
    columns: dict[str, Value] = field(default_factory=dict)
    """What has become of each: [batch, width]."""

    def of(self, names: Sequence[str]) -> list[Value]:
        """Find columns.

        Raises:
            Misfit: there is none of a name.
        """
        for name in names:
            if name not in self.columns:
                known = ", ".join(map(shown, self.columns))
                raise Misfit(f"column {shown(name)}: unknown, expected one of {known}")
        return [self.columns[name] for name in names]


def columns(graph: Graph, step: Columns) -> Table:
    """Begin a table: one input per feature."""
    table = Table()
    for feature in step.features:
        value = Value(feature.name, feature.datatype, (-1,))
        table.inputs.append(value)
        name = graph.node("Unsqueeze", value.name, graph.constant([1], np.int64))
        table.columns[feature.name] = replace(value, name=name, shape=(-1, 1))
    return table


def impute(graph: Graph, table: Table, step: Impute) -> None:
    """Fill in what is missing.

    Raises:
        Misfit: a text for numbers, or the other way round.
    """
    for name, value in zip(step.columns, table.of(step.columns), strict=True):
        is_text = value.datatype == "BYTES"
        if is_text == (step.text is None):
            wanted = "text" if is_text else "value"
            raise Misfit(f"column {shown(name)} is {value.datatype}, expected {wanted}")
        if is_text:
            missing = graph.node("Equal", value.name, graph.constant(np.array([""], np.object_)))
            known = graph.constant(np.array([step.text], np.object_))
        elif value.datatype == "FP32":
            missing = graph.node("IsNaN", value.name)
            known = graph.like([step.value or 0.0], value)
        else:
            raise Misfit(
                f"column {shown(name)} is {value.datatype}, which is never missing, expected FP32"
            )
        filled = graph.node("Where", missing, known, value.name)
        table.columns[name] = replace(value, name=filled)


def one_hot(graph: Graph, table: Table, step: OneHot) -> None:
    """Replace a column by one per category.

    Raises:
        Misfit: texts for a column of numbers, or the other way round.
    """
    for name, value in zip(step.columns, table.of(step.columns), strict=True):
        is_text = value.datatype == "BYTES"
        if is_text != isinstance(step.categories[0], str):
            wanted = "texts" if is_text else "integers"
            raise Misfit(
                f"column {shown(name)} is {value.datatype}, expected {wanted} as categories"
            )
        known: list[int]
        if is_text:
            numbers = graph.class_numbers(value, tuple(map(str, step.categories)))
            known = list(range(len(step.categories)))
        else:
            numbers, known = value, [int(category) for category in step.categories]
        hits = graph.node("Equal", numbers.name, graph.like([known], numbers))
        found = Value(hits, "BOOL", (-1, len(known)))
        table.columns[name] = graph.cast(found, "FP32")


def standardize(graph: Graph, table: Table, step: Standardize) -> None:
    """Subtract the mean and divide by the deviation.

    Raises:
        Misfit: a column of texts.
    """
    moments = zip(step.columns, step.mean, step.std, strict=True)
    for value, (name, mean, std) in zip(table.of(step.columns), moments, strict=True):
        if value.datatype == "BYTES":
            raise Misfit(f"column {shown(name)} is of texts, expected numbers; oneHot comes first")
        numbers = graph.floating(value)
        centred = graph.node("Sub", numbers.name, graph.like([mean], numbers))
        scaled = graph.node("Div", centred, graph.like([std], numbers))
        table.columns[name] = replace(numbers, name=scaled)


def joined(graph: Graph, table: Table) -> Value:
    """Put all columns side by side; numbers of several kinds become FP32.

    Raises:
        Misfit: texts beside numbers.
    """
    parts = list(table.columns.items())
    kinds = {value.datatype for _, value in parts}
    if len(kinds) > 1:
        for name, value in parts:
            if value.datatype == "BYTES":
                raise Misfit(f"column {shown(name)} is of texts beside numbers; expected a oneHot")
        parts = [(name, graph.cast(value, "FP32")) for name, value in parts]
    width = sum(value.shape[1] for _, value in parts)
    name = graph.node("Concat", *(value.name for _, value in parts), axis=1)
    return Value(name, parts[0][1].datatype, (-1, width))
