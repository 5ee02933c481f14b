"""What the runtime is told: the document `serving.json` and the ConfigMap that carries it.

The contract between operator and runtime (`docs/architecture.md`); `tests/contract` holds both
halves to its schema. The user's blocks stand in it as they were written.
"""

from __future__ import annotations

import json
from typing import Final

from slipway_operator.plan.names import SERVING_FILE, Manifest, Owner, child, revision_name
from slipway_operator.plan.revision import Revision

_BLOCKS: Final = ("model", "pipeline", "serving")


def serving_document(owner: Owner, revision: Revision) -> Manifest:
    """Write `serving.json`; the digest is absent until the supply step has found it out."""
    document: Manifest = {
        "name": owner.name,
        "namespace": owner.namespace,
        "revision": revision.hash,
        "revisionNumber": revision.number,
    }
    if revision.result is not None:
        document["digest"] = revision.result.digest
        if revision.result.source:
            document["source"] = revision.result.source
        if revision.result.conversion:
            document["sourceDigest"] = revision.result.conversion.source_digest
        if revision.result.labels_digest:
            document["labelsDigest"] = revision.result.labels_digest
    return document | {k: revision.spec[k] for k in _BLOCKS if revision.spec.get(k)}


def serving_configmap(owner: Owner, revision: Revision) -> Manifest:
    """Render the immutable ConfigMap of a resolved revision."""
    name = revision_name(owner.name, revision.hash)
    manifest = child("v1", "ConfigMap", owner, name, revision=revision.hash)
    text = json.dumps(serving_document(owner, revision), indent=2, sort_keys=True) + "\n"
    return manifest | {"immutable": True, "data": {SERVING_FILE: text}}
