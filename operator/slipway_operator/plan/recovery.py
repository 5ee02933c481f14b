"""Rebuild the record of a revision whose ControllerRevision somebody deleted.

The pods of the revision still run, and its Deployment and ConfigMap hold what the record held; so
the record comes back with the same number and digest, and no pod restarts.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from slipway_operator.plan.names import (
    MODEL_DIGEST,
    REVISION_NUMBER,
    SERVING_FILE,
    Manifest,
    revision_name,
)
from slipway_operator.plan.revision import Revision, SupplyResult, revisioned
from slipway_operator.plan.snapshot import Snapshot

_OURS: Final = (MODEL_DIGEST, REVISION_NUMBER)


def recovered(snapshot: Snapshot, revision: str, desired: str) -> Revision | None:
    """Rebuild a revision from its live objects; None when too little is left of it.

    Its ConfigMap tells what was asked for; without it, the present spec does if it asks for this
    very revision (`desired`).
    """
    name = revision_name(snapshot.owner.name, revision)
    deployment = snapshot.child("Deployment", name)
    spec = _spec(snapshot, name, is_desired=revision == desired)
    if deployment is None or spec is None:
        return None
    notes = deployment["metadata"].get("annotations") or {}
    number, digest = str(notes.get(REVISION_NUMBER, "")), notes.get(MODEL_DIGEST)
    if not number.isdigit() or not digest:
        return None
    return Revision(
        hash=revision,
        number=int(number),
        spec=spec,
        pod_template=_template(deployment),
        result=_result(snapshot, str(digest)),
        promoted_at=_promoted_at(snapshot, revision),
    )


def remembered(snapshot: Snapshot, rendered: Revision) -> Revision:
    """Give the stable revision, rendered anew because all of it is gone, what the status knows."""
    stable = snapshot.status.get("stable") or {}
    digest = (snapshot.status.get("model") or {}).get("digest")
    return replace(
        rendered,
        number=int(stable.get("revision") or rendered.number),
        result=_result(snapshot, str(digest)) if digest else None,
        promoted_at=_promoted_at(snapshot, rendered.hash),
    )


def _spec(snapshot: Snapshot, name: str, *, is_desired: bool) -> dict[str, Any] | None:
    document = _document(snapshot.child("ConfigMap", name))
    if document is not None:
        return {k: document[k] for k in ("model", "pipeline", "serving") if k in document}
    return revisioned(snapshot.mdep["spec"]) if is_desired else None


def _document(configmap: Manifest | None) -> dict[str, Any] | None:
    try:
        read = json.loads((configmap or {}).get("data", {}).get(SERVING_FILE, ""))
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _template(deployment: Manifest) -> Manifest:
    template = dict(deployment["spec"]["template"])
    metadata = dict(template.get("metadata") or {})
    notes = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _OURS}
    metadata.pop("creationTimestamp", None)
    metadata.pop("annotations", None)
    return {**template, "metadata": metadata | ({"annotations": notes} if notes else {})}


def _result(snapshot: Snapshot, digest: str) -> SupplyResult:
    model = snapshot.status.get("model") or {}
    if model.get("digest") != digest:
        return SupplyResult(digest, "ONNX", 0, {})
    return SupplyResult(
        digest,
        str(model.get("format", "ONNX")),
        int(model.get("sizeBytes", 0)),
        snapshot.status.get("signature") or {},
    )


def _promoted_at(snapshot: Snapshot, revision: str) -> str:
    """The time it became stable, as the status remembers it."""
    status = snapshot.status
    if (status.get("stable") or {}).get("hash") == revision:
        return str((status.get("rollout") or {}).get("promotedAt", ""))
    for entry in status.get("history") or ():
        if entry.get("hash") == revision:
            return str(entry.get("promotedAt", ""))
    return ""
