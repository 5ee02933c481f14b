"""Showing a forecast: for people, as YAML, as JSON. Pure: text out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import yaml

from slipway_operator.cli.forecast import UNKNOWN_DIGEST, Change, Stage, why

Manifest = dict[str, Any]

_SIGN: Final = {"create": "+", "change": "~", "delete": "-"}
_HINDERED: Final = "!"
_FOUND_LATER: Final = "sha256:FOUND-BY-THE-SUPPLY-JOB"
_OF_THE_SERVER: Final = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}
)


def human(name: str, stages: Sequence[Stage], *, with_diff: bool) -> str:
    """Write a forecast for people: what, why, and with `with_diff` the changed lines."""
    lines = [f"ModelDeployment {name}"]
    for stage in stages:
        lines += ["", f"{stage.when}:"]
        lines += [line for change in stage.changes for line in _described(change, with_diff)]
        if not stage.changes:
            lines.append("  nothing to do")
        lines.append(f"  status: {'Ready' if stage.ready else 'not Ready'}: {stage.message}")
    return "\n".join(lines).replace(UNKNOWN_DIGEST, _FOUND_LATER) + "\n"


def _described(change: Change, with_diff: bool) -> Iterator[str]:
    manifest = change.manifest
    what = f"{manifest['kind']} {manifest['metadata']['name']}"
    sign = _HINDERED if change.obstacle else _SIGN[change.action]
    yield f"  {sign} {what:<52} {_reason(change)}"
    if with_diff and change.action == "change":
        yield from (f"      {line}" for line in _diff(change))


def _reason(change: Change) -> str:
    if change.obstacle:
        return change.obstacle
    if change.action == "delete":
        return "is not needed any more"
    if change.action == "change" and change.manifest["kind"] == "ControllerRevision":
        return "notes what became of the revision"
    detail = _detail(change.manifest)
    return why(change.manifest) + (f" ({detail})" if detail else "")


def _detail(manifest: Manifest) -> str:
    """The one fact of an object that a reader looks for."""
    spec = manifest.get("spec") or {}
    match manifest["kind"]:
        case "Deployment":
            return f"replicas: {spec.get('replicas')}"
        case "HorizontalPodAutoscaler":
            return f"{spec['minReplicas']} to {spec['maxReplicas']}"
        case "ScaledObject":
            return f"{spec['minReplicaCount']} to {spec['maxReplicaCount']}"
        case "Service":
            return f"revision {(spec.get('selector') or {}).get('slipway.dev/revision')}"
        case "HTTPRoute" | "GRPCRoute":
            refs = spec["rules"][-1]["backendRefs"]
            return ", ".join(f"{ref['name']} {ref['weight']} %" for ref in refs)
        case "Job":
            return f"image {spec['template']['spec']['containers'][0]['image']}"
    return ""


def _diff(change: Change) -> Iterator[str]:
    """Changed lines of what we own: fields that only the live object has are not ours."""
    after = cleaned(change.after or {})
    before = _restricted(cleaned(change.before or {}), after)
    old, new = (yaml.safe_dump(m, width=100).splitlines() for m in (before, after))
    for line in difflib.unified_diff(old, new, n=0, lineterm=""):
        if not line.startswith(("---", "+++", "@@")):
            yield line


def _restricted(live: Any, want: Any) -> Any:
    """Keep of a live value what `want` speaks of."""
    if isinstance(live, Mapping) and isinstance(want, Mapping):
        return {k: _restricted(v, want[k]) for k, v in live.items() if k in want}
    if isinstance(live, list) and isinstance(want, list) and len(live) == len(want):
        return [_restricted(a, b) for a, b in zip(live, want, strict=True)]
    return live


def cleaned(manifest: Manifest) -> Manifest:
    """Drop what the API server writes, and our mark of what was applied."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in _OF_THE_SERVER}
    notes = {k: v for k, v in (metadata.pop("annotations", None) or {}).items()
             if k != "slipway.dev/applied"}  # fmt: skip
    if notes:
        metadata["annotations"] = notes
    return {**{k: v for k, v in manifest.items() if k != "status"}, "metadata": metadata}


def as_yaml(stages: Sequence[Stage]) -> str:
    """Write every object as it will be, once, in the order of creation."""
    last = {
        (c.manifest["kind"], c.manifest["metadata"]["name"]): c
        for stage in stages
        for c in stage.changes
    }
    wanted = [cleaned(c.after) for c in last.values() if c.after is not None]
    text = yaml.safe_dump_all(wanted, sort_keys=False, allow_unicode=True, width=100)
    return text.replace(UNKNOWN_DIGEST, _FOUND_LATER)


def as_json(name: str, stages: Sequence[Stage]) -> str:
    """Write stages, changes and reasons for programs."""
    document = {
        "modelDeployment": name,
        "stages": [
            {
                "when": stage.when,
                "ready": stage.ready,
                "message": stage.message,
                "changes": [_entry(change) for change in stage.changes],
            }
            for stage in stages
        ],
    }
    return json.dumps(document, indent=2).replace(UNKNOWN_DIGEST, _FOUND_LATER) + "\n"


def _entry(change: Change) -> dict[str, Any]:
    return {
        "action": change.action,
        "hindered": bool(change.obstacle),
        "why": _reason(change),
        "object": cleaned(change.manifest),
    }
