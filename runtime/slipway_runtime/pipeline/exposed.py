"""What clients are told of a model that has a pipeline, and what their tensors become for it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway_runtime.errors import InvalidTensor, shown
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.pipeline.ahead import picture_shape
from slipway_runtime.pipeline.spec import Impute, Pipeline
from slipway_runtime.pipeline.texts import TEXT, TextReader, tokenize_step, tokenizer_beside
from slipway_runtime.supply.termination import SignatureSummary, SignatureTensor

if TYPE_CHECKING:
    from slipway_runtime.pipeline.pictures import PictureReader


@dataclass(frozen=True, slots=True)
class Exposure:
    """The inputs as clients see them, over those of the graph."""

    signature: Signature
    reader: PictureReader | TextReader | None = None
    """What makes tensors of files or texts."""

    def fed(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Make what the graph takes of what a client has sent; may take long.

        Raises:
            InvalidTensor: an element is no image that is taken, or no text.
        """
        if self.reader is None:
            return inputs
        [spec] = self.signature.inputs
        if isinstance(self.reader, TextReader):
            return self.reader.read(inputs[spec.name].tolist())
        files = [_file(spec, index, word) for index, word in enumerate(inputs[spec.name])]
        return {spec.name: self.reader.read(spec.name, files)}


def exposed(signature: Signature, pipeline: Pipeline, model: Path) -> Exposure:
    """Tell what clients of a fused model send: files, texts, or columns that may be missing.

    Args:
        signature: of the fused model.
        pipeline: what was fused.
        model: the fused file; its tokenizer lies beside it.

    Raises:
        InvalidConfig: the tokenizer cannot be read.
    """
    reader = _reader(signature, pipeline, model)
    if reader is not None:
        sent = _sent(signature.inputs[0].name, reader)
        return Exposure(replace(signature, inputs=(sent,), memo={}), reader)
    filled = {
        name
        for item in pipeline.preprocess
        if isinstance(item.step, Impute)
        for name in item.step.columns
    }
    inputs = tuple(replace(s, may_miss=s.name in filled) for s in signature.inputs)
    return Exposure(replace(signature, inputs=inputs, memo={}))


def _reader(
    signature: Signature, pipeline: Pipeline, model: Path
) -> PictureReader | TextReader | None:
    step = tokenize_step(pipeline)
    if step is not None:
        return TextReader.of(step, tokenizer_beside(model), signature.inputs)
    if picture_shape(pipeline) is None:
        return None
    # Late: it decodes with a library that only such a pipeline needs.
    from slipway_runtime.pipeline.pictures import PictureReader

    return PictureReader.of(pipeline)


def _sent(name: str, reader: PictureReader | TextReader) -> TensorSpec:
    if isinstance(reader, TextReader):
        return TensorSpec(TEXT, "BYTES", (-1,))
    return TensorSpec(name, "BYTES", (-1,), is_binary=True)


def exposed_summary(found: SignatureSummary, pipeline: Pipeline) -> SignatureSummary:
    """The same for what the supply step reports."""
    name = TEXT if tokenize_step(pipeline) else found.inputs[0].name
    if name != TEXT and picture_shape(pipeline) is None:
        return found
    sent = SignatureTensor(name=name, datatype="BYTES", shape=(-1,))
    return found.model_copy(update={"inputs": (sent,)})


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
