"""The pods: the template of a revision, its Deployment, its supply Job, its disruption budget.

Lives here: the shape of everything that runs, and the defaults of the revisioned fields.
Stays out: how many replicas (`rollout.py` decides) and what the runtime is told (`serving.py`).

Every pod meets the `restricted` Pod Security Standard.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.api.fields import seconds
from slipway_operator.api.security import Authentication
from slipway_operator.api.v1alpha1 import Model, Resources, Runtime, Samples, Spec
from slipway_operator.plan.conversion import CONVERT, converting, is_converting
from slipway_operator.plan.names import (
    ADMIN_PORT,
    CHECK_FOR,
    GRPC_PORT,
    HTTP_PORT,
    MANAGED_BY,
    MANAGER,
    MODEL,
    MODEL_DIGEST,
    POLL_OF,
    REVISION,
    REVISION_NUMBER,
    SERVING_FILE,
    SUPPLY_FOR,
    Manifest,
    Owner,
    child,
    poll_labels,
    poll_name,
    revision_name,
    revision_selector,
    service_account_name,
    supply_labels,
)
from slipway_operator.plan.names import SERVE as SERVE
from slipway_operator.plan.revision import GRPC, REST, Revision
from slipway_operator.plan.security import secured
from slipway_operator.plan.serving import serving_document
from slipway_operator.plan.sources import mounts, samples_mount, samples_volume, sources

FETCH: Final = "fetch"
EXIT_TERMINAL: Final = 10
"""The supply step's exit status when trying again cannot help (`docs/architecture.md`)."""

ENDPOINTS_GRACE_S: Final = 5
"""How long a pod goes on accepting after SIGTERM, while endpoints and proxies forget it."""
_EXIT_MARGIN_S: Final = 5
_DEFAULT_DRAIN: Final = "30s"
PROGRESS_DEADLINE_S: Final = 1800
_SUPPLY_RETRIES: Final = 3
_POLL_DEADLINE_S: Final = 3600
"""For a look that has to fetch the model; one that hangs must not end all others."""
_USER: Final = 65532

_SERVE_RESOURCES: Final[Manifest] = {
    "requests": {"cpu": "500m", "memory": "256Mi"},
    "limits": {"cpu": "1", "memory": "512Mi"},
}
_SUPPLY_RESOURCES: Final[Manifest] = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "1", "memory": "1Gi"},
}
_UNDISTURBED: Final[Manifest] = {
    "action": "Ignore",
    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
}
"""A pod that a node drain ended has not failed."""
_SETTING: Final = "SLIPWAY_RUNTIME_"
_CONFIG_DIR: Final = "/etc/slipway"
_MODEL_DIR: Final = "/models"


@dataclass(frozen=True, slots=True)
class RuntimeDefaults:
    """What the operator was installed with; kept by a revision once it is rendered."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    insecure_registries: str = ""
    """Registries reached without TLS, comma separated; for clusters of developers."""
    converter_image: str = ""
    """What converts models of other formats; empty: nothing does."""


def pod_template(owner: Owner, revision: str, spec: Spec, defaults: RuntimeDefaults) -> Manifest:
    """Render the serving pods' template of a new revision."""
    runtime = spec.runtime or Runtime()
    labels = {
        **(runtime.pod_labels or {}),
        MANAGED_BY: MANAGER,
        **revision_selector(owner.name, revision),
    }
    metadata: Manifest = {"labels": labels}
    if runtime.pod_annotations:
        metadata["annotations"] = dict(runtime.pod_annotations)
    drain_s = math.ceil(seconds(runtime.drain or _DEFAULT_DRAIN))
    pod = {
        **_pod_base(owner, runtime),
        "terminationGracePeriodSeconds": ENDPOINTS_GRACE_S + drain_s + _EXIT_MARGIN_S,
        "topologySpreadConstraints": _spread(owner.name, revision, runtime),
        "initContainers": [_fetch_container(runtime, spec, defaults)],
        "containers": [_serve_container(spec, drain_s, defaults)],
        "volumes": [
            {
                "name": "config",
                "configMap": {
                    "name": revision_name(owner.name, revision),
                    "items": [{"key": SERVING_FILE, "path": SERVING_FILE}],
                },
            },
            *_data_volumes(spec, resolving=False),
            *_warming_volumes(spec),
        ],
    }
    template = {"metadata": metadata, "spec": pod}
    image = _image_of_steps(spec.model, runtime, defaults)
    if image:
        has_resources = bool(runtime.supply_resources)
        samples = spec.model.samples if _calibrates(spec) else None
        return _converting(template, image, has_resources=has_resources, samples=samples)
    return template


