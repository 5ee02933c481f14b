"""Who may ask: what `spec.security` adds to the pods of every revision, and whether it is there.

Lives here: the arguments and the volume, laid over the recorded template of a revision; taking them
off again; and what is still missing until every pod asks for credentials.
Stays out: the Secrets themselves, which the operator may not read.

It is no part of a revision: another Secret is no other model, and must not start a rollout. A pod
cannot get a volume while it runs, so the Deployment of a revision replaces its pods, one by one. A
runtime that does not know the argument refuses to start: a pod that is ready asks for credentials.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.api.security import Authentication
from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan.names import SERVE, Manifest

VOLUME: Final = "authentication"
FLAG: Final = "--authentication"
JWKS_FILE: Final = "jwks.json"
FOLDER: Final = "/var/run/slipway/authentication"
_OWNER_READS: Final = 0o400
"""The kubelet lets the pod's group read, too: it is how a process that is not root may."""
_NONE: Final = "None"


def authentication_of(spec: Spec) -> Authentication | None:
    """Read which credentials are asked for; None where everybody may ask."""
    found = spec.security.authentication if spec.security else None
    return None if found is None or found.type == _NONE else found


def secured(template: Mapping[str, Any], asked: Authentication | None) -> Manifest:
    """Lay what is asked for over a template; without anything, the template as it is recorded."""
    bare = unsecured(template)
    if asked is None:
        return bare
    pod = bare["spec"]
    mount = {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}
    containers = [
        {
            **container,
            "args": [*container["args"], FLAG, _policy(asked)],
            "volumeMounts": [*container["volumeMounts"], mount],
        }
        if container["name"] == SERVE
        else container
        for container in pod["containers"]
    ]
    volumes = [*pod["volumes"], {"name": VOLUME, **_source(asked)}]
    return {**bare, "spec": {**pod, "containers": containers, "volumes": volumes}}


def unsecured(template: Mapping[str, Any]) -> Manifest:
    """Take it off a template, as it was recorded."""
    pod = template["spec"]
    if all(volume["name"] != VOLUME for volume in pod.get("volumes") or ()):
        return dict(template)
    containers = [
        {
            **container,
            "args": _without_flag(container["args"]),
            "volumeMounts": [m for m in container["volumeMounts"] if m["name"] != VOLUME],
        }
        if container["name"] == SERVE
        else container
        for container in pod["containers"]
    ]
    volumes = [volume for volume in pod["volumes"] if volume["name"] != VOLUME]
    return {**template, "spec": {**pod, "containers": containers, "volumes": volumes}}


def _without_flag(args: list[str]) -> list[str]:
    return args[: args.index(FLAG)] if FLAG in args else args


def _policy(asked: Authentication) -> str:
    """What the runtime is told; names of Secrets mean nothing to it."""
    told = asked.model_dump(by_alias=True, exclude_none=True, exclude={"secret_name", "jwks"})
    return json.dumps(told, sort_keys=True)


def _source(asked: Authentication) -> Manifest:
    """The volume. None of it is optional: without its Secret, a pod does not start."""
    if asked.jwks is None:
        return {"secret": {"secretName": asked.secret_name, "defaultMode": _OWNER_READS}}
    if asked.jwks.secret is not None:
        items = [{"key": asked.jwks.secret.key, "path": JWKS_FILE}]
        return {"secret": {"secretName": asked.jwks.secret.name, "items": items}}
    if asked.jwks.config_map is not None:
        items = [{"key": asked.jwks.config_map.key, "path": JWKS_FILE}]
        return {"configMap": {"name": asked.jwks.config_map.name, "items": items}}
    raise ValueError("a key set is of a ConfigMap or of a Secret: the schema lets nothing else in")


@dataclass(frozen=True, slots=True)
class Enforcement:
    """How far what is asked for has come."""

    pods: int
    """Of all revisions that have any."""
    changed: int
    """That ask as the spec says."""

    @property
    def is_complete(self) -> bool:
        """Whether no pod asks otherwise."""
        return self.changed == self.pods


def enforcement(deployments: Iterator[Manifest], asked: Authentication | None) -> Enforcement:
    """Count the pods that ask as the spec says, among those that there are."""
    pods = changed = 0
    for live in deployments:
        status = live.get("status") or {}
        there = int(status.get("replicas", 0))
        pods += there
        if _is_applied(live, asked) and _is_observed(live, status):
            changed += min(there, int(status.get("updatedReplicas", 0)))
    return Enforcement(pods, changed)


def _is_applied(live: Manifest, asked: Authentication | None) -> bool:
    """Whether the live template asks as the spec says; defaults of the API server do not count."""
    template = live["spec"]["template"]
    return _laid(template) == _laid(secured(template, asked))


def _laid(template: Mapping[str, Any]) -> tuple[str, str, str]:
    """What of a template says who may ask."""
    pod = template["spec"]
    for volume in pod.get("volumes") or ():
        if volume["name"] == VOLUME:
            found = volume.get("secret") or volume.get("configMap") or {}
            name = str(found.get("secretName") or found.get("name"))
            items = ",".join(str(item.get("key")) for item in found.get("items") or ())
            args = next(c["args"] for c in pod["containers"] if c["name"] == SERVE)
            kind = "secret" if "secret" in volume else "configMap"
            return f"{kind}/{name}", items, args[-1]
    return "", "", ""


def _is_observed(live: Manifest, status: Mapping[str, Any]) -> bool:
    return bool(status.get("observedGeneration", 0) >= live["metadata"].get("generation", 0))


def missing(asked: Authentication, cause: str, namespace: str) -> str | None:
    """Say which object a pod waits for, by the kubelet's words; None when it is another cause."""
    kind, name, key, field = _object(asked)
    if f'{kind.lower()} "{name}" not found' in cause:
        return f"{field}: {kind} {name!r} does not exist in namespace {namespace!r}; create it"
    if key and f"key: {key}" in cause:
        return f"{field}: {kind} {name!r} has no key {key!r}; add it, or name another"
    return None


def _object(asked: Authentication) -> tuple[str, str, str, str]:
    """Kind, name and key of what is mounted, and the field that names it."""
    where = "security.authentication"
    if asked.jwks is not None:
        found = asked.jwks.secret or asked.jwks.config_map
        kind = "Secret" if asked.jwks.secret is not None else "ConfigMap"
        return kind, found.name if found else "", found.key if found else "", f"{where}.jwks"
    return "Secret", asked.secret_name or "", "", f"{where}.secretName"
