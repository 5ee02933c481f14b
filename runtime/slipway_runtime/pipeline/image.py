"""Steps that compute with the pixels of images: resize, centerCrop, channelOrder, transpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from slipway_runtime.pipeline.graph import Graph, Misfit, Value
from slipway_runtime.pipeline.spec import CenterCrop, ChannelOrder, Resize, Transpose

RESIZE_OPSET: Final = 18
"""The first whose Resize smooths."""
_MODES: Final = {"Nearest": "nearest", "Bilinear": "linear", "Bicubic": "cubic"}
_TO_NCHW: Final = (0, 3, 1, 2)
_TO_NHWC: Final = (0, 2, 3, 1)
_PILLOWS_CUBIC: Final = -0.5


def resize(graph: Graph, value: Value, step: Resize) -> Value:
    """Bring pixels to a size, with Pillow's filters.

    Raises:
        Misfit: it is no image.
    """
    image = _image(value)
    axes = (image.layout.index("H"), image.layout.index("W"))
    sizes: str
    if step.shortest_side is None:
        sizes = graph.constant([step.height or 0, step.width or 0], np.int64)
        found = (step.height or -1, step.width or -1)
    else:
        sizes, found = _proportioned(graph, image, axes, step.shortest_side), (-1, -1)
    options: dict[str, Any] = {"mode": _MODES[step.method], "axes": list(axes)}
    if step.method == "Nearest":
        options |= {
            "nearest_mode": "round_prefer_ceil",
            "coordinate_transformation_mode": "half_pixel",
        }
    else:
        options |= {"antialias": 1, "cubic_coeff_a": _PILLOWS_CUBIC, "exclude_outside": 1}
    name = graph.node("Resize", image.name, "", "", sizes, **options)
    return replace(image, name=name, shape=_sized(image, axes, found))


def _proportioned(graph: Graph, image: Value, axes: tuple[int, int], side: int) -> str:
    """Both sides, the shorter one as asked for, the other one cut to an integer."""
    shape = graph.node("Shape", image.name)
    sides = graph.node("Gather", shape, graph.constant(axes, np.int64))
    shorter = graph.node("ReduceMin", sides, keepdims=1)
    longer = graph.node("Mul", sides, graph.constant([side], np.int64))
    return graph.node("Div", longer, shorter)


def center_crop(graph: Graph, value: Value, step: CenterCrop) -> Value:
    """Cut the middle out.

    Raises:
        Misfit: it is no image, or a smaller one.
    """
    image = _image(value)
    axes = (image.layout.index("H"), image.layout.index("W"))
    wanted = (step.height, step.width)
    for axis, pixels in zip(axes, wanted, strict=True):
        if 0 <= image.shape[axis] < pixels:
            raise Misfit(
                f"got {pixels} of {image.shape[axis]} pixels, expected no more than there are"
            )
    shape = graph.node("Shape", image.name)
    sides = graph.node("Gather", shape, graph.constant(axes, np.int64))
    size = graph.constant(wanted, np.int64)
    halves = graph.node("Div", graph.node("Sub", sides, size), graph.constant([2], np.int64))
    end = graph.node("Add", halves, size)
    name = graph.node("Slice", image.name, halves, end, graph.constant(axes, np.int64))
    return replace(image, name=name, shape=_sized(image, axes, wanted))


def channel_order(graph: Graph, value: Value, step: ChannelOrder) -> Value:
    """Turn the colours round, unless they already stand so; images begin as RGB.

    Raises:
        Misfit: it is no image of three channels.
    """
    image = _image(value)
    if image.channels not in (3, -1):
        raise Misfit(f"got {image.channels} channels, expected 3")
    if step.to == image.order:
        return image
    order = graph.constant([2, 1, 0], np.int64)
    name = graph.node("Gather", image.name, order, axis=image.layout.index("C"))
    return replace(image, name=name, order=step.to)


def transpose(graph: Graph, value: Value, step: Transpose) -> Value:
    """Move the channels.

    Raises:
        Misfit: it is no image.
    """
    image = _image(value)
    if image.layout == step.to:
        return image
    order = _TO_NCHW if step.to == "NCHW" else _TO_NHWC
    name = graph.node("Transpose", image.name, perm=list(order))
    return replace(
        image, name=name, layout=step.to, shape=tuple(image.shape[axis] for axis in order)
    )


def _image(value: Value) -> Value:
    if not value.layout:
        raise Misfit(f"got {value.datatype} of shape {list(value.shape)}, expected an image")
    return value


def _sized(image: Value, axes: tuple[int, int], sizes: tuple[int, int]) -> tuple[int, ...]:
    found = list(image.shape)
    for axis, size in zip(axes, sizes, strict=True):
        found[axis] = size
    return tuple(found)