def _warming_volumes(spec: Spec) -> list[Manifest]:
    """The samples, for the pod's first runs."""
    samples = spec.model.samples
    return [] if samples is None else [samples_volume(samples, optional=True)]


def _image_of_steps(model: Model, runtime: Runtime, defaults: RuntimeDefaults) -> str:
    """What converts, where it is known before the model is; empty: nothing does.

    The runtime's own image optimises; only other formats need the large one.
    """
    if model.format not in (None, "Auto", "ONNX"):
        return defaults.converter_image
    if model.optimization is None or not model.optimization.rewrites:
        return ""
    lean = runtime.image or defaults.image
    return lean if model.format == "ONNX" else defaults.converter_image or lean


def _calibrates(spec: Spec) -> bool:
    """Whether the samples are part of what the model's bytes are made of."""
    optimization = spec.model.optimization
    return optimization is not None and optimization.quantization == "StaticInt8"


def convertible(revision: Revision, defaults: RuntimeDefaults) -> Revision:
    """Let the pods of a revision convert their model, which turned out to be of another format."""
    resources = (revision.spec.get("runtime") or {}).get("supplyResources")
    image = defaults.converter_image
    template = _converting(revision.pod_template, image, has_resources=bool(resources))
    return revision.converting(template)


def _converting(
    template: Mapping[str, Any],
    image: str,
    *,
    has_resources: bool,
    samples: Samples | None = None,
) -> Manifest:
    place = "initContainers"
    pod = converting(template["spec"], place, image, has_resources=has_resources, samples=samples)
    return {**template, "spec": pod}


def deployment(
    owner: Owner,
    revision: Revision,
    replicas: int | None,
    progress_deadline_s: float = PROGRESS_DEADLINE_S,
    authentication: Authentication | None = None,
) -> Manifest:
    """Render a revision's Deployment from its stored template; the digest stands in its pods.

    Args:
        owner: the ModelDeployment.
        revision: it must be resolved.
        replicas: None leaves the field to an autoscaler.
        progress_deadline_s: after which Kubernetes gives it up; no part of the revision.
        authentication: what clients have to show; no part of the revision either.
    """
    if revision.result is None:
        raise ValueError(f"revision {revision.hash}: not resolved, so it has no Deployment")
    notes = {
        MODEL_DIGEST: revision.result.digest,
        REVISION_NUMBER: str(revision.number),
    }
    name = revision_name(owner.name, revision.hash)
    manifest = child(
        "apps/v1", "Deployment", owner, name, revision=revision.hash, annotations=notes
    )
    template = secured(revision.template, authentication)
    metadata = dict(template.get("metadata") or {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **notes}
    manifest["spec"] = {
        **({} if replicas is None else {"replicas": replicas}),
        "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": math.ceil(progress_deadline_s),
        "selector": {"matchLabels": revision_selector(owner.name, revision.hash)},
        # The template changes with spec.security alone, and by hand: pods then go one by one.
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        },
        "template": {**template, "metadata": metadata},
    }
    return manifest


def supply_job(owner: Owner, revision: Revision, defaults: RuntimeDefaults, spec: Spec) -> Manifest:
    """Render the Job that fetches the model once and checks it, before anything is deployed."""
    runtime = spec.runtime or Runtime()
    document = serving_document(owner, revision)
    fetch = _fetch_base(runtime, spec, defaults, resolving=True)
    fetch["args"] = [FETCH, "--resolve", "--into", _MODEL_DIR]
    fetch["env"] = [
        *fetch.get("env", []),
        {"name": "SLIPWAY_RUNTIME_CONFIG_JSON", "value": json.dumps(document, sort_keys=True)},
    ]
    pod: Manifest = {
        **_pod_base(owner, runtime),
        "restartPolicy": "Never",
        "containers": [fetch],
        "volumes": _data_volumes(spec, resolving=True),
    }
    terminal: Manifest = {"containerName": FETCH, "operator": "In", "values": [EXIT_TERMINAL]}
    if is_converting(revision.template):
        image, has_resources = _converter_image(revision), bool(runtime.supply_resources)
        # Of a request, the pipeline makes the tensors that the model takes: those are not known.
        is_direct = not (revision.spec.get("pipeline") or {}).get("preprocess")
        samples = spec.model.samples if is_direct else None
        pod = converting(pod, "containers", image, has_resources=has_resources, samples=samples)
        del terminal["containerName"]  # whichever step it is
    name = revision_name(owner.name, revision.hash)
    manifest = child("batch/v1", "Job", owner, name, revision=revision.hash)
    manifest["spec"] = {
        "backoffLimit": _SUPPLY_RETRIES,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": terminal},
                _UNDISTURBED,
            ]
        },
        "template": {
            "metadata": {"labels": supply_labels(owner.name, revision.hash)},
            "spec": pod,
        },
    }
    return manifest


