"""What of a pipeline is done ahead of the graph: which steps, and whether what does them is here.

Stays out: doing it. Images are decoded in `pictures.py`, texts are read in `texts.py`; both import
libraries that only such a pipeline needs, and that belong to extras.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Final

from slipway_runtime.extras import require
from slipway_runtime.pipeline.spec import (
    Before,
    CenterCrop,
    DecodeImage,
    Pipeline,
    Resize,
    Tokenize,
)

_NEEDED: Final[Mapping[type, str]] = {DecodeImage: "PIL", Tokenize: "tokenizers"}


def check_extras(pipeline: Pipeline) -> None:
    """Check that the libraries of a pipeline's steps are installed.

    Raises:
        MissingExtra: one is not; names the step.
    """
    for number, item in enumerate(pipeline.preprocess):
        module = _NEEDED.get(type(item.step))
        if module is not None:
            require(f"pipeline.preprocess[{number}].{item.key}", module)


def picture_steps(pipeline: Pipeline) -> tuple[Before, ...]:
    """Decoding, and what changes the size right after it; none without pictures."""
    steps = pipeline.preprocess
    if not steps or not isinstance(steps[0].step, DecodeImage):
        return ()
    following = takewhile(lambda item: isinstance(item.step, Resize | CenterCrop), steps[1:])
    return (steps[0], *following)


def after_pictures(pipeline: Pipeline) -> tuple[Before, ...]:
    """The steps that belong to the graph."""
    return pipeline.preprocess[len(picture_steps(pipeline)) :]


def picture_shape(pipeline: Pipeline) -> tuple[int, int] | None:
    """Height and width of the pixels, -1 where they are the file's own; None without pictures."""
    own = picture_steps(pipeline)
    if not own:
        return None
    height, width = -1, -1
    for item in own[1:]:
        step = item.step
        if isinstance(step, CenterCrop):
            height, width = step.height, step.width
        elif isinstance(step, Resize):
            height, width = step.height or -1, step.width or -1
    return height, width
