"""Fuse a pipeline into a model file, in a process of its own: the file may be hostile.

The child is `python -m slipway_runtime.pipeline.process MODEL OUT`, the pipeline's JSON on its
standard input; it prints one JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import onnx

from slipway_runtime.errors import InvalidConfig, InvalidModel, SupplyError
from slipway_runtime.inference.container import cap_memory
from slipway_runtime.pipeline.fuse import fused
from slipway_runtime.pipeline.spec import Pipeline
from slipway_runtime.supply.validate import answer_of, parsed_model

log: Final = logging.getLogger(__name__)


def fuse(model: Path, pipeline: Pipeline, out: Path, *, timeout_s: float) -> None:
    """Write the model that a pipeline and a model make together.

    Raises:
        InvalidConfig: a step does not go with the model.
        InvalidModel: the model cannot be read.
    """
    command = [sys.executable, "-P", "-m", __name__, str(model), str(out)]
    text = pipeline.model_dump_json(by_alias=True, exclude_unset=True)
    try:
        done = subprocess.run(  # noqa: S603  # our own module
            command, input=text.encode(), capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise InvalidModel(
            f"pipeline: not compiled into the model within {timeout_s:g}s, expected less; "
            "raise SLIPWAY_RUNTIME_VALIDATE_TIMEOUT_S if the model is that large"
        ) from err
    answer_of(done)


def write_fused(model: Path, pipeline: Pipeline, out: Path) -> None:
    """Fuse in this process; `fuse` says what may be raised."""
    found = fused(parsed_model(model), pipeline)
    partial = out.with_suffix(".part")
    onnx.save(found, str(partial))
    try:
        onnx.checker.check_model(str(partial))
    except Exception as err:  # the checker's own errors, and whatever its C++ raises
        raise InvalidConfig(f"pipeline: gives no valid model ({err})") from err
    os.replace(partial, out)


def main() -> int:
    """Fuse what the command line names; print one JSON object."""
    logging.basicConfig(stream=sys.stderr)
    cap_memory()
    answer: dict[str, object] = {}
    try:
        write_fused(
            Path(sys.argv[1]), Pipeline.model_validate_json(sys.stdin.read()), Path(sys.argv[2])
        )
    except SupplyError as err:
        answer = err.told()
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
