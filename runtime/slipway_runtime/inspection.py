"""Tell what a model file is: its signature, its digest, and requests to try it with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway_runtime.errors import NotFound, shown
from slipway_runtime.greeting import requests
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.laptop import model_name
from slipway_runtime.properties import MAX_VALUE_CHARACTERS, printable
from slipway_runtime.provenance import CONVERSION, OPTIMIZATION, Conversion, conversion
from slipway_runtime.supply.digest import file_digest
from slipway_runtime.supply.validate import inspected

_BASE = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a model file is, and what it says of itself."""

    file: Path
    digest: str
    size_bytes: int
    framework: str | None
    signature: Signature
    conversion: Conversion | None
    """Where it comes from, if Slipway has converted it."""
    properties: Mapping[str, str]


def inspection(model: Path) -> Inspection:
    """Look into a model as a server would.

    Raises:
        SupplyError: it cannot be served; the text says why.
    """
    if not model.is_file():
        raise NotFound(f"model: {shown(str(model))} is no file")
    session, framework = inspected(model)
    return Inspection(
        model,
        file_digest(model),
        model.stat().st_size,
        framework,
        session.signature,
        conversion(session.metadata),
        session.properties,
    )


def report(found: Inspection) -> str:
    """Describe a model for people."""
    signature = found.signature
    lines = [
        f"file       {found.file}",
        f"digest     {found.digest}",
        f"size       {found.size_bytes} bytes",
        f"framework  {_safe(found.framework or 'unknown')}",
        *(_line("input", spec) for spec in signature.inputs),
        *(_line("output", spec) for spec in signature.outputs),
        *_origin(found.conversion),
        *_told(found.properties),
        "",
        "Serve it:",
        f"  slipway-runtime serve {found.file}",
        *requests(signature, _BASE, model_name(found.file)),
    ]
    return "\n".join(lines)


def document(found: Inspection) -> dict[str, object]:
    """Describe a model for programs: tensors as V2 metadata has them, the rest as `report`."""
    made = found.conversion
    return {
        "file": str(found.file),
        "digest": found.digest,
        "sizeBytes": found.size_bytes,
        "framework": found.framework,
        "inputs": [spec.described() for spec in found.signature.inputs],
        "outputs": [spec.described() for spec in found.signature.outputs],
        "conversion": made and made.model_dump(mode="json", by_alias=True, exclude_none=True),
        "properties": {k: v for k, v in found.properties.items() if k != CONVERSION},
    }


def _origin(made: Conversion | None) -> Iterator[str]:
    """Where a model comes from that Slipway has converted."""
    if made is None:
        return
    labels = "all labels agree, " if made.labels_agree else ""
    yield f"source     {_safe(made.format)}, read by {_safe(made.framework)}"
    yield f"           {_safe(made.source_digest)}"
    yield f"converter  {_safe(made.converter)}"
    yield (
        f"parity     {labels}no number differs by more than {made.tolerance:g} on {made.rows} rows"
    )
    if made.columns:
        names = (name if name.isprintable() else repr(name) for name in made.columns)
        yield f"columns    {', '.join(names)}"


def _told(properties: Mapping[str, str]) -> Iterator[str]:
    """What the file says of itself, beside what `_origin` tells in words."""
    if OPTIMIZATION in properties:
        yield f"optimised  {properties[OPTIMIZATION]}"
    for key, value in properties.items():
        if key not in (OPTIMIZATION, CONVERSION):
            yield f"property   {key}  {value}"


def _safe(text: str) -> str:
    """A terminal obeys some characters, and the file is its author's."""
    return printable(text, MAX_VALUE_CHARACTERS)


def _line(kind: str, spec: TensorSpec) -> str:
    name = spec.name if spec.name.isprintable() else repr(spec.name)  # a terminal obeys some
    return f"{kind:10} {name}  {spec.datatype}  {list(spec.shape)}"
