"""What the supply step leaves for the serving container: a model, and what is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from slipway_runtime.errors import NotFound

MODEL_FILE: Final = "model.onnx"
FACTS_FILE: Final = "model.json"
FUSED_FILE: Final = "fused.onnx"
"""The model with its pipeline, where the spec has one."""


def supplied_digest(folder: Path) -> str:
    """Read which digest the supply step has put into a folder.

    Raises:
        NotFound: it has not run, or not to its end.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS_FILE).read_text("utf-8"))
        return str(facts["digest"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise NotFound(
            f"{FACTS_FILE}: cannot be read in {str(folder)!r}; run `fetch --into` first"
        ) from err
