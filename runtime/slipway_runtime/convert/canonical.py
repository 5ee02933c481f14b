"""One form for every graph that computes the same in the same way: order and names by structure.

Some exporters walk sets of objects, and number and order tensors otherwise in every process. Here
nodes come in the order in which the outputs need them (depth first, inputs from left to right), and
tensors are named by that order; inputs and outputs of the model keep their names. Nodes that no
output needs are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Names = dict[str, str]


def canonical(graph: Any) -> None:
    """Bring a graph into its form, in place."""
    fixed = {each.name: each.name for each in (*graph.input, *graph.output)}
    _arrange(graph, fixed, {}, "")


def _arrange(graph: Any, fixed: Mapping[str, str], outer: Names, prefix: str) -> None:
    nodes = _needed(graph)
    initial = {each.name: each for each in graph.initializer}
    names: Names = {**outer, **fixed}
    used: list[Any] = []
    for place, node in enumerate(nodes):
        for name in (*node.input, *_captured(node)):
            if name in initial and name not in names:
                names[name] = f"{prefix}w{len(used)}"
                used.append(initial[name])
        for position, name in enumerate(node.output):
            if name and name not in fixed:
                names[name] = f"{prefix}t{place}_{position}"
        node.name = f"{prefix}{node.op_type}_{place}"
        node.doc_string = ""
        _arrange_inner(node, names)
    kept = [each for each in graph.initializer if each.name in fixed]
    _rewrite(graph, nodes, [*kept, *used], names)


def _arrange_inner(node: Any, names: Names) -> None:
    """Bodies of If and Loop: their inputs and outputs are nobody's but theirs."""
    for attribute in node.attribute:
        for place, graph in enumerate(_graphs(attribute)):
            prefix = f"{node.name}_{attribute.name}{place}_"
            fixed = {each.name: f"{prefix}in{i}" for i, each in enumerate(graph.input)}
            _arrange(graph, fixed, names, prefix)
            graph.name = prefix


def _rewrite(graph: Any, nodes: list[Any], initial: list[Any], names: Names) -> None:
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    for node in copies:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    stored = [type(each).FromString(each.SerializeToString()) for each in initial]
    for each in (*stored, *graph.input, *graph.output):
        each.name = names.get(each.name, each.name)
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(copies)
    graph.initializer.extend(stored)


def _needed(graph: Any) -> list[Any]:
    """The nodes that the outputs need, each after what it needs itself."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    order: list[int] = []
    seen: set[int] = set()
    for output in graph.output:
        _visit(output.name, graph, makers, seen, order)
    return [graph.node[i] for i in order]


def _visit(
    name: str, graph: Any, makers: Mapping[str, int], seen: set[int], order: list[int]
) -> None:
    """Depth first, without recursion: graphs are deeper than Python's stack."""
    if name not in makers or makers[name] in seen:
        return
    seen.add(makers[name])
    stack = [(makers[name], _inputs(graph.node[makers[name]]))]
    while stack:
        index, rest = stack[-1]
        below = next((n for n in rest if n in makers and makers[n] not in seen), None)
        if below is None:
            order.append(index)
            stack.pop()
        else:
            seen.add(makers[below])
            stack.append((makers[below], _inputs(graph.node[makers[below]])))


def _inputs(node: Any) -> Iterator[str]:
    yield from node.input
    yield from _captured(node)


def _captured(node: Any) -> Iterator[str]:
    """Names of the outer graph that the bodies of a node may use."""
    for attribute in node.attribute:
        for graph in _graphs(attribute):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _inputs(inner)


def _graphs(attribute: Any) -> list[Any]:
    return [each for each in (attribute.g, *attribute.graphs) if each.node or each.output]
