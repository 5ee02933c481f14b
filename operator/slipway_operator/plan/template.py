"""The Job of a check as a user has written it: what may stand in it, and what may not. Pure.

Lives here: reading the text, and refusing what the operator's rights must not be lent for.
Stays out: what is added for one step of one candidate (`evaluation.py`).

Who may write a ModelDeployment need not be one who may make pods. So the pod is restricted in any
case (it runs as no root, with no capability, and sees nothing of its node), and a field that is not
on these lists is refused by its name: nothing is taken away in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from slipway_operator.plan.names import MANAGED_BY

LARGEST_BYTES: Final = 32 * 1024
_DEEPEST: Final = 32
_OURS: Final = "slipway.dev/"
_TOP: Final = ("apiVersion", "kind", "metadata", "spec")
_SPEC: Final = ("activeDeadlineSeconds", "template")
_META: Final = ("annotations", "labels", "name")
_POD: Final = (
    "affinity", "automountServiceAccountToken", "containers", "imagePullSecrets", "initContainers",
    "nodeSelector", "priorityClassName", "restartPolicy", "securityContext", "serviceAccountName",
    "terminationGracePeriodSeconds", "tolerations", "topologySpreadConstraints", "volumes",
)  # fmt: skip
_POD_SECURITY: Final = ("fsGroup", "runAsGroup", "runAsUser", "supplementalGroups")
_CONTAINER: Final = (
    "args", "command", "env", "envFrom", "image", "imagePullPolicy", "name", "resources",
    "securityContext", "volumeMounts", "workingDir",
)  # fmt: skip
_CONTAINER_SECURITY: Final = ("readOnlyRootFilesystem", "runAsGroup", "runAsUser")
_VOLUME: Final = (
    "configMap", "downwardAPI", "emptyDir", "name", "persistentVolumeClaim", "secret",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Template:
    """What may be made a Job of; or why nothing may."""

    pod: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    deadline_s: int | None = None
    problem: str = ""


def template_of(text: str) -> Template:
    """Read a Job; whatever stands there, it is a template or a problem.

    >>> template_of("spec: {parallelism: 9}").problem
    'spec.parallelism: expected only activeDeadlineSeconds, template'
    """
    try:
        return _template(_parsed(text))
    except (ValueError, RecursionError) as error:
        return Template(problem=str(error) or type(error).__name__)


def _parsed(text: str) -> Mapping[str, Any]:
    if len(text.encode()) > LARGEST_BYTES:
        raise ValueError(f"got more than {LARGEST_BYTES} bytes")
    try:
        _bounded(text)
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {' '.join(str(error).split())[:200]}") from error
    return _mapping(found, "the Job")


def _bounded(text: str) -> None:
    """An alias could make a few lines a thousand pages."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases of YAML are not taken; write the block twice")
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _template(job: Mapping[str, Any]) -> Template:
    _only(job, _TOP, "")
    if (job.get("apiVersion", "batch/v1"), job.get("kind", "Job")) != ("batch/v1", "Job"):
        raise ValueError("expected apiVersion batch/v1 and kind Job")
    spec = _mapping(job.get("spec"), "spec")
    _only(spec, _SPEC, "spec")
    template = _mapping(spec.get("template"), "spec.template")
    _only(template, ("metadata", "spec"), "spec.template")
    meta = _mapping(template.get("metadata") or {}, "spec.template.metadata")
    _only(meta, _META, "spec.template.metadata")
    pod = _mapping(template.get("spec"), "spec.template.spec")
    return Template(
        _restricted(pod, "spec.template.spec"),
        _texts(meta.get("labels"), "spec.template.metadata.labels"),
        _texts(meta.get("annotations"), "spec.template.metadata.annotations"),
        _seconds(spec.get("activeDeadlineSeconds")),
    )


def _restricted(pod: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check a pod, and give it what the restricted Pod Security Standard asks for."""
    _only(pod, _POD, where)
    if pod.get("restartPolicy", "Never") != "Never":
        raise ValueError(f"{where}.restartPolicy: expected Never, an answer is given once")
    for volume in _items(pod, "volumes", where):
        _only(volume, _VOLUME, f"{where}.volumes")
    security = _security(pod, _POD_SECURITY, where)
    found = {
        **pod,
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": pod.get("automountServiceAccountToken") is True,
        "securityContext": {
            **security, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
        },
    }  # fmt: skip
    for kind in ("initContainers", "containers"):
        if kind in pod or kind == "containers":
            inside = f"{where}.{kind}"
            found[kind] = [_container(c, inside) for c in _items(pod, kind, where)]
    if not found["containers"]:
        raise ValueError(f"{where}.containers: expected at least one")
    return found


def _container(container: Mapping[str, Any], where: str) -> dict[str, Any]:
    _only(container, _CONTAINER, where)
    _items(container, "env", where)
    return {
        **container,
        "securityContext": {
            **_security(container, _CONTAINER_SECURITY, where),
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _security(block: Mapping[str, Any], known: Iterable[str], where: str) -> Mapping[str, Any]:
    found = _mapping(block.get("securityContext") or {}, f"{where}.securityContext")
    _only(found, known, f"{where}.securityContext")
    if found.get("runAsUser", 1) == 0:
        raise ValueError(f"{where}.securityContext.runAsUser: expected another user than root")
    return found


def _only(block: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for name in block:
        if name not in known:
            path = f"{where}.{name}" if where else str(name)
            raise ValueError(f"{path[:200]}: expected only {', '.join(known)}")


def _mapping(found: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected an object")
    return found


def _items(block: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    found = block.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError(f"{where}.{name}: expected a list of objects")
    return found


def _texts(found: Any, where: str) -> dict[str, str]:
    """Labels and annotations; what the operator and its selectors go by is not for others."""
    read = _mapping(found or {}, where)
    for key, value in read.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"{where}: expected texts, got {key!r}: {value!r}"[:200])
        if key.startswith(_OURS) or key == MANAGED_BY:
            raise ValueError(f"{where}.{key}: it is Slipway's own; remove it")
    return dict(read)


def _seconds(found: Any) -> int | None:
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ValueError("spec.activeDeadlineSeconds: expected a whole number of at least 1")
    return found
