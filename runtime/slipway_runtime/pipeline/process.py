"""Make the file that is served, in a process of its own: what it is made of may be hostile.

A pipeline is fused into the model, a ZipMap at its end is taken away, hard-swish is put together.

The child is `python -m slipway_runtime.pipeline.process GRAPH MODEL OUT [TOKENIZER]`, with the
pipeline's JSON on its standard input; it prints one JSON object.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import onnx

from slipway_runtime.errors import InvalidConfig, InvalidModel, SupplyError
from slipway_runtime.inference.container import cap_memory
from slipway_runtime.pipeline.fuse import fused, inputs_of
from slipway_runtime.pipeline.hardswish import join
from slipway_runtime.pipeline.spec import Pipeline
from slipway_runtime.pipeline.texts import (
    check_tokenizer,
    found_tokenizer,
    tokenize_step,
    tokenizer_beside,
)
from slipway_runtime.pipeline.zipmap import flatten
from slipway_runtime.supply.validate import answer_of, broken_rules, parsed_model
from slipway_runtime.vocabulary import FUSING, GraphOptimization

log: Final = logging.getLogger(__name__)


def fuse(
    model: Path,
    pipeline: Pipeline,
    out: Path,
    *,
    graph: GraphOptimization,
    tokenizers: Path | None = None,
    timeout_s: float,
) -> None:
    """Write the model that a pipeline and a model make together, and its tokenizer beside it.

    Args:
        model: the ONNX file.
        pipeline: with all labels in it; it may be empty, for a model that is changed anyway.
        out: the file to write.
        graph: the level of `model.optimization`.
        tokenizers: up to which folder above the model a tokenizer is looked for; by default only
            the model's own.
        timeout_s: for all of it.

    Raises:
        NotFound: there is no tokenizer.
        InvalidConfig: a step does not go with the model.
        InvalidModel: the model cannot be read.
    """
    command = [sys.executable, "-P", "-m", __name__, graph, str(model), str(out)]
    if step := tokenize_step(pipeline):
        command.append(str(found_tokenizer(step, model, tokenizers or model.parent)))
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


def write_fused(
    graph: str, model: Path, pipeline: Pipeline, out: Path, tokenizer: Path | None = None
) -> None:
    """Fuse in this process; `fuse` says what may be raised."""
    found = _made(parsed_model(model), pipeline, graph)
    if out.parent != model.parent:
        onnx.load_external_data_for_model(found, str(model.parent))
    step = tokenize_step(pipeline)
    if step and tokenizer:
        check_tokenizer(step, tokenizer, list(inputs_of(found.graph).values()))
        shutil.copyfile(tokenizer, tokenizer_beside(out))
    partial = out.with_suffix(".part")
    onnx.save(found, str(partial))
    try:
        onnx.checker.check_model(str(partial))
    except Exception as err:  # the checker's own errors, and whatever its C++ raises
        if not pipeline.has_steps:
            raise InvalidModel(broken_rules(err)) from err
        raise InvalidConfig(f"pipeline: gives no valid model ({err})") from err
    os.replace(partial, out)


def _made(proto: Any, pipeline: Pipeline, graph: str) -> Any:
    """A model as it is served: with the pipeline, if there is one."""
    flatten(proto)
    if graph in FUSING:
        join(proto)
    told = {prop.key: prop.value for prop in proto.metadata_props}
    found = fused(proto, pipeline) if pipeline.has_steps else proto
    # A conversion to another opset loses what the file says of itself.
    onnx.helper.set_model_props(found, told)
    return found


def main() -> int:
    """Fuse what the command line names; print one JSON object."""
    logging.basicConfig(stream=sys.stderr)
    cap_memory()
    answer: dict[str, object] = {}
    try:
        pipeline = Pipeline.model_validate_json(sys.stdin.read())
        graph, (model, out, *tokenizer) = sys.argv[1], map(Path, sys.argv[2:])
        write_fused(graph, model, pipeline, out, *tokenizer)
    except SupplyError as err:
        answer = err.told()
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
