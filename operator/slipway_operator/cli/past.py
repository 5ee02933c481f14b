"""`slipway history` and `slipway diff`: the revisions on record. Pure: objects in, text out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import yaml

from slipway_operator.picture.words import age, clean, entries, inside, number, word
from slipway_operator.plan.revision import Revision, read

_COLUMNS: Final = ("REVISION", "HASH", "ROLE", "VERSION", "PROMOTED", "MODEL")
_DIGEST: Final = 19
"""`sha256:` and twelve digits."""


class NoSuchRevision(Exception):
    """What was asked for is not on record; the text says what is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One revision."""

    revision: int
    hash: str
    role: str
    """What it is, or what became of it."""
    version: str
    promoted: str
    model: str
    digest: str


def history(mdep: Mapping[str, Any], records: Iterable[dict[str, Any]]) -> list[Row]:
    """List the revisions that are known, newest first; records may be missing."""
    found = {r.hash: r for r in map(read, records) if r is not None}
    told = _told(mdep)
    rows = [_row(h, found.get(h), told.get(h, {}), _role(h, mdep)) for h in {**found, **told}]
    return sorted(rows, key=lambda r: (-r.revision, r.hash))


def _told(mdep: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What the status tells of revisions, by hash."""
    status = inside(mdep, "status") or {}
    tracks = [inside(status, role) for role in ("stable", "candidate")]
    return {
        word(e, "hash"): e
        for e in (*entries(status, "history"), *(t for t in tracks if t))
        if word(e, "hash")
    }


def _row(hash_: str, record: Revision | None, told: Mapping[str, Any], role: str) -> Row:
    digest = record.result.digest if record and record.result else word(told, "digest")
    return Row(
        revision=record.number if record else number(told, "revision"),
        hash=hash_,
        role=role,
        version=clean(record.version) if record else word(told, "version"),
        promoted=record.promoted_at if record else word(told, "promotedAt"),
        model=clean(record.uri) if record else "",
        digest=clean(digest),
    )


def _role(hash_: str, mdep: Mapping[str, Any]) -> str:
    status = inside(mdep, "status") or {}
    pin = " (pinned)" if word(status, "desired", "pinnedBy") else ""
    if hash_ == word(status, "stable", "hash"):
        return f"stable{pin if word(status, 'desired', 'hash') == hash_ else ''}"
    if hash_ == word(status, "candidate", "hash"):
        return "failed" if word(status, "rollout", "state") == "Failed" else "candidate"
    outcomes = {word(e, "hash"): word(e, "outcome") for e in entries(status, "history")}
    return outcomes.get(hash_, "").lower() or "not promoted"


def table(rows: Sequence[Row], now: datetime) -> str:
    """Write a table for people."""
    cells = [_COLUMNS, *(_cells(row, now) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(_COLUMNS))]
    written = (
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
    return "\n".join(written) + "\n"


def _cells(row: Row, now: datetime) -> tuple[str, ...]:
    ago = age(row.promoted, now)
    model = "  ".join(t for t in (row.model, row.digest[:_DIGEST]) if t)
    return (
        f"r{row.revision}", row.hash, row.role, row.version, f"{ago} ago" if ago else "", model
    )  # fmt: skip


def as_json(rows: Sequence[Row]) -> str:
    """Write them for programs."""
    return json.dumps([asdict(row) for row in rows], indent=2) + "\n"


def difference(
    mdep: Mapping[str, Any], records: Iterable[dict[str, Any]], older: str, newer: str
) -> str:
    """Show what differs between the specs of two revisions, as a unified diff; empty: nothing.

    Raises:
        NoSuchRevision: one of them is not on record.
    """
    found = sorted((r for r in map(read, records) if r is not None), key=lambda r: r.number)
    new = _chosen(found, newer) if newer else _newest(mdep, found)
    old = _chosen(found, older) if older else _before(mdep, found, new)
    texts = [yaml.safe_dump(r.spec, sort_keys=True, allow_unicode=False) for r in (old, new)]
    before, after = (f"r{r.number} {r.hash}" for r in (old, new))
    compared = difflib.unified_diff(
        texts[0].splitlines(), texts[1].splitlines(), before, after, n=2, lineterm=""
    )
    return "".join(f"{line}\n" for line in compared)


def _chosen(found: Sequence[Revision], wanted: str) -> Revision:
    number = wanted.removeprefix("r")
    for revision in found:
        is_number = number.isdigit() and len(number) < 7 and int(number) == revision.number
        if is_number or (len(wanted) >= 4 and revision.hash.startswith(wanted)):
            return revision
    known = ", ".join(f"r{r.number} {r.hash}" for r in found) or "none"
    raise NoSuchRevision(f"no revision {wanted!r} is on record; there are: {known}")


def _newest(mdep: Mapping[str, Any], found: Sequence[Revision]) -> Revision:
    """The candidate; without one, the stable revision."""
    status = inside(mdep, "status") or {}
    wanted = word(status, "candidate", "hash") or word(status, "stable", "hash")
    return _chosen(found, wanted) if wanted else _last(found)


def _last(found: Sequence[Revision]) -> Revision:
    if not found:
        raise NoSuchRevision("no revision is on record yet")
    return found[-1]


def _before(mdep: Mapping[str, Any], found: Sequence[Revision], new: Revision) -> Revision:
    """The stable revision; of that one, the one that served before it."""
    status = inside(mdep, "status") or {}
    stable = word(status, "stable", "hash")
    if stable and stable != new.hash:
        return _chosen(found, stable)
    past = entries(status, "history")
    served = [word(e, "hash") for e in past if word(e, "outcome") != "Aborted"]
    if not served:
        raise NoSuchRevision(f"no revision has served before r{new.number} {new.hash}")
    return _chosen(found, served[0])
