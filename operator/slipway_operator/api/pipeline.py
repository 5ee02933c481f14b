"""The block `spec.pipeline`: what is done to a request before the model, and to its answer after.

Lives here: the fields and their bounds. All of it belongs to the revision.
Stays out: what the steps compute, and whether they fit the model: the runtime's `pipeline/`, which
the supply step asks before anything is deployed. `tests/contract` holds both to the same steps.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema

from slipway_operator.api.fields import Block, block_rules, rule
from slipway_operator.api.references import KeyReference

_MAX_STEPS: Final = 32
_MAX_COLUMNS: Final = 1024
_MAX_CATEGORIES: Final = 4096
_MAX_LABELS: Final = 20_000

Number = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": "^[-+0-9.eE/]+$",  # the runtime reads it, and says more
            "maxLength": 40,
        }
    ),
]
"""A whole number, or the text of any: `"0.229"`, `"1/255"`. Tools rewrite floats, never texts."""
Word = Annotated[int | str, WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 1024})]
Name = Annotated[str, Field(min_length=1, max_length=253)]


def _items(most: int) -> Any:
    return Field(min_length=1, max_length=most)


Names = Annotated[list[Name], _items(_MAX_COLUMNS)]
Numbers = Annotated[list[Number], _items(_MAX_COLUMNS)]

_OUTPUT: Final = "output of the model that is meant."
_COLUMNS: Final = "columns, by name."
_MEAN: Final = "mean to subtract."
_STD: Final = "std to divide by."


def _output() -> str | None:
    found: str | None = Field(default=None, min_length=1, max_length=253, description=_OUTPUT)
    return found


class DecodeImage(Block):
    """The bytes of a PNG, JPEG or WebP file become pixels."""

    max_pixels: int | None = Field(
        default=None,
        ge=1,
        le=268_435_456,
        description="maxPixels of a request. Default 33554432.",
    )


class Resize(Block):
    """Pixels at another size."""

    width: int | None = Field(default=None, ge=1, le=8192, description="width.")
    height: int | None = Field(default=None, ge=1, le=8192, description="height.")
    shortest_side: int | None = Field(
        default=None,
        ge=1,
        le=8192,
        description="shortestSide, in place of both.",
    )
    method: Literal["Nearest", "Bilinear", "Bicubic"] | None = Field(
        default=None, description="method, as Pillow has it. Default Bilinear."
    )


class CenterCrop(Block):
    """The middle of an image."""

    width: int = Field(ge=1, le=8192, description="width.")
    height: int = Field(ge=1, le=8192, description="height.")


class ChannelOrder(Block):
    """The order of the colours."""

    to: Literal["RGB", "BGR"] = Field(description="to this order.")


class Transpose(Block):
    """Where the channels stand."""

    to: Literal["NCHW", "NHWC"] = Field(description="to this layout.")


class Scale(Block):
    """A factor and an offset."""

    factor: Number = Field(description="factor, such as 1/255.")
    offset: Number | None = Field(default=None, description="offset, added afterwards. Default 0.")


class Normalize(Block):
    """Mean and standard deviation per channel."""

    mean: Numbers = Field(description=_MEAN)
    std: Numbers = Field(description=_STD)


class Cast(Block):
    """Another datatype."""

    to: Literal["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"] = Field(
        description="to this datatype."
    )


class Feature(Block):
    """One column."""

    name: Name = Field(description="name of the input.")
    datatype: Literal["FP32", "INT64", "BYTES"] | None = Field(
        default=None, description="datatype; BYTES is text. Default FP32."
    )


class Columns(Block):
    """Named inputs in place of one tensor."""

    features: Annotated[list[Feature], _items(_MAX_COLUMNS)] = Field(
        description="features, in order."
    )


class Impute(Block):
    """What stands in for a missing value."""

    columns: Names = Field(description=_COLUMNS)
    value: Number | None = Field(default=None, description="value for columns of numbers.")
    text: str | None = Field(
        default=None, max_length=1024, description="text for columns of texts."
    )


class OneHot(Block):
    """A column per category."""

    columns: Names = Field(description=_COLUMNS)
    categories: Annotated[list[Word], _items(_MAX_CATEGORIES)] = Field(description="categories.")


class Standardize(Block):
    """Mean and standard deviation per named column."""

    columns: Names = Field(description=_COLUMNS)
    mean: Numbers = Field(description=_MEAN)
    std: Numbers = Field(description=_STD)


class Tokenize(Block):
    """Texts become tokens."""

    file: str | None = Field(
        default=None,
        max_length=253,
        pattern="^[-_A-Za-z0-9][-._A-Za-z0-9]*$",
        description="file beside the model, or in a folder above. Default tokenizer.json.",
    )
    max_length: int | None = Field(
        default=None, ge=1, le=131_072, description="maxLength in tokens."
    )
    max_characters: int | None = Field(
        default=None,
        ge=1,
        le=16_777_216,
        description="maxCharacters of a request. Default 131072.",
    )


class Softmax(Block):
    """Scores become probabilities."""

    axis: int | None = Field(default=None, ge=-16, le=15, description="axis. Default -1.")
    output: str | None = _output()


class Sigmoid(Block):
    """Each score becomes a probability."""

    output: str | None = _output()


class Argmax(Block):
    """The number of the largest value."""

    axis: int | None = Field(default=None, ge=-16, le=15, description="axis. Default -1.")
    output: str | None = _output()


class TopK(Block):
    """The largest values and their numbers."""

    k: int = Field(ge=1, le=1000, description="k, how many.")
    output: str | None = _output()


class Threshold(Block):
    """1 where a value is large enough, else 0."""

    value: Number = Field(description="value from which it is 1.")
    output: str | None = _output()


class Labels(Block):
    """Names in place of numbers."""

    model_config = block_rules(
        rule(
            "has(self.names) != has(self.configMap)",
            "pipeline.postprocess.labels: expected one of names and configMap",
        )
    )

    names: Annotated[list[Annotated[str, Field(max_length=1024)]], _items(_MAX_LABELS)] | None = (
        Field(default=None, description="names of the classes, in order.")
    )
    config_map: KeyReference | None = Field(
        default=None, description="configMap with them, one a line. Its digest is pinned."
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="topK of the most probable classes. Default 1.",
    )
    output: str | None = _output()


def _one_of(where: str, keys: tuple[str, ...]) -> dict[str, str]:
    found = ", ".join(f"has(self.{key})" for key in keys)
    return rule(
        f"[{found}].filter(x, x).size() == 1",
        f"{where}: expected exactly one of {', '.join(keys)} in each item",
    )


class Preprocess(Block):
    """One step before the model."""

    model_config = block_rules(
        _one_of(
            "pipeline.preprocess",
            (
                "decodeImage", "resize", "centerCrop", "channelOrder", "transpose", "scale",
                "normalize", "cast", "columns", "impute", "oneHot", "standardize", "tokenize",
            ),
        )
    )  # fmt: skip

    decode_image: DecodeImage | None = Field(
        default=None,
        description="decodeImage: clients send PNG, JPEG or WebP files.",
    )
    resize: Resize | None = Field(default=None, description="resize images.")
    center_crop: CenterCrop | None = Field(default=None, description="centerCrop cuts images.")
    channel_order: ChannelOrder | None = Field(default=None, description="channelOrder of images.")
    transpose: Transpose | None = Field(default=None, description="transpose images.")
    scale: Scale | None = Field(default=None, description="scale numbers.")
    normalize: Normalize | None = Field(
        default=None, description="normalize per channel, or per column."
    )
    cast: Cast | None = Field(default=None, description="cast to another datatype.")
    columns: Columns | None = Field(default=None, description="columns that clients send by name.")
    impute: Impute | None = Field(default=None, description="impute missing values.")
    one_hot: OneHot | None = Field(default=None, description="oneHot makes a column per category.")
    standardize: Standardize | None = Field(
        default=None, description="standardize numbers per named column."
    )
    tokenize: Tokenize | None = Field(
        default=None, description="tokenize: clients send texts. It stands alone."
    )


class Postprocess(Block):
    """One step after the model."""

    model_config = block_rules(
        _one_of(
            "pipeline.postprocess",
            ("softmax", "sigmoid", "argmax", "topK", "threshold", "labels"),
        )
    )

    softmax: Softmax | None = Field(default=None, description="softmax of scores.")
    sigmoid: Sigmoid | None = Field(default=None, description="sigmoid of scores.")
    argmax: Argmax | None = Field(default=None, description="argmax: output index.")
    top_k: TopK | None = Field(
        default=None, description="topK values: outputs probability and index."
    )
    threshold: Threshold | None = Field(default=None, description="threshold of values.")
    labels: Labels | None = Field(
        default=None, description="labels for classes: outputs label and probability."
    )


class Pipeline(Block):
    """What is done before and after the model."""

    preprocess: Annotated[list[Preprocess], _items(_MAX_STEPS)] | None = Field(
        default=None,
        description="preprocess: steps from a request to the model. Revisioned.",
    )
    postprocess: Annotated[list[Postprocess], _items(_MAX_STEPS)] | None = Field(
        default=None,
        description="postprocess: steps from the model to an answer. Revisioned.",
    )
