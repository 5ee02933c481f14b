"""What a converted model says of itself, in the metadata of its ONNX file.

Lives here: the key and the form, for the step that writes it and for all who show it.
It holds what is true of every conversion of the same bytes by the same libraries, and no measured
time or difference: two conversions are then the same file, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

CONVERSION: Final = "slipway.dev/conversion"
OPTIMIZATION: Final = "slipway.dev/optimization"
CLASSES: Final = "slipway.dev/classes."
"""Before the name of an output: a JSON list of the classes of its columns."""
DIGEST: Final = "slipway.dev/digest"
"""In no file: what a server adds, of the file that was published."""
MAX_TOLD_CHARACTERS: Final = 4096
"""Of one entry; lists are shortened to it."""
_MAX_CONVERSION_CHARACTERS: Final = 2**20


class Conversion(BaseModel):
    """Where a converted model comes from, and what it was held to."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True
    )

    format: str
    framework: str
    source_digest: str
    converter: str
    """Names and versions of what wrote the graph."""
    rows: int
    """Rows on which original and converted model were compared."""
    tolerance: float
    """No number differed by more, relative to its size where that is above 1."""
    labels_agree: bool | None = None
    """True where there are labels: all of them were equal."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table, where the original knew them."""


def conversion(metadata: Mapping[str, str]) -> Conversion | None:
    """Read it; None for a model that Slipway has not converted."""
    told = metadata.get(CONVERSION, "")
    if len(told) > _MAX_CONVERSION_CHARACTERS:
        return None
    try:
        return Conversion.model_validate_json(told)
    except ValidationError:
        return None