def poll_job(
    owner: Owner,
    spec: Spec,
    document: Mapping[str, Any],
    defaults: RuntimeDefaults,
    *,
    spec_hash: str,
    known: Mapping[str, str],
) -> Manifest:
    """Render the Job that looks at the model's source again.

    Args:
        owner: the ModelDeployment.
        spec: as it is written now.
        document: serving.json for the step.
        defaults: what the operator was installed with.
        spec_hash: of the spec.
        known: options of the step and their values: what was found before.
    """
    runtime = spec.runtime or Runtime()
    # It keeps nothing, and looks at no signature: the revision that comes of it does.
    model = spec.model.model_copy(update={"cache": None, "verify": None})
    bare = spec.model_copy(update={"model": model, "pipeline": None})
    fetch = _fetch_base(runtime, bare, defaults, resolving=False)
    words = [word for option in known.items() for word in option]
    fetch["args"] = [FETCH, "--look", "--into", _MODEL_DIR, *words]
    fetch["env"] = [
        *fetch.get("env", []),
        {"name": "SLIPWAY_RUNTIME_CONFIG_JSON", "value": json.dumps(document, sort_keys=True)},
    ]
    manifest = child("batch/v1", "Job", owner, poll_name(owner.name))
    manifest["metadata"]["labels"][POLL_OF] = spec_hash
    manifest["spec"] = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": _POLL_DEADLINE_S,
        "podFailurePolicy": {"rules": [_UNDISTURBED]},
        "template": {
            "metadata": {"labels": poll_labels(owner.name, spec_hash)},
            "spec": {
                **_pod_base(owner, runtime),
                "restartPolicy": "Never",
                "containers": [fetch],
                "volumes": _data_volumes(bare, resolving=False),
            },
        },
    }
    return manifest


def _converter_image(revision: Revision) -> str:
    """The image that its pods have: what the Job finds out must hold for them."""
    steps = revision.template["spec"]["initContainers"]
    return str(next(step["image"] for step in steps if step["name"] == CONVERT))


def disruption_budget(owner: Owner, revision: str) -> Manifest:
    """Let a node drain take one pod of a revision at a time."""
    name = revision_name(owner.name, revision)
    manifest = child("policy/v1", "PodDisruptionBudget", owner, name, revision=revision)
    manifest["spec"] = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",  # a crash loop must not block a node drain
        "selector": {"matchLabels": revision_selector(owner.name, revision)},
    }
    return manifest


def service_account(owner: Owner) -> Manifest:
    """Render the ServiceAccount of the pods: no rights, no token."""
    manifest = child("v1", "ServiceAccount", owner, service_account_name(owner.name))
    manifest["automountServiceAccountToken"] = False
    return manifest


