"""Rebuild the record of a revision whose ControllerRevision somebody deleted.

The pods of the revision still run, and its Deployment and ConfigMap hold what the record held; so
the record comes back with the same number and digest, and no pod restarts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from slipway_operator.plan.names import (
    MODEL_DIGEST,
    REVISION_NUMBER,
    SERVING_FILE,
    Manifest,
    revision_name,
)
from slipway_operator.plan.revision import Conversion, Revision, SupplyResult, revisioned
from slipway_operator.plan.security import unsecured
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.supply import result_of_pods

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
        result=_result(snapshot, revision, str(digest)),
        promoted_at=promoted_at(snapshot, revision),
    )


def remembered(snapshot: Snapshot, rendered: Revision) -> Revision:
    """Give the stable revision, rendered anew because all of it is gone, what the status knows."""
    stable = snapshot.status.get("stable") or {}
    digest = (snapshot.status.get("model") or {}).get("digest")
    return replace(
        rendered,
        number=int(stable.get("revision") or rendered.number),
        result=_result(snapshot, rendered.hash, str(digest)) if digest else None,
        promoted_at=promoted_at(snapshot, rendered.hash),
    )


def restored(snapshot: Snapshot, revision: Revision) -> Revision:
    """Give a record that lost what the supply step found out the digest of its Deployment."""
    if revision.result is not None:
        return revision
    deployment = snapshot.child("Deployment", revision_name(snapshot.owner.name, revision.hash))
    digest = ((deployment or {}).get("metadata", {}).get("annotations") or {}).get(MODEL_DIGEST)
    if not digest:
        return revision
    return replace(revision, result=_result(snapshot, revision.hash, str(digest)))


def _spec(snapshot: Snapshot, name: str, *, is_desired: bool) -> dict[str, Any] | None:
    if is_desired:  # the ConfigMap lacks the block `runtime`
        return revisioned(snapshot.mdep["spec"])
    document = _document(snapshot.child("ConfigMap", name))
    if document is None:
        return None
    return {k: document[k] for k in ("model", "pipeline", "serving") if k in document}


def _document(configmap: Manifest | None) -> dict[str, Any] | None:
    try:
        read = json.loads((configmap or {}).get("data", {}).get(SERVING_FILE, ""))
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _template(deployment: Manifest) -> Manifest:
    template = unsecured(deployment["spec"]["template"])
    metadata = dict(template.get("metadata") or {})
    notes = {k: v for k, v in (metadata.get("annotations") or {}).items() if k not in _OURS}
    metadata.pop("creationTimestamp", None)
    metadata.pop("annotations", None)
    return {**template, "metadata": metadata | ({"annotations": notes} if notes else {})}


def _result(snapshot: Snapshot, revision: str, digest: str) -> SupplyResult:
    """What is known of a digest: by the pod that checked it, by the status, or its name alone."""
    told = result_of_pods(snapshot, revision)
    if told is not None and told.digest == digest:
        return told
    model = snapshot.status.get("model") or {}
    served = _document(snapshot.child("ConfigMap", revision_name(snapshot.owner.name, revision)))
    labels = str((served or {}).get("labelsDigest", ""))
    if model.get("digest") != digest:
        return SupplyResult(digest, "ONNX", 0, {}, labels_digest=labels)
    conversion = _conversion(model)
    return SupplyResult(
        digest,
        str(model.get("format", "ONNX")),
        int(model.get("sizeBytes", 0)),
        snapshot.status.get("signature") or {},
        conversion=conversion,
        labels_digest=labels,
        framework="" if conversion else str(model.get("framework", "")),
    )


def _conversion(model: Mapping[str, Any]) -> Conversion | None:
    parity = {"rows": 0, **(model.get("parity") or {})}
    return Conversion.parse({**model, "parity": parity})


def promoted_at(snapshot: Snapshot, revision: str) -> str:
    """The time it became stable, as the status remembers it; empty when it does not."""
    status = snapshot.status
    if (status.get("stable") or {}).get("hash") == revision:
        return str((status.get("rollout") or {}).get("promotedAt", ""))
    for entry in status.get("history") or ():
        if entry.get("hash") == revision:
            return str(entry.get("promotedAt", ""))
    return ""
