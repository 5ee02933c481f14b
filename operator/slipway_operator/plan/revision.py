"""Revisions: what makes one, its hash, and the ControllerRevision that records it.

Lives here: the hash scheme (frozen, `tests/golden/revision_hashes.json`) and the record's layout.
Stays out: the shape of the pods (`workload.py`) and which revision serves (`rollout.py`).

A revision is immutable. Its record holds the revisioned spec and the pod template as rendered when
it was made, so that an upgrade of the operator, the CRD or Kubernetes changes no running pod.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from slipway_operator.api.v1alpha1 import REVISIONED
from slipway_operator.plan.names import (
    CONVERTING_TEMPLATE,
    MODEL_DIGEST,
    PROMOTED_AT,
    SUPPLY_RESULT,
    Manifest,
    Owner,
    child,
    revision_name,
)

HASH_SCHEME: Final = "v1"
HASH_LENGTH: Final = 10
RENDER_VERSION: Final = 1
_LIVE_IN_MODEL: Final = "poll"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NUMBER: Final = re.compile(r"[0-9.]{1,16}(e[+-][0-9]{1,3})?")
_SOURCE: Final = re.compile(r"(oci|hf)://[!-~]{1,2000}")


def revisioned(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Take the revisioned fields as the user wrote them: no defaults, nothing rendered."""
    blocks = {k: spec[k] for k in REVISIONED if k in spec}
    model = blocks.get("model")
    if isinstance(model, Mapping):
        blocks["model"] = {k: v for k, v in model.items() if k != _LIVE_IN_MODEL}
    return blocks