def _pod_base(owner: Owner, runtime: Runtime) -> Manifest:
    pod: Manifest = {
        "serviceAccountName": runtime.service_account_name or service_account_name(owner.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    chosen = {
        "imagePullSecrets": [{"name": s.name} for s in runtime.image_pull_secrets or ()],
        "nodeSelector": runtime.node_selector,
        "tolerations": runtime.tolerations,
        "affinity": runtime.affinity,
        "priorityClassName": runtime.priority_class_name,
    }
    return pod | {k: v for k, v in chosen.items() if v}


def _spread(name: str, revision: str, runtime: Runtime) -> list[Manifest]:
    if runtime.topology_spread_constraints:
        return list(runtime.topology_spread_constraints)
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": revision_selector(name, revision)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def _container(name: str, runtime: Runtime, defaults: RuntimeDefaults) -> Manifest:
    return {
        "name": name,
        "image": runtime.image or defaults.image,
        "imagePullPolicy": runtime.image_pull_policy or defaults.image_pull_policy,
        # The message of a process that dies without one is the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _fetch_base(
    runtime: Runtime, spec: Spec, defaults: RuntimeDefaults, *, resolving: bool
) -> Manifest:
    fetch = _container(FETCH, runtime, defaults)
    fetch["resources"] = _resources(runtime.supply_resources, _SUPPLY_RESOURCES)
    fetch["volumeMounts"] = [
        {"name": "models", "mountPath": _MODEL_DIR},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount point in the container
    ]
    fetch["volumeMounts"].extend(mounts(spec.model, resolving=resolving, pipeline=spec.pipeline))
    if environment := _fetch_environment(runtime, defaults):
        fetch["env"] = environment
    return fetch


def _fetch_environment(runtime: Runtime, defaults: RuntimeDefaults) -> list[Manifest]:
    """The runtime's own settings reach the step that fetches; nothing else of the user's does."""
    given = [dict(e) for e in runtime.env or () if str(e.get("name", "")).startswith(_SETTING)]
    name = f"{_SETTING}INSECURE_REGISTRIES"
    if not defaults.insecure_registries or any(e.get("name") == name for e in given):
        return given
    return [{"name": name, "value": defaults.insecure_registries}, *given]


def _fetch_container(runtime: Runtime, spec: Spec, defaults: RuntimeDefaults) -> Manifest:
    fetch = _fetch_base(runtime, spec, defaults, resolving=False)
    fetch["args"] = [FETCH, "--config", f"{_CONFIG_DIR}/{SERVING_FILE}", "--into", _MODEL_DIR]
    fetch["volumeMounts"].append({"name": "config", "mountPath": _CONFIG_DIR, "readOnly": True})
    return fetch


def _serve_container(spec: Spec, drain_s: int, defaults: RuntimeDefaults) -> Manifest:
    runtime = spec.runtime or Runtime()
    serve = _container(SERVE, runtime, defaults)
    serve["args"] = [
        SERVE,
        "--config",
        f"{_CONFIG_DIR}/{SERVING_FILE}",
        "--model-dir",
        _MODEL_DIR,
    ]
    serve["env"] = _environment(runtime, drain_s)
    serve["ports"] = [
        {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _ports(spec)
    ]
    serve["resources"] = _resources(runtime.resources, _SERVE_RESOURCES)
    serve["volumeMounts"] = [
        {"name": "config", "mountPath": _CONFIG_DIR, "readOnly": True},
        {"name": "models", "mountPath": _MODEL_DIR, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a mount point in the container
    ]
    if spec.model.samples is not None:
        serve["volumeMounts"].append(samples_mount())
    # A big model may load for as long as the rollout may take; only then liveness begins to count.
    serve["startupProbe"] = _probe("/readyz", period_s=1, failures=PROGRESS_DEADLINE_S)
    serve["readinessProbe"] = _probe("/readyz", period_s=2, failures=2)
    serve["livenessProbe"] = _probe("/livez", period_s=10, failures=6)
    return serve


def _ports(spec: Spec) -> Iterator[tuple[str, int]]:
    protocols = (spec.serving.protocols if spec.serving else None) or (REST, GRPC)
    if REST in protocols:
        yield "http", HTTP_PORT
    if GRPC in protocols:
        yield "grpc", GRPC_PORT
    yield "admin", ADMIN_PORT


def _environment(runtime: Runtime, drain_s: int) -> list[Manifest]:
    """The user's variables win over ours of the same name."""
    given = [dict(e) for e in runtime.env or ()]
    ours = {
        "SLIPWAY_RUNTIME_DRAIN_S": str(drain_s),
        "SLIPWAY_RUNTIME_ENDPOINTS_GRACE_S": str(ENDPOINTS_GRACE_S),
    }
    names = {e.get("name") for e in given}
    return [{"name": k, "value": v} for k, v in ours.items() if k not in names] + given


def _probe(path: str, *, period_s: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "admin", "scheme": "HTTP"},
        "periodSeconds": period_s,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }


def _resources(given: Resources | None, default: Mapping[str, Any]) -> Manifest:
    if given is None:
        return dict(default)
    return given.model_dump(exclude_none=True)


def _data_volumes(spec: Spec, *, resolving: bool) -> list[Manifest]:
    volumes: list[Manifest] = [
        {"name": "models", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    found = sources(spec.model, resolving=resolving, pipeline=spec.pipeline)
    volumes.extend(volume for volume, _ in found)
    return volumes


def supply_owner(pod: Mapping[str, Any]) -> str | None:
    """Name of the ModelDeployment a supply pod works for; None for other pods."""
    labels = pod["metadata"].get("labels") or {}
    name = labels.get(SUPPLY_FOR)
    return name if isinstance(name, str) else None


def check_owner(pod: Mapping[str, Any]) -> str | None:
    """Name of the ModelDeployment whose candidate a pod checks; None for other pods."""
    name = (pod["metadata"].get("labels") or {}).get(CHECK_FOR)
    return name if isinstance(name, str) else None


def serving_owner(pod: Mapping[str, Any]) -> str | None:
    """Name of the ModelDeployment a serving pod belongs to; None for other pods."""
    labels = pod["metadata"].get("labels") or {}
    name = labels.get(MODEL)
    return name if isinstance(name, str) and REVISION in labels else None
