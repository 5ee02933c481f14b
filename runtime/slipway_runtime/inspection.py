"""Tell what a model file is: its signature, its digest, and a request to try it with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slipway_runtime.errors import NotFound, shown
from slipway_runtime.inference.signature import TensorSpec
from slipway_runtime.laptop import model_name
from slipway_runtime.supply.digest import file_digest
from slipway_runtime.supply.validate import inspected

_SAMPLE_ELEMENTS = 64


def report(model: Path) -> str:
    """Describe a model for people.

    Raises:
        SupplyError: it cannot be served; the text says why.
    """
    if not model.is_file():
        raise NotFound(f"model: {shown(str(model))} is no file")
    session, framework = inspected(model)
    signature = session.signature
    lines = [
        f"file       {model}",
        f"digest     {file_digest(model)}",
        f"size       {model.stat().st_size} bytes",
        f"framework  {framework or 'unknown'}",
        *(_line("input", spec) for spec in signature.inputs),
        *(_line("output", spec) for spec in signature.outputs),
        "",
        "Serve it:",
        f"  slipway-runtime serve {model}",
        "and ask it:",
        f"  curl -s http://127.0.0.1:8080/v2/models/{model_name(model)}/infer \\",
        f"    -d '{_request(signature.inputs)}'",
    ]
    return "\n".join(lines)


def _line(kind: str, spec: TensorSpec) -> str:
    return f"{kind:10} {spec.name}  {spec.datatype}  {list(spec.shape)}"


def _request(inputs: tuple[TensorSpec, ...]) -> str:
    return json.dumps({"inputs": [_sample(spec) for spec in inputs]})


def _sample(spec: TensorSpec) -> dict[str, Any]:
    shape = [1 if size == -1 else size for size in spec.shape]
    count = 1
    for size in shape:
        count *= size
    zero: Any = "" if spec.datatype == "BYTES" else 0
    data: Any = [zero] * count if count <= _SAMPLE_ELEMENTS else [f"… {count} numbers …"]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data}
