"""What the supply step leaves for the serving container: a model, and what is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from slipway_runtime.errors import NotFound

MODEL_FILE: Final = "model.onnx"
FACTS_FILE: Final = "model.json"
_FUSED_FILE: Final = ".fused.onnx"
_FILE: Final = "file"
"""Key of the facts: the model's path below the folder, where it is not `model.onnx`."""
_IS_FUSED: Final = "fused"
"""Key of the facts: whether what is served is the file that was made of the model."""


def supplied_digest(folder: Path) -> str:
    """Read which digest the supply step has put into a folder.

    Raises:
        NotFound: it has not run, or not to its end.
    """
    try:
        return str(_facts(folder)["digest"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise _unreadable(folder) from err


def supplied_model(folder: Path) -> Path:
    """Find the model that the supply step has put into a folder.

    Raises:
        NotFound: it has not run, or not to its end.
    """
    try:
        return folder / str(_facts(folder).get(_FILE, MODEL_FILE))
    except (OSError, ValueError, AttributeError) as err:
        raise _unreadable(folder) from err


def served_model(folder: Path, *, has_pipeline: bool) -> Path:
    """Find what is served of it: the model, or what was made of it.

    Raises:
        NotFound: the supply step has not run, or not to its end.
    """
    model = supplied_model(folder)
    return fused_file(model) if has_pipeline or _facts(folder).get(_IS_FUSED) else model


def fused_file(model: Path) -> Path:
    """Where what was made of the model lies: beside it, whose data it names.

    A folder that was fetched has no files that begin with a dot, so nothing is in its place.
    """
    return model.with_name(_FUSED_FILE)


def write_facts(
    folder: Path, facts: dict[str, Any], model: Path, *, is_fused: bool = False
) -> None:
    """Write what was found out, in the end: it says that all the rest is there."""
    if is_fused:
        facts = {**facts, _IS_FUSED: True}
    if model != folder / MODEL_FILE:
        facts = {**facts, _FILE: model.relative_to(folder).as_posix()}
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / FACTS_FILE).read_text("utf-8"))
    return facts


def _unreadable(folder: Path) -> NotFound:
    return NotFound(f"{FACTS_FILE}: cannot be read in {str(folder)!r}; run `fetch --into` first")
