"""What clients are told of a model that has a pipeline, and what their tensors become for it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from slipway_runtime.errors import InvalidTensor, shown
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.pipeline.pictures import PictureReader
from slipway_runtime.pipeline.spec import Impute, Pipeline
from slipway_runtime.supply.termination import SignatureSummary, SignatureTensor


@dataclass(frozen=True, slots=True)
class Exposure:
    """The inputs as clients see them, over those of the graph."""

    signature: Signature
    pictures: PictureReader | None

    def fed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Make what the graph takes of what a client has sent; may take long.

        Raises:
            InvalidTensor: an element is no image that is taken.
        """
        if self.pictures is None:
            return inputs
        [spec] = self.signature.inputs
        files = [_file(spec, index, word) for index, word in enumerate(inputs[spec.name])]
        return {spec.name: self.pictures.read(spec.name, files)}


def exposed(signature: Signature, pipeline: Pipeline) -> Exposure:
    """Tell what clients of a fused model send: files for pixels, columns that may be missing."""
    pictures = PictureReader.of(pipeline)
    if pictures is not None:
        [spec] = signature.inputs
        files = TensorSpec(spec.name, "BYTES", (-1,), is_binary=True)
        return Exposure(replace(signature, inputs=(files,), memo={}), pictures)
    filled = {
        name
        for item in pipeline.preprocess
        if isinstance(item.step, Impute)
        for name in item.step.columns
    }
    inputs = tuple(replace(s, may_miss=s.name in filled) for s in signature.inputs)
    return Exposure(replace(signature, inputs=inputs, memo={}), None)


def exposed_summary(found: SignatureSummary, pipeline: Pipeline) -> SignatureSummary:
    """The same for what the supply step reports."""
    if PictureReader.of(pipeline) is None:
        return found
    files = SignatureTensor(name=found.inputs[0].name, datatype="BYTES", shape=(-1,))
    return found.model_copy(update={"inputs": (files,)})


def _file(spec: TensorSpec, index: int, word: Any) -> bytes:
    """The bytes of a file: as they came, or in base64, which is what JSON has for bytes."""
    if isinstance(word, bytes):
        return word
    try:
        return base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError) as err:
        raise InvalidTensor(
            f"input {shown(spec.name)}: data[{index}] is {shown(word)}, "
            "expected the bytes of an image in base64"
        ) from err
