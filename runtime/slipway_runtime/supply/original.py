"""A model of another format on its way through three processes: fetched, converted, taken over.

Lives here: the files that they hand on. `original.json` is written by the process that fetched, and
is true; `report.json` is written where code of the model may have run, and is believed no further
than its form.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from slipway_runtime.errors import InvalidModel, Unavailable
from slipway_runtime.supply.termination import Digest, OptimizationSummary, ParitySummary
from slipway_runtime.vocabulary import Format

MODEL: Final = "model"
CONVERTED: Final = "model.onnx"
_FACTS: Final = "original.json"
_REPORT: Final = "report.json"
_MAX_REPORT_BYTES: Final = 65_536


class _File(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class Original(_File):
    """What was found at `model.uri`."""

    format: Format
    digest: Digest
    source: str | None = None
    """URI by which the same bytes can be had again, where `model.uri` may come to mean others."""
    path: str = MODEL
    """Of the model beside this file: a file, or the folder of a SavedModel."""


class Report(_File):
    """What the converting process tells."""

    framework: Annotated[str, Field(max_length=100)]
    parity: ParitySummary | None = None
    """None where nothing was compared: the digest of the result is known."""
    optimization: OptimizationSummary | None = None


def write_original(folder: Path, original: Original) -> None:
    """Leave the facts beside the model."""
    # What is as always is left out: the converter's image may be of an earlier release.
    text = original.model_dump_json(by_alias=True, exclude_defaults=True)
    (folder / _FACTS).write_text(text, "utf-8")


def read_original(folder: Path) -> Original:
    """Read what the fetching process has left.

    Raises:
        Unavailable: it has not run, or not to its end.
    """
    try:
        return Original.model_validate_json((folder / _FACTS).read_bytes())
    except (OSError, ValidationError) as err:
        raise Unavailable(
            f"{_FACTS}: cannot be read in {str(folder)!r}; run `fetch --as-is` first"
        ) from err


def write_report(folder: Path, report: Report) -> None:
    """Tell how a conversion went."""
    (folder / _REPORT).write_text(report.model_dump_json(by_alias=True), "utf-8")


def read_report(folder: Path) -> Report:
    """Read what the converting process tells.

    Raises:
        InvalidModel: it is no report.
    """
    with untrusted(folder / _REPORT) as file:
        text = file.read(_MAX_REPORT_BYTES)
    try:
        return Report.model_validate_json(text)
    except ValidationError as err:
        raise InvalidModel("model: its conversion left no report that can be read") from err


@contextmanager
def untrusted(path: Path) -> Iterator[BinaryIO]:
    """Open what may be a link, a pipe or a device for reading, if it is a file.

    Raises:
        InvalidModel: it is something else, or not there.
    """
    try:
        # Not blocking: whoever opens a pipe for reading waits for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise InvalidModel(f"model: its conversion left no file {path.name!r}") from err
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidModel(f"model: its conversion left {path.name!r}, which is no file")
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)
