"""Which revisions there are, and which of them is stable.

Lives here: reading the records back, with what the cluster remembers of one that was damaged.
Stays out: what happens next (`rollout.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.names import Manifest, revision_name
from slipway_operator.plan.recovery import promoted_at, recovered, remembered, restored
from slipway_operator.plan.revision import Revision, next_number, read, revisioned
from slipway_operator.plan.service import selected_revision
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.workload import pod_template

Records = Mapping[str, Revision]
"""Revisions by hash."""


def records(snapshot: Snapshot) -> dict[str, Revision]:
    """Read every record; a lost annotation is made good from the revision's other objects."""
    found = (read(c) for c in snapshot.of_kind("ControllerRevision"))
    return {r.hash: restored(snapshot, r) for r in found if r is not None}


def stable_revision(
    snapshot: Snapshot, known: Records, desired: str, spec: Spec
) -> Revision | None:
    """Find the stable revision; it always has a time of promotion, which its drain counts from."""
    found = _told(snapshot, known, desired, spec) or _promoted_last(known)
    found = found or _serving(snapshot, known, desired)
    if found is None or found.promoted_at:
        return found
    return found.promoted(promoted_at(snapshot, found.hash) or timestamp(snapshot.now))


def _told(snapshot: Snapshot, known: Records, desired: str, spec: Spec) -> Revision | None:
    """The one that the status names."""
    told = str((snapshot.status.get("stable") or {}).get("hash") or "")
    if told in known:
        return known[told]
    if told and (again := recovered(snapshot, told, desired)):
        return again
    if told == desired:
        return remembered(snapshot, new_revision(snapshot, spec, desired, known))
    return None


def _promoted_last(known: Records) -> Revision | None:
    """The status was lost: the records tell."""
    promoted = [r for r in known.values() if r.promoted_at]
    return max(promoted, key=lambda r: (r.promoted_at, r.number), default=None)


def _serving(snapshot: Snapshot, known: Records, desired: str) -> Revision | None:
    """A first revision that answers in part when its successor comes: it must not be torn down."""
    apex = snapshot.child("Service", snapshot.owner.name)
    found = known.get(selected_revision(apex) or "") if apex else None
    if found is None or found.hash == desired or not available(workload_of(snapshot, found)):
        return None
    return found


def new_revision(
    snapshot: Snapshot, spec: Spec, desired: str, known: Records, stable: Revision | None = None
) -> Revision:
    """Make the revision that the spec asks for, with the next number."""
    numbers = [r.number for r in known.values()]
    if stable is not None:
        numbers.append(stable.number)
    numbers += [int(h.get("revision", 0)) for h in snapshot.status.get("history") or ()]
    return Revision(
        hash=desired,
        number=next_number(numbers),
        spec=revisioned(snapshot.mdep["spec"]),
        pod_template=pod_template(snapshot.owner, desired, spec, snapshot.defaults),
    )


def others(
    known: Records, stable: Revision | None, candidate: Revision | None
) -> tuple[Revision, ...]:
    """Every revision that has no track, newest first."""
    tracks = {r.hash for r in (stable, candidate) if r is not None}
    rest = [r for r in known.values() if r.hash not in tracks]
    return tuple(sorted(rest, key=lambda r: (r.promoted_at, r.number), reverse=True))


def workload_of(snapshot: Snapshot, revision: Revision) -> Manifest | None:
    """The Deployment of a revision."""
    return snapshot.child("Deployment", revision_name(snapshot.owner.name, revision.hash))


def available(workload: Manifest | None) -> int:
    """Count a Deployment's available pods."""
    status: Mapping[str, Any] = (workload or {}).get("status") or {}
    return int(status.get("availableReplicas", 0))