def revision_hash(spec: Mapping[str, Any]) -> str:
    """Hash the user-written revisioned fields: ten hexadecimal digits.

    Absent, null and empty mean the same: a tool which writes `runtime: {}` starts no rollout.
    """
    canonical = json.dumps(
        _without_empty(revisioned(spec)), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    digest = hashlib.sha256(f"{HASH_SCHEME}\n{canonical}".encode())
    return digest.hexdigest()[:HASH_LENGTH]


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        cleaned = {k: _without_empty(v) for k, v in value.items()}
        return {k: v for k, v in cleaned.items() if v is not None and v not in ({}, [])}
    if isinstance(value, list):
        return [_without_empty(v) for v in value]
    return value


@dataclass(frozen=True, slots=True)
class Optimization:
    """A model's size and time before it was optimised, and its time afterwards."""

    size_bytes_before: int
    latency_microseconds_before: int
    latency_microseconds_after: int

    @classmethod
    def parse(cls, raw: Any) -> Optimization | None:
        """Read the `optimization` of a conversion; None when it is not one."""
        match raw:
            case {
                "sizeBytesBefore": int(size),
                "latencyMicrosecondsBefore": int(before),
                "latencyMicrosecondsAfter": int(after),
            } if min(size, before, after) >= 0:
                return cls(size, before, after)
        return None

    def manifest(self) -> Manifest:
        """Write it in the termination message's terms, which are the status's, too."""
        return {
            "sizeBytesBefore": self.size_bytes_before,
            "latencyMicrosecondsBefore": self.latency_microseconds_before,
            "latencyMicrosecondsAfter": self.latency_microseconds_after,
        }


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a model was before it was converted or optimised."""

    source_digest: str
    framework: str
    rows: int
    max_abs_diff: str
    label_agreement_percent: int | None = None
    """None where the model gives no labels."""
    optimization: Optimization | None = None

    @classmethod
    def parse(cls, raw: Any) -> Conversion | None:
        """Read the `conversion` of a result; None when it is not one."""
        match raw:
            case {
                "sourceDigest": str(digest),
                "framework": str(framework),
                "parity": {"rows": int(rows), "maxAbsDiff": str(difference), **rest},
                **more,
            } if _DIGEST.fullmatch(digest) and _NUMBER.fullmatch(difference):
                agreement = rest.get("labelAgreementPercent")
                labels = agreement if isinstance(agreement, int) else None
                optimized = Optimization.parse(more.get("optimization"))
                return cls(digest, framework[:100], rows, difference, labels, optimized)
        return None

    def manifest(self) -> Manifest:
        """Write it in the termination message's terms."""
        return {
            "sourceDigest": self.source_digest,
            "framework": self.framework,
            "parity": {"rows": self.rows, **self.parity()},
            **({"optimization": self.optimization.manifest()} if self.optimization else {}),
        }

    def parity(self) -> Manifest:
        """How far the converted model is from the original, as the status has it."""
        labels = self.label_agreement_percent
        return {
            "maxAbsDiff": self.max_abs_diff,
            **({} if labels is None else {"labelAgreementPercent": labels}),
        }


@dataclass(frozen=True, slots=True)
class SupplyResult:
    """What the supply step found out about a model."""

    digest: str
    format: str
    size_bytes: int
    signature: Mapping[str, Any]
    source: str = ""
    """Where the bytes can be had again though `model.uri` came to mean others; empty: nowhere."""
    conversion: Conversion | None = None
    """Of a model that is not served as it came."""
    labels_digest: str = ""
    """Of the labels that lay in ConfigMaps; empty where the pipeline takes none from there."""
    framework: str = ""
    """What wrote the model, in its own words; empty: it does not say, or was not asked then."""

    @classmethod
    def parse(cls, raw: Any) -> SupplyResult | None:
        """Read the `result` of a termination message; None when it is not one."""
        match raw:
            case {
                "digest": str(digest),
                "format": str(format_),
                "sizeBytes": int(size),
                **rest,
            } if _DIGEST.fullmatch(digest):
                signature = _signature(rest.get("signature"))
                source = _source(rest.get("source"))
                converted = Conversion.parse(rest.get("conversion"))
                labels = str(rest.get("labelsDigest", ""))
                kept = labels if _DIGEST.fullmatch(labels) else ""
                wrote = _framework(rest.get("framework"))
                return cls(digest, format_, size, signature, source, converted, kept, wrote)
        return None

    def manifest(self) -> Manifest:
        """Write it in the termination message's terms."""
        return {
            "digest": self.digest,
            "format": self.format,
            "sizeBytes": self.size_bytes,
            "signature": dict(self.signature),
            **({"source": self.source} if self.source else {}),
            **({"conversion": self.conversion.manifest()} if self.conversion else {}),
            **({"labelsDigest": self.labels_digest} if self.labels_digest else {}),
            **({"framework": self.framework} if self.framework else {}),
        }


def _source(raw: Any) -> str:
    """Keep what serving.json may hold: a runtime of the user's own may tell anything."""
    return raw if isinstance(raw, str) and _SOURCE.fullmatch(raw) else ""


def _framework(raw: Any) -> str:
    """Keep a name: whoever makes a model may write anything there."""
    return "".join(c for c in raw[:100] if c.isprintable()).strip() if isinstance(raw, str) else ""


def _signature(raw: Any) -> dict[str, Any]:
    """Keep what the status has fields for: a runtime of the user's own may tell anything."""
    if not isinstance(raw, Mapping) or not raw:
        return {}
    read: dict[str, Any] = {side: _tensors(raw.get(side)) for side in ("inputs", "outputs")}
    return read | ({"truncated": True} if raw.get("truncated") is True else {})


def _tensors(raw: Any) -> list[dict[str, Any]]:
    read = map(_tensor, raw if isinstance(raw, list) else ())
    return [tensor for tensor in read if tensor is not None]


def _tensor(raw: Any) -> dict[str, Any] | None:
    match raw:
        case {"name": str(name), "datatype": str(datatype), "shape": [*shape]} if all(
            isinstance(n, int) for n in shape
        ):
            return {"name": name, "datatype": datatype, "shape": list(shape)}
    return None


REST: Final = "REST"
GRPC: Final = "GRPC"


@dataclass(frozen=True, slots=True)
class Revision:
    """One immutable revision: its record, and what became of it."""

    hash: str
    number: int
    spec: Mapping[str, Any]
    """The revisioned blocks as written."""
    pod_template: Mapping[str, Any]
    """As rendered when the revision was made."""
    result: SupplyResult | None = None
    promoted_at: str = ""
    """When it became stable, RFC 3339; empty when it never did."""
    converting_template: Mapping[str, Any] | None = None
    """As rendered when its model was found to need a conversion, in place of `pod_template`."""

    @property
    def template(self) -> Mapping[str, Any]:
        """What its pods are made of."""
        return self.converting_template or self.pod_template

    @property
    def version(self) -> str:
        """The label for people."""
        return str(self.spec.get("model", {}).get("version") or "")

    @property
    def uri(self) -> str:
        """Where the model came from."""
        return str(self.spec.get("model", {}).get("uri") or "")

    @property
    def protocols(self) -> tuple[str, ...]:
        """What its pods speak."""
        return tuple((self.spec.get("serving") or {}).get("protocols") or (REST, GRPC))

    def resolved(self, result: SupplyResult) -> Revision:
        """Record what the supply step found out."""
        return replace(self, result=result)

    def converting(self, template: Mapping[str, Any]) -> Revision:
        """Record that its model has to be converted."""
        return replace(self, converting_template=template)

    def promoted(self, at: str) -> Revision:
        """Record that it became stable."""
        return replace(self, promoted_at=at)


def record(owner: Owner, revision: Revision) -> Manifest:
    """Render the ControllerRevision; it survives the loss of the status."""
    annotations = {}
    if revision.result is not None:
        annotations[MODEL_DIGEST] = revision.result.digest
        annotations[SUPPLY_RESULT] = json.dumps(revision.result.manifest(), sort_keys=True)
    if revision.converting_template is not None:
        template = json.dumps(revision.converting_template, sort_keys=True, separators=(",", ":"))
        annotations[CONVERTING_TEMPLATE] = template
    if revision.promoted_at:
        annotations[PROMOTED_AT] = revision.promoted_at
    name = revision_name(owner.name, revision.hash)
    manifest = child(
        "apps/v1",
        "ControllerRevision",
        owner,
        name,
        revision=revision.hash,
        annotations=annotations,
    )
    manifest["revision"] = revision.number
    manifest["data"] = {
        "hash": revision.hash,
        "renderVersion": RENDER_VERSION,
        "spec": dict(revision.spec),
        "podTemplate": dict(revision.pod_template),
    }
    return manifest


def read(controller_revision: Mapping[str, Any]) -> Revision | None:
    """Read a record back; None when it is not one of ours (a hand-made or damaged object)."""
    meta = controller_revision["metadata"]
    annotations = meta.get("annotations") or {}
    match controller_revision:
        case {
            "revision": int(number),
            "data": {"hash": str(hash_), "spec": dict(spec), "podTemplate": dict(template)},
        }:
            return Revision(
                hash=hash_,
                number=number,
                spec=spec,
                pod_template=template,
                result=_stored_result(annotations.get(SUPPLY_RESULT)),
                promoted_at=annotations.get(PROMOTED_AT, ""),
                converting_template=_stored_template(annotations.get(CONVERTING_TEMPLATE)),
            )
    return None


def _stored_result(text: str | None) -> SupplyResult | None:
    try:
        return SupplyResult.parse(json.loads(text)) if text else None
    except ValueError:
        return None


def _stored_template(text: str | None) -> dict[str, Any] | None:
    try:
        read = json.loads(text) if text else None
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def next_number(known: Iterable[int]) -> int:
    """Number a new revision: one more than any before it."""
    return max(known, default=0) + 1
