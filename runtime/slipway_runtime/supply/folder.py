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


def fused_file(model: Path) -> Path:
    """Where the model with its pipeline lies: beside the model, whose data it names.

    A folder that was fetched has no files that begin with a dot, so nothing is in its place.
    """
    return model.with_name(_FUSED_FILE)


def write_facts(folder: Path, facts: dict[str, Any], model: Path) -> None:
    """Write what was found out, in the end: it says that all the rest is there."""
    if model != folder / MODEL_FILE:
        facts = {**facts, _FILE: model.relative_to(folder).as_posix()}
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / FACTS_FILE).read_text("utf-8"))
    return facts


def _unreadable(folder: Path) -> NotFound:
    return NotFound(f"{FACTS_FILE}: cannot be read in {str(folder)!r}; run `fetch --into` first")
