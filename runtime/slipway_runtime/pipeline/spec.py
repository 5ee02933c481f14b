"""The spec's `pipeline`: typed steps before and after the model.

Lives here: the shape of each step, its bounds and defaults.
Stays out: what a step computes (`image.py`, `tensors.py`, `table.py`, `texts.py`, `answers.py`) and
whether it fits the model (`fuse.py`).

A number may be written as a number, as text ("0.229") or as a fraction ("1/255"): tools that keep
objects in Git rewrite numbers, never texts.
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel

_MAX_STEPS: Final = 32
_MAX_COLUMNS: Final = 1024
_MAX_CATEGORIES: Final = 4096
MAX_LABELS: Final = 100_000
MAX_LABEL_CHARACTERS: Final = 1024
_MAX_SIDE: Final = 8192
_NUMBER: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?(/[0-9]+(\.[0-9]+)?)?$"
_MAX_NUMBER_CHARACTERS: Final = 40
_FILE_NAME: Final = r"^[-_A-Za-z0-9][-._A-Za-z0-9]*$"
_EXPECTED: Final = "expected a finite number such as 0.229 or '1/255'"


def number(value: object) -> float:
    """Read a number, or the text of one.

    >>> number("1/255") == 1 / 255, number("1e-3"), number(2)
    (True, 0.001, 2.0)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a number, or the text of one")
    if isinstance(value, str) and len(value) > _MAX_NUMBER_CHARACTERS:
        raise ValueError(f"expected at most {_MAX_NUMBER_CHARACTERS} characters")
    above, _, below = str(value).partition("/")
    try:
        found = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError) as err:
        raise ValueError(_EXPECTED) from err
    if not isfinite(found):
        raise ValueError(_EXPECTED)
    return found


Number = Annotated[
    float,
    BeforeValidator(number),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": _NUMBER}]}),
]
Name = Annotated[str, Field(min_length=1, max_length=253)]
Names = Annotated[tuple[Name, ...], Field(min_length=1, max_length=_MAX_COLUMNS)]
Numbers = Annotated[tuple[Number, ...], Field(min_length=1, max_length=_MAX_COLUMNS)]
Side = Annotated[int, Field(ge=1, le=_MAX_SIDE)]
Datatype = Literal[
    "BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]


class _Block(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False,
        defer_build=True,  # most are only parts of another, whose validator has them in it
    )  # fmt: skip


class DecodeImage(_Block):
    """A PNG, JPEG or WebP file becomes pixels: UINT8, [batch, height, width, 3], RGB."""

    max_pixels: int = Field(default=33_554_432, ge=1, le=268_435_456)
    """Of all images of a request together; what is above is refused before it is decoded."""


class Resize(_Block):
    """Pixels at another size, smoothed as Pillow does."""

    width: Side | None = None
    height: Side | None = None
    shortest_side: Side | None = None
    """The shorter side gets this length, the other one keeps its proportion."""
    method: Literal["Nearest", "Bilinear", "Bicubic"] = "Bilinear"

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        both = self.width is not None and self.height is not None
        if both == (self.shortest_side is not None) or (self.width is None) != (
            self.height is None
        ):
            raise ValueError("expected width and height, or shortestSide")
        return self


class CenterCrop(_Block):
    """The middle of an image."""

    width: Side
    height: Side


class ChannelOrder(_Block):
    """The order of the colours; decoded images are RGB."""

    to: Literal["RGB", "BGR"]


class Transpose(_Block):
    """Where the channels stand."""

    to: Literal["NCHW", "NHWC"]


class Scale(_Block):
    """Multiply; integers become FP32."""

    factor: Number
    offset: Number = 0.0
    """Added afterwards."""


class Normalize(_Block):
    """Subtract the mean and divide by the standard deviation, per channel or column."""

    mean: Numbers
    std: Numbers

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("expected as many of std as of mean")
        if not all(self.std):
            raise ValueError("expected no std of 0")
        return self


class Cast(_Block):
    """Another datatype."""

    to: Datatype


class Feature(_Block):
    """One column of a table."""

    name: Name
    datatype: Literal["FP32", "INT64", "BYTES"] = "FP32"


class Columns(_Block):
    """Named columns, which become one tensor [batch, width] in this order."""

    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=_MAX_COLUMNS)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError("expected each name once")
        return self


class Impute(_Block):
    """What stands in for a missing value: NaN of a number, the empty text of a text."""

    columns: Names
    value: Number | None = None
    text: Annotated[str, Field(max_length=1024)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.value is None) == (self.text is None):
            raise ValueError("expected either value or text")
        return self


