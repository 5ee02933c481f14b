"""The termination message: how the supply step ended, in at most 4096 bytes of JSON.

The kubelet cuts longer ones at their *front*, which would leave no JSON at all. What is dropped
first is the tail of the signature, then the tail of the message.

`tests/contract/termination.schema.json` is generated from these types:
`python -m slipway_runtime.supply.termination --check PATH | --write PATH`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from slipway_runtime.errors import Foreign, SupplyError, clipped
from slipway_runtime.schema import schema_main
from slipway_runtime.vocabulary import Format

MAX_BYTES: Final = 4096
EXIT_OK: Final = 0
EXIT_TERMINAL: Final = 10
EXIT_TRANSIENT: Final = 11

_MAX_MESSAGE_BYTES: Final = 2048
"""JSON escapes can double it; the rest is names and punctuation."""

Reason = Literal[
    "NotFound",
    "AccessDenied",
    "DigestMismatch",
    "SignatureMismatch",
    "Unsupported",
    "PickleNotAllowed",
    "InvalidModel",
    "ConversionMismatch",
    "InvalidConfig",
    "Untrusted",
    "DiskFull",
    "Unavailable",
]


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Message(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class SignatureTensor(_Message):
    """One input or output, as V2 metadata writes it."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class SignatureSummary(_Message):
    """The model's inputs and outputs, or as many of them as fit."""

    inputs: tuple[SignatureTensor, ...]
    outputs: tuple[SignatureTensor, ...]
    truncated: bool | None = None
    """True when tensors are missing; the runtime's metadata has them all."""


class ParitySummary(_Message):
    """How far the model that is served is from the original."""

    rows: int = Field(ge=1)
    max_abs_diff: Annotated[str, Field(pattern=r"^[0-9.]{1,16}(e[+-][0-9]{1,3})?$")]
    """Largest difference of a number; text, because statuses hold no fractions."""
    label_agreement_percent: int | None = Field(default=None, ge=0, le=100)
    """None where the model gives no labels."""


class OptimizationSummary(_Message):
    """Before and after; the time is the median of one run, on one thread of where it was made."""

    size_bytes_before: int = Field(ge=1)
    latency_microseconds_before: int = Field(ge=0)
    latency_microseconds_after: int = Field(ge=0)


class ConversionSummary(_Message):
    """What a model was before it was converted, by the word of the process that loaded it."""

    source_digest: Digest
    framework: Annotated[str, Field(max_length=100)]
    """Name and version of the library that read it."""
    parity: ParitySummary | None = None
    """None in pods, which repeat what was compared before."""
    optimization: OptimizationSummary | None = None


class SupplyResult(_Message):
    """What the supply step found."""

    digest: Digest
    """Of the ONNX model."""
    format: Format = "ONNX"
    """What lies at `model.uri`."""
    size_bytes: int = Field(ge=1)
    signature: SignatureSummary | None = None
    """Only the resolving Job looks into the model."""
    source: Annotated[str, Field(max_length=2048)] | None = None
    """URI by which the same bytes can be had again, where `model.uri` may come to mean others."""
    framework: str | None = None
    """Name of the program that exported the model, in its own words."""
    conversion: ConversionSummary | None = None
    """Of a model that is not served as it came."""
    labels_digest: Digest | None = None
    """Of the labels that the pipeline takes from ConfigMaps."""


class Look(_Message):
    """What lies at `model.uri` now, by the word of a step that looked."""

    digest: Digest
    """Of the file, archive or folder, as `model.digest` would name it."""
    mark: Digest | None = None
    """Hash of what the store tells in place of the bytes: the same as long as they are."""


class SupplyFailure(_Message):
    """Why there is no model."""

    reason: Reason
    terminal: bool
    """Whether only another spec can help."""
    message: str
    format: Format | None = None
    """Where converting the model is all that is missing: what it is."""


class Succeeded(_Message):
    """The step ended with exit code 0."""

    result: SupplyResult


class Looked(_Message):
    """The step looked at the source, and ended with exit code 0."""

    look: Look


class Failed(_Message):
    """The step ended with exit code 10 (terminal) or 11 (transient)."""

    failure: SupplyFailure


def success_text(result: SupplyResult | Look) -> str:
    """Render a result; tensors are dropped from the end until it fits."""
    if isinstance(result, Look):
        return _text(Looked(look=result))
    text = _text(Succeeded(result=result))
    while len(text.encode()) > MAX_BYTES and result.signature:
        result = result.model_copy(update={"signature": _shortened(result.signature)})
        text = _text(Succeeded(result=result))
    return text


def failure_text(error: SupplyError) -> str:
    """Render a failure; the message is cut until it fits."""
    limit = _MAX_MESSAGE_BYTES
    text = _failure(error, limit)
    while len(text.encode()) > MAX_BYTES:
        limit //= 2
        text = _failure(error, limit)
    return text


def exit_code(error: SupplyError) -> int:
    """10 when only another spec can help, 11 when a later attempt can."""
    return EXIT_TERMINAL if error.terminal else EXIT_TRANSIENT


def _failure(error: SupplyError, limit_bytes: int) -> str:
    message = clipped(str(error), limit_bytes)
    return _text(
        Failed(
            failure=SupplyFailure(
                reason=error.reason,
                terminal=error.terminal,
                message=message,
                format=cast("Format", error.format) if isinstance(error, Foreign) else None,
            )
        )
    )


def _shortened(signature: SignatureSummary) -> SignatureSummary | None:
    """Without half of its last non-empty list; None when nothing is left."""
    inputs, outputs = signature.inputs, signature.outputs
    if outputs:
        outputs = outputs[: len(outputs) // 2]
    elif inputs:
        inputs = inputs[: len(inputs) // 2]
    else:
        return None
    return SignatureSummary(inputs=inputs, outputs=outputs, truncated=True)


def _text(message: _Message) -> str:
    return message.model_dump_json(by_alias=True, exclude_none=True)


def write_message(path: Path, text: str) -> bool:
    """Write the message where the kubelet reads it; False where there is no such place."""
    try:
        path.write_text(text, "utf-8")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(
        schema_main(
            TypeAdapter(Succeeded | Looked | Failed).json_schema(by_alias=True),
            title="termination message",
        )
    )
