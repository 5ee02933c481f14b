"""Labels that lie in a ConfigMap: one a line, as tutorials hand them out.

Lives here: reading them, within bounds, and what they hash to.
Stays out: where the ConfigMap is mounted (`supply/`), and how many there have to be (`answers.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway_runtime.errors import InvalidConfig, NotFound, shown
from slipway_runtime.pipeline.spec import (
    MAX_LABEL_CHARACTERS,
    MAX_LABELS,
    After,
    ConfigMapKey,
    Labels,
    Pipeline,
)

_MAX_BYTES: Final = 2**20
"""As large as a ConfigMap can be."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Locate = Callable[[ConfigMapKey], Path]
"""Where a key of a ConfigMap is to be found as a file."""


def spelled_out(pipeline: Pipeline, locate: Locate) -> Pipeline:
    """Put the labels that lie in ConfigMaps in their places.

    Raises:
        NotFound: the file is not there.
        InvalidConfig: it is no list of labels; the message names ConfigMap, key and line.
    """
    if not any(item.labels for item in pipeline.postprocess):
        return pipeline
    steps = [_step(number, item, locate) for number, item in enumerate(pipeline.postprocess)]
    return pipeline.model_copy(update={"postprocess": tuple(steps)})


def labels_digest(pipeline: Pipeline) -> str | None:
    """Hash the labels that came out of ConfigMaps; None where none did.

    Only of a pipeline that is spelled out: the names count, not how lines end.
    """
    found = [s.names for item in pipeline.postprocess if (s := item.labels) and s.config_map]
    if not found:
        return None
    canonical = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _step(number: int, item: After, locate: Locate) -> After:
    step = item.labels
    if step is None or step.config_map is None:
        return item
    where = f"pipeline.postprocess[{number}].labels"
    if step.names is not None:
        raise InvalidConfig(f"{where}: got names and configMap, expected one of them")
    names = _read(locate(step.config_map), f"{where}: {step.config_map}")
    named: Labels = step.model_copy(update={"names": names})
    return item.model_copy(update={"labels": named})


def _read(file: Path, where: str) -> tuple[str, ...]:
    lines = _lines(file, where)
    while lines and not lines[-1]:
        lines.pop()
    if not 1 <= len(lines) <= MAX_LABELS:
        raise InvalidConfig(
            f"{where}: got {len(lines)} labels, expected 1 to {MAX_LABELS}, one a line"
        )
    for number, name in enumerate(lines, start=1):
        if problem := _problem(name):
            raise InvalidConfig(f"{where}, line {number}: {problem}")
    return tuple(lines)


def _lines(file: Path, where: str) -> list[str]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as err:
        raise NotFound(
            f"{where}: cannot be read ({os.strerror(err.errno or 0)}), expected a label a line"
        ) from err
    if len(raw) > _MAX_BYTES or raw.count(b"\n") > 2 * MAX_LABELS:
        raise InvalidConfig(
            f"{where}: expected at most {MAX_LABELS} labels in {_MAX_BYTES} bytes, got more"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InvalidConfig(f"{where}: byte {err.start} is no UTF-8, expected text") from err
    return [line.strip(" \t\r") for line in text.split("\n")]


def _problem(name: str) -> str:
    """What is wrong with a label; empty when nothing is."""
    if not name:
        return "is empty, expected a label on each line"
    if len(name) > MAX_LABEL_CHARACTERS:
        return f"has {len(name)} characters, expected at most {MAX_LABEL_CHARACTERS}"
    if _CONTROL.search(name):
        return f"got {shown(name)}, expected no control characters; one label a line"
    return ""