class OneHot(_Block):
    """A column per category: 1 where the value is it. Any other value is 0 in all of them."""

    columns: Names
    categories: Annotated[tuple[str | int, ...], Field(min_length=1, max_length=_MAX_CATEGORIES)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("expected each category once")
        if len({type(category) for category in self.categories}) > 1:
            raise ValueError("expected only texts or only integers")
        return self


class Standardize(_Block):
    """Subtract the mean and divide by the standard deviation, per named column."""

    columns: Names
    mean: Numbers
    std: Numbers

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if not len(self.columns) == len(self.mean) == len(self.std):
            raise ValueError("expected as many of mean and std as of columns")
        if not all(self.std):
            raise ValueError("expected no std of 0")
        return self


class Tokenize(_Block):
    """Texts become the numbers of their tokens, as a tokenizer beside the model makes them."""

    file: Annotated[str, Field(max_length=253, pattern=_FILE_NAME)] = "tokenizer.json"
    max_length: int | None = Field(default=None, ge=1, le=131_072)
    """What a text is cut to, in tokens; otherwise what the tokenizer says, or 512."""
    max_characters: int = Field(default=131_072, ge=1, le=16_777_216)
    """Of all texts of a request together; what is above is refused before it is read."""


class Softmax(_Block):
    """Scores become probabilities that sum to 1."""

    axis: int = Field(default=-1, ge=-16, le=15)
    output: Name | None = None
    """Of the model; needed where it has several of numbers."""


class Sigmoid(_Block):
    """Scores become probabilities, each by itself."""

    output: Name | None = None


class Argmax(_Block):
    """The number of the largest value."""

    axis: int = Field(default=-1, ge=-16, le=15)
    output: Name | None = None


class Threshold(_Block):
    """1 where a value is at least this, else 0."""

    value: Number
    output: Name | None = None


class TopK(_Block):
    """The largest values of a row, and their numbers."""

    k: int = Field(ge=1, le=1000)
    output: Name | None = None


class ConfigMapKey(_Block):
    """One key of a ConfigMap."""

    name: Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]

    def __str__(self) -> str:
        return f"ConfigMap '{self.name}', key '{self.key}'"


class Labels(_Block):
    """Names in place of numbers; of scores, those of the largest and the scores beside them."""

    names: (
        Annotated[
            tuple[Annotated[str, Field(max_length=MAX_LABEL_CHARACTERS)], ...],
            Field(min_length=1, max_length=MAX_LABELS),
        ]
        | None
    ) = None
    """The name of class 0, of class 1, and so on."""
    config_map: ConfigMapKey | None = None
    """Where they are written in place of `names`; `labels.py` reads them."""
    top_k: int = Field(default=1, ge=1, le=1000)
    output: Name | None = None

    @model_validator(mode="after")
    def _given(self) -> Self:
        if self.names is None and self.config_map is None:
            raise ValueError("expected names or configMap")
        return self


class _Step(_Block):
    """One step: an object with one key."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if len(self.model_fields_set) != 1 or self.step is None:
            keys = ", ".join(field.alias or "" for field in type(self).model_fields.values())
            raise ValueError(f"expected an object with exactly one of {keys}")
        return self

    @property
    def key(self) -> str:
        """How the step is written."""
        [field] = self.model_fields_set
        return type(self).model_fields[field].alias or field

    @property
    def step(self) -> _Block | None:
        """What stands under the key."""
        [field, *_] = self.model_fields_set
        found: _Block | None = getattr(self, field)
        return found


class Before(_Step):
    """A step before the model."""

    decode_image: DecodeImage | None = None
    resize: Resize | None = None
    center_crop: CenterCrop | None = None
    channel_order: ChannelOrder | None = None
    transpose: Transpose | None = None
    scale: Scale | None = None
    normalize: Normalize | None = None
    cast: Cast | None = None
    columns: Columns | None = None
    impute: Impute | None = None
    one_hot: OneHot | None = None
    standardize: Standardize | None = None
    tokenize: Tokenize | None = None


class After(_Step):
    """A step after the model."""

    softmax: Softmax | None = None
    sigmoid: Sigmoid | None = None
    argmax: Argmax | None = None
    top_k: TopK | None = None
    threshold: Threshold | None = None
    labels: Labels | None = None


class Pipeline(_Block):
    """The spec's `pipeline`."""

    preprocess: Annotated[tuple[Before, ...], Field(max_length=_MAX_STEPS)] = ()
    postprocess: Annotated[tuple[After, ...], Field(max_length=_MAX_STEPS)] = ()

    @property
    def has_steps(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.preprocess or self.postprocess)

    @property
    def labels_places(self) -> tuple[ConfigMapKey, ...]:
        """The ConfigMaps that labels are taken from."""
        found = (item.labels.config_map for item in self.postprocess if item.labels)
        return tuple(at for at in found if at is not None)
