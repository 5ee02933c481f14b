"""The requests of `model.samples`, read as a client's are.

Lives here: one file of JSON in, tensors that fit a signature out.
Stays out: what they are for (`inference/dataplane.py` warms a model up with them).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway_runtime.errors import InvalidConfig, SlipwayError, clipped
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.signature import Signature
from slipway_runtime.protocols.codec_json import decode

_MAX_BYTES = 2**20
"""Of a ConfigMap."""


def sampled(file: Path, signature: Signature) -> list[Mapping[str, Tensor]]:
    """Read a list of V2 requests.

    Raises:
        InvalidConfig: it is none, or one of them does not fit; says which and why.
    """
    return [_tensors(number, raw, signature) for number, raw in enumerate(_read(file), start=1)]


def _read(file: Path) -> list[Any]:
    try:
        with file.open("rb") as opened:
            found = json.loads(opened.read(_MAX_BYTES + 1))
    except (OSError, ValueError, RecursionError) as err:
        raise InvalidConfig(
            f"model.samples: cannot be read ({clipped(str(err), 200)}), expected a ConfigMap with "
            "a list of V2 requests"
        ) from err
    if not isinstance(found, list):
        raise InvalidConfig("model.samples: got no list, expected a list of V2 requests")
    return found


def _tensors(number: int, raw: Any, signature: Signature) -> Mapping[str, Tensor]:
    inputs = raw.get("inputs") if isinstance(raw, dict) else None
    try:
        return decode(json.dumps({"inputs": inputs}).encode(), signature).request.inputs
    except (SlipwayError, RecursionError) as err:
        raise InvalidConfig(f"model.samples: sample {number}: {err}") from err
