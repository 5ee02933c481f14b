"""Texts become the numbers of their tokens, before the graph, by the tokenizers library.

A tokenizer is the file `tokenizer.json` as its library writes it. That of onnxruntime-extensions
would be in the graph, but reads only some kinds of it (decision 0045).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from slipway_runtime.errors import (
    InferenceFailed,
    InvalidConfig,
    InvalidTensor,
    NotFound,
    ServingError,
    clipped,
    shown,
)
from slipway_runtime.inference.datatypes import DTYPES, Tensor
from slipway_runtime.inference.signature import TensorSpec
from slipway_runtime.pipeline.graph import Misfit, Value
from slipway_runtime.pipeline.spec import Pipeline, Tokenize

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT: Final = "text"
"""The input of a model that takes texts."""
_IDS: Final = "input_ids"
_ROLES: Final = {_IDS: "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""Inputs of a model that a tokenizer can fill, and what they are in an encoding."""
_DATATYPES: Final = ("INT64", "INT32")
_USUAL_TOKENS: Final = 512
"""What a text is cut to where neither the step nor the tokenizer says: BERT's positions."""
_MAX_FILE_BYTES: Final = 64 * 2**20
"""Three times the largest in use, those of a quarter of a million words."""
_MAX_TOKENS: Final = 2**20
"""Of a request with its padding: 8 MiB for each input of the model."""
_MAX_TEXTS: Final = 4096
_PADS: Final = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")
"""What a tokenizer that says nothing of padding calls it, the surest first."""


def tokenize_step(pipeline: Pipeline) -> Tokenize | None:
    """The step that makes numbers of texts; None without one."""
    step = pipeline.preprocess[0].step if pipeline.preprocess else None
    return step if isinstance(step, Tokenize) else None


def check_inputs(pipeline: Pipeline, inputs: Mapping[str, Value]) -> None:
    """Check that a tokenizer can fill the inputs of a model.

    Raises:
        Misfit: another step is there too, or the model takes something else.
    """
    if len(pipeline.preprocess) > 1:
        raise Misfit(
            f"pipeline.preprocess[1].{pipeline.preprocess[1].key}: got it after tokenize, "
            "expected tokenize as the only step before the model"
        )
    where, expected = "pipeline.preprocess[0].tokenize", f"{', '.join(_ROLES)}"
    if _IDS not in inputs:
        names = ", ".join(shown(name) for name in inputs) or "none"
        raise Misfit(f"{where}: the model's inputs are {names}, expected {_IDS} among them")
    for name, value in inputs.items():
        told = f"{where}: the model's input {shown(name)}"
        if name not in _ROLES:
            raise Misfit(f"{told} is not one a tokenizer fills, expected only {expected}")
        if value.datatype not in _DATATYPES or len(value.shape) != 2:
            raise Misfit(
                f"{told} is {value.datatype} of shape {list(value.shape)}, "
                f"expected {' or '.join(_DATATYPES)} of shape [batch, tokens]"
            )


def found_tokenizer(step: Tokenize, model: Path, root: Path) -> Path:
    """Find the tokenizer's file: beside the model, or in a folder above it up to the root.

    Raises:
        NotFound: there is none.
    """
    below = [model.parent, *model.parent.parents]
    for folder in below[: below.index(root) + 1]:
        if (folder / step.file).is_file():
            return folder / step.file
    raise NotFound(
        f"pipeline.preprocess[0].tokenize.file: {shown(step.file)} is not beside the model, "
        "expected the tokenizer that the tokenizers library has saved; publish model and "
        "tokenizer as a folder, or as an archive"
    )


def tokenizer_beside(fused: Path) -> Path:
    """Where the tokenizer of a fused model lies."""
    return fused.with_suffix(".tokenizer.json")


def check_tokenizer(step: Tokenize, file: Path, inputs: Sequence[TensorSpec | Value]) -> None:
    """Check that a tokenizer can be read, and reads.

    Raises:
        InvalidConfig: it cannot.
    """
    try:
        TextReader.of(step, file, inputs).read(["One text."])
    except ServingError as err:
        raise InvalidConfig(f"pipeline.preprocess[0].tokenize: {err}") from err


