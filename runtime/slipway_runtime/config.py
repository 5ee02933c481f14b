"""serving.json: what the operator tells the runtime about one revision.

Lives here: the contract's types, their defaults, and error texts that name the field.
Stays out: what the process itself decides (`settings.py`), and the operator's own rendering of it.

The `model` and `serving` blocks are the user's, word for word; defaults are applied here when a
value is read, so that a new default changes no stored document.
`tests/contract/serving.schema.json` is generated from these types:
`python -m slipway_runtime.config --check PATH | --write PATH`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from slipway_runtime.errors import ConfigError, shown
from slipway_runtime.pipeline.spec import Pipeline
from slipway_runtime.schema import schema_main
from slipway_runtime.units import DURATION_PATTERN, QUANTITY_PATTERN, duration_s, quantity_bytes
from slipway_runtime.vocabulary import Format, GraphOptimization, Pruning, Quantization

_MAX_BODY_BYTES: Final = 2**31 - 1
"""A larger body could not be one message of any of our wires."""

_MAX_DURATION_CHARACTERS: Final = 24
_DURATION_SCHEMA: Final = {
    "type": "string",
    "pattern": DURATION_PATTERN,
    "maxLength": _MAX_DURATION_CHARACTERS,
}
_LABEL_VALUE: Final = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_MAX_TIMEOUT_S: Final = 24 * 3600.0
_MAX_DELAY_S: Final = 1.0


def _timeout(text: str) -> str:
    if not 0 < duration_s(text) <= _MAX_TIMEOUT_S:
        raise ValueError("expected a duration above 0s and up to 24h")
    return text


def _delay(text: str) -> str:
    if duration_s(text) > _MAX_DELAY_S:
        raise ValueError("expected a duration from 0s to 1s")
    return text


def _body_size(value: str | int) -> str | int:
    if not 1 <= quantity_bytes(value) <= _MAX_BODY_BYTES:
        raise ValueError("expected a size from 1 byte to below 2Gi")
    return value


def _distinct(protocols: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(protocols)) != len(protocols):
        raise ValueError("expected each protocol once")
    return protocols


def _threads(value: object) -> object:
    is_count = (
        isinstance(value, int | str) and not isinstance(value, bool) and str(value).isdecimal()
    )
    if value != "Auto" and not (is_count and 1 <= int(str(value)) <= 256):
        raise ValueError("expected 'Auto' or a number from 1 to 256")
    return value


Timeout = Annotated[
    str,
    Field(max_length=_MAX_DURATION_CHARACTERS),
    AfterValidator(_timeout),
    WithJsonSchema(_DURATION_SCHEMA),
]
Delay = Annotated[
    str,
    Field(max_length=_MAX_DURATION_CHARACTERS),
    AfterValidator(_delay),
    WithJsonSchema(_DURATION_SCHEMA),
]
BodySize = Annotated[
    str | int,
    BeforeValidator(_body_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": QUANTITY_PATTERN},
                {"type": "integer", "minimum": 1},
            ]
        }
    ),
]
Threads = Annotated[
    str | int,
    BeforeValidator(_threads),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^(Auto|[1-9][0-9]{0,2})$"},
                {"type": "integer", "minimum": 1, "maximum": 256},
            ]
        }
    ),
]
Protocols = Annotated[
    tuple[Literal["REST", "GRPC"], ...],
    Field(min_length=1, max_length=2, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]
ExecutionProvider = Literal["CPU", "CUDA", "OpenVINO"]
Size = Annotated[int, Field(ge=-1, le=2**31 - 1)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Block(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False,
        defer_build=True,  # most are only parts of another, whose validator has them in it
    )  # fmt: skip


Name = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
ProxyURL = Annotated[str, Field(max_length=512, pattern=r"^https?://[^@/\s]+/?$")]


class CredentialsBlock(_Block):
    """The spec's `model.credentials`: its keys are mounted where the model is fetched."""

    secret_name: Name


class KeyReference(_Block):
    """One key of a ConfigMap or a Secret."""

    name: Name
    key: str = Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")


class FileReference(_Block):
    """A file that comes from a ConfigMap or from a Secret."""

    config_map: KeyReference | None = None
    secret: KeyReference | None = None


class SamplesBlock(_Block):
    """The spec's `model.samples`: where examples of requests are."""

    config_map: KeyReference