@dataclass(frozen=True, slots=True)
class TextReader:
    """Makes the inputs of a model of texts."""

    tokenizer: Tokenizer
    max_characters: int
    fills: tuple[tuple[str, str], ...]
    """The model's inputs, and their datatypes."""
    width: int
    """How many tokens the model takes; -1 where that is free."""
    pad: tuple[int, int]
    """Number and type of the token that fills up."""
    pads_left: bool

    @classmethod
    def of(cls, step: Tokenize, file: Path, inputs: Sequence[TensorSpec | Value]) -> TextReader:
        """Read a tokenizer's file, for a model with these inputs.

        Raises:
            InvalidConfig: it is no tokenizer, or none for this model.
        """
        where = f"pipeline.preprocess[0].tokenize: {shown(step.file)}"
        tokenizer = _read(file, where)
        widths = {spec.shape[1] for spec in inputs} - {-1}
        width = widths.pop() if len(widths) == 1 else -1
        padding, pad = tokenizer.padding, _pad(tokenizer, where)
        tokenizer.no_padding()
        _truncate(tokenizer, step, width, where)
        fills = tuple((spec.name, spec.datatype) for spec in inputs)
        left = padding is not None and padding["direction"] == "left"
        return cls(tokenizer, step.max_characters, fills, width, pad, left)

    def read(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Read a batch: [texts, tokens of the longest] for each input of the model.

        Raises:
            InvalidTensor: there are no texts, or too much of them.
            InferenceFailed: the tokenizer cannot read one.
        """
        self._check(texts)
        # One at a time: an encoding takes a hundred times what is kept of it.
        rows = [self._row(text) for text in texts]
        width = self.width if self.width > 0 else max(1, *(len(row[_IDS]) for row in rows))
        if width * len(rows) > _MAX_TOKENS:
            raise InvalidTensor(
                f"input {TEXT!r}: {len(rows)} texts of up to {width} tokens, expected at most "
                f"{_MAX_TOKENS} tokens in all; send fewer texts in a request"
            )
        return {name: self._filled(name, datatype, rows, width) for name, datatype in self.fills}

    def _check(self, texts: Sequence[str]) -> None:
        if not 1 <= len(texts) <= _MAX_TEXTS:
            raise InvalidTensor(
                f"input {TEXT!r}: {len(texts)} texts, expected 1 to {_MAX_TEXTS} in a request"
            )
        found = sum(map(len, texts))
        if found > self.max_characters:
            raise InvalidTensor(
                f"input {TEXT!r}: {found} characters in {len(texts)} texts, expected at most "
                f"{self.max_characters} in all texts of a request together"
            )

    def _row(self, text: str) -> dict[str, Tensor]:
        try:
            encoding = self.tokenizer.encode(text)
        except BaseException as err:  # the library's panics are no Exceptions
            if isinstance(err, KeyboardInterrupt | SystemExit):
                raise
            raise InferenceFailed(f"input {TEXT!r}: the tokenizer failed ({err})") from err
        names = {_IDS, *(name for name, _ in self.fills)}
        return {name: np.array(getattr(encoding, _ROLES[name]), np.int64) for name in names}

    def _filled(
        self, name: str, datatype: str, rows: Sequence[Mapping[str, Tensor]], width: int
    ) -> Tensor:
        [number, kind] = self.pad
        fill = {_IDS: number, "token_type_ids": kind}.get(name, 0)
        tensor = np.full((len(rows), width), fill, DTYPES[datatype])
        for line, row in zip(tensor, rows, strict=True):
            values = row[name]
            start = width - len(values) if self.pads_left else 0
            line[start : start + len(values)] = values
        return tensor


def _read(file: Path, where: str) -> Tokenizer:
    # Late: twelve megabytes that only this step needs. Its own threads would be more than the
    # container has, and requests are read beside each other anyway.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    try:
        size = file.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise InvalidConfig(f"{where} has {size} bytes, expected at most {_MAX_FILE_BYTES}")
        return Tokenizer.from_str(file.read_text("utf-8"))
    except InvalidConfig:
        raise
    except Exception as err:  # OSError, no UTF-8, and the library's own, which is an Exception
        raise InvalidConfig(
            f"{where} is no tokenizer ({clipped(str(err), 200)}), expected what the tokenizers "
            "library saves as tokenizer.json; transformers writes it by save_pretrained"
        ) from err


def _pad(tokenizer: Tokenizer, where: str) -> tuple[int, int]:
    """The number and type of the token that fills up."""
    padding = tokenizer.padding
    if padding:
        return int(padding["pad_id"]), int(padding["pad_type_id"])
    known = (tokenizer.token_to_id(name) for name in _PADS)
    for number in known:
        if number is not None:
            return number, 0
    raise InvalidConfig(
        f"{where} names no token for padding, expected `padding` in it or one of "
        f"{', '.join(_PADS)}; call enable_padding before it is saved"
    )


def _truncate(tokenizer: Tokenizer, step: Tokenize, width: int, where: str) -> None:
    """Cut texts to what the step says, else to what the tokenizer and the model take."""
    if step.max_length is not None and 0 < width < step.max_length:
        raise InvalidConfig(
            f"{where}: maxLength is {step.max_length}, expected at most {width}, which is what "
            "the model takes"
        )
    own = tokenizer.truncation or {}
    most = step.max_length or int(own.get("max_length", _USUAL_TOKENS))
    most = min(most, width) if width > 0 else most
    needed = tokenizer.num_special_tokens_to_add(is_pair=False)
    if most <= needed:
        raise InvalidConfig(
            f"{where}: texts are cut to {most} tokens, expected more than the {needed} that it "
            "adds to each text; raise maxLength"
        )
    direction = own.get("direction", "right")
    tokenizer.enable_truncation(most, direction=direction)