class ProxyBlock(_Block):
    """The spec's `model.proxy`: the way out of the cluster."""

    http: ProxyURL | None = None
    """For `http://` stores."""
    https: ProxyURL | None = None
    """For `https://` stores, by CONNECT: the proxy sees no bytes."""
    no_proxy: str | None = Field(default=None, max_length=2048)
    """Hosts, domains, addresses and networks that are reached directly, by commas."""


class VerifyBlock(_Block):
    """The spec's `model.verify`: who has to have signed the artifact."""

    cosign_key: FileReference


class CacheBlock(_Block):
    """The spec's `model.cache`: where models are kept that were fetched before."""

    persistent_volume_claim: Name


class OptimizationBlock(_Block):
    """The spec's `model.optimization`: what is done to the model before it is served."""

    graph: GraphOptimization = "All"
    """What ONNX Runtime does to the graph when a pod loads it; nothing of it is stored."""
    quantization: Quantization = "None"
    """How weights are stored."""
    pruning: Pruning = "None"
    """`Magnitude` sets the smallest weights to zero."""
    sparsity_percent: int = Field(default=0, ge=1, le=99)
    """How many of them."""
    min_agreement_percent: int = Field(default=99, ge=0, le=100)
    """Labels that must not change; where there are none, what numbers may differ by."""

    @property
    def rewrites(self) -> bool:
        """Whether other bytes are served than were fetched."""
        return self.quantization != "None" or self.pruning != "None"


class InputBlock(_Block):
    """One input of a model whose file does not say it."""

    name: str = Field(min_length=1, max_length=256)
    datatype: Literal["FP16", "FP32", "FP64", "INT8", "UINT8", "INT32", "INT64", "BOOL", "BYTES"]
    shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=8)]
    """-1 where any size will do."""


class ModelBlock(_Block):
    """The spec's `model`: where the bytes come from."""

    uri: str = Field(min_length=8, max_length=2048)
    """Source of the model; `supply/uri.py` has the grammar."""
    digest: Digest | None = None
    """What the model file's bytes must hash to."""
    format: Literal["Auto", Format] = "Auto"
    """`Auto` tells it by the content; whatever is not ONNX is converted before it is served."""
    allow_pickle: bool = False
    """Load files that run what their author wrote."""
    inputs: Annotated[tuple[InputBlock, ...], Field(max_length=16)] = ()
    """Those of a TorchScript model, whose file does not say them."""
    version: Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)] | None = None
    """Label for people, and what V1 knows as the model's label; a value of a Kubernetes label."""
    samples: SamplesBlock | None = None
    """What a conversion is compared on, beside generated rows, and a pod warmed up with."""
    credentials: CredentialsBlock | None = None
    """How the store knows us; only the step that fetches has them."""
    ca_bundle: FileReference | None = None
    """Authorities that are trusted beside the system's."""
    proxy: ProxyBlock | None = None
    """How the step that fetches reaches the store; None as the environment says."""
    cache: CacheBlock | None = None
    """What was fetched before, shared by pods and revisions; only the step that fetches has it."""
    verify: VerifyBlock | None = None
    """Whose signature an OCI artifact needs; looked at when it is resolved, and pinned then."""
    optimization: OptimizationBlock = OptimizationBlock()


class QueueBlock(_Block):
    """The spec's `serving.queue`."""

    max_length: int = Field(default=1024, ge=1, le=65_536)
    """Requests that may wait; each holds its decoded tensors."""


class BatchingBlock(_Block):
    """The spec's `serving.batching`: which requests share a run of the model."""

    mode: Literal["Auto", "Off", "On"] = "Auto"
    """`Auto` measures at load whether batches are worth it; a model without batch dimension never
    batches."""
    max_batch_size: int = Field(default=32, ge=1, le=1024)
    """Rows of one run; a larger request runs alone."""
    max_delay: Delay = "0s"
    """How long the first request of a batch may wait for company, up to 1s.

    The latency added to a lone request; at 0s a batch is what came while the model was busy.
    """

    @cached_property
    def max_delay_s(self) -> float:
        """The longest wait for company in seconds."""
        return duration_s(self.max_delay)


class WarmupBlock(_Block):
    """The spec's `serving.warmup`."""

    requests: int = Field(default=3, ge=0, le=1000)
    """Inferences on zeros before the pod is ready, then on samples; the first is the slow one."""


class ServingBlock(_Block):
    """The spec's `serving`: how requests are answered."""

    protocols: Protocols = ("REST", "GRPC")
    """What clients may speak; what is not listed has no listener. Probes have their own port."""

    request_timeout: Timeout = "30s"
    """Longest a request may wait and run before it is answered 504."""
    max_request_bytes: BodySize = "64Mi"
    """Largest body in binary form."""
    max_json_bytes: BodySize = Field(default="8Mi", alias="maxJSONBytes")
    """Largest JSON body; lower than the binary limit, because parsing multiplies it."""
    threads: Threads = "Auto"
    """Threads of one inference; `Auto` takes the CPU limit."""
    execution_provider: ExecutionProvider = "CPU"
    """What computes; refused where the image or the node lacks it, never replaced in silence."""
    batching: BatchingBlock = BatchingBlock()
    queue: QueueBlock = QueueBlock()
    warmup: WarmupBlock = WarmupBlock()

    @cached_property
    def request_timeout_s(self) -> float:
        """The request timeout in seconds."""
        return duration_s(self.request_timeout)

    @cached_property
    def json_limit_bytes(self) -> int:
        """The largest JSON body in bytes: no body may be above either limit."""
        return min(quantity_bytes(self.max_json_bytes), quantity_bytes(self.max_request_bytes))

    @cached_property
    def thread_count(self) -> int | None:
        """The threads asked for; None stands for `Auto`."""
        return None if self.threads == "Auto" else int(self.threads)


class ServingConfig(_Block):
    """One revision, as serving.json describes it."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    namespace: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    revision: str = Field(pattern=r"^[0-9a-f]{10}$")
    """Hash of the revisioned spec."""
    revision_number: int = Field(ge=1)
    """Counts up; the wire's `model_version`."""
    digest: Digest | None = None
    """What the supply step resolved; absent only while it is resolving."""
    source: Annotated[str, Field(max_length=2048, pattern=r"^(oci|hf)://")] | None = None
    """Where it was found, by a name that does not move; absent where `model.uri` is all we have."""
    source_digest: Digest | None = None
    """Of a converted model: what the file must hash to before it is converted."""
    labels_digest: Digest | None = None
    """Of the labels that lay in ConfigMaps when the revision was resolved."""
    model: ModelBlock
    pipeline: Pipeline = Pipeline()
    serving: ServingBlock = ServingBlock()


def parse_config(document: object) -> ServingConfig:
    """Check a parsed serving.json against the contract.

    Raises:
        ConfigError: naming every field that breaks it, and the allowed keys where one is unknown.
    """
    try:
        return ServingConfig.model_validate(document, strict=False)
    except ValidationError as err:
        raise ConfigError(explained(err, ServingConfig)) from err


def read_config(text: str, *, source: str) -> ServingConfig:
    """Parse the JSON text of a serving.json that came from `source`.

    Raises:
        ConfigError: no JSON, or not this contract.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ConfigError(f"{source}: no valid JSON ({err})") from err
    try:
        return parse_config(document)
    except ConfigError as err:
        raise ConfigError(f"{source}: {err}") from err


def load_config(path: Path) -> ServingConfig:
    """Read serving.json from a file.

    Raises:
        ConfigError: unreadable, no JSON, or not this contract.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read ({err})") from err
    return read_config(text, source=path.name)


def explained(err: ValidationError, model: type[BaseModel]) -> str:
    """Turn pydantic's findings into `field: got X, expected Y` sentences, joined by `; `."""
    return "; ".join(_sentence(dict(found), model) for found in err.errors(include_url=False))


def _sentence(found: Mapping[str, Any], model: type[BaseModel]) -> str:
    path = [str(part) for part in found["loc"]]
    field = ".".join(path) or "document"
    if found["type"] == "extra_forbidden":
        return f"{field}: unknown key, expected one of {', '.join(_allowed_keys(model, path[:-1]))}"
    if found["type"] == "missing":
        return f"{field}: missing, it is required"
    text = found["msg"].removeprefix("Value error, ")
    return f"{field}: got {shown(found['input'])}, {text[0].lower()}{text[1:]}"


def _allowed_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for key in path:
        if not key.isdecimal():  # a place in a list
            field = next(f for f in model.model_fields.values() if f.alias == key)
            model = _block(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _block(annotation: Any) -> type[BaseModel] | None:
    """The block inside an annotation such as `tuple[Step, ...]` or `Step | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _block(part))), None)


if __name__ == "__main__":
    sys.exit(schema_main(ServingConfig.model_json_schema(), title="serving.json"))
