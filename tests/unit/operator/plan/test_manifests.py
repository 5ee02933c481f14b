"""What is applied: the golden files, Kubernetes' own schemas, and the restricted Pod Security."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan.names import (
    MODEL,
    REVISION,
    Manifest,
    Owner,
    child_labels,
    revision_name,
)
from slipway_operator.plan.plan import plan
from slipway_operator.plan.workload import pod_template
from tests.builders import DEFAULTS, Scene, mdep, spec_of, success_message

GOLDEN = Path(__file__).parents[3] / "golden" / "manifests"
FULL = spec_of(
    "configmap://digits-v1/model.onnx",
    replicas=2,
    serving={"threads": 2, "requestTimeout": "10s", "maxRequestBytes": "16Mi"},
    runtime={
        "image": "registry.test/own:2",
        "imagePullSecrets": [{"name": "pull"}],
        "resources": {"requests": {"cpu": "0.5"}, "limits": {"memory": "1Gi"}},
        "env": [{"name": "SLIPWAY_RUNTIME_DRAIN_S", "value": "7"}],
        "podLabels": {"team": "vision", MODEL: "somebody-elses"},
        "podAnnotations": {"note": "Größe 🚢"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [],
        "priorityClassName": "high",
        "serviceAccountName": "own",
        "drain": "1m30s",
    },
    exposure={"service": {"type": "NodePort", "nodePorts": {"http": 30080},
                          "annotations": {"cloud/lb": "internal"}}},
)  # fmt: skip
SOURCES = {
    "model": {
        "uri": "s3://models/digits.onnx",
        "credentials": {"secretName": "s3-login"},
        "caBundle": {"configMap": {"name": "ca", "key": "bundle.pem"}},
        "proxy": {"https": "http://proxy.example:3128", "noProxy": ".svc"},
    }
}
KEYS = spec_of(security={"authentication": {"type": "APIKeys", "secretName": "digits-keys"}})
OPTIMISED = {
    "model": {
        "uri": "https://models.test/digits.onnx",
        "format": "ONNX",
        "samples": {"configMap": {"name": "rows", "key": "some.json"}},
        "optimization": {"quantization": "StaticInt8", "minAgreementPercent": 98},
    }
}
SCENARIOS = {
    "minimal": spec_of(),
    "full": FULL,
    "sources": SOURCES,
    "keys": KEYS,
    "optimised": OPTIMISED,
}


def _rendered(spec: dict[str, Any]) -> list[Manifest]:
    """Everything that is applied for a verified revision, and its supply Job."""
    scene = Scene(spec).recorded(spec, resolved=False).job(spec)
    scene.supply_ended(spec, 0, success_message(spec["model"]["uri"]))
    job = [m for m in plan(Scene(spec).snapshot()).apply if m["kind"] == "Job"]
    return [*plan(scene.snapshot()).apply, *job]


MANIFESTS = [
    pytest.param(m, id=f"{name} {m['kind']} {m['metadata']['name']}")
    for name, spec in SCENARIOS.items()
    for m in _rendered(spec)
]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_manifests_are_those_of_the_golden_file(name: str) -> None:
    written = yaml.safe_dump_all(_rendered(SCENARIOS[name]), sort_keys=False, allow_unicode=True)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(written)
    assert written == golden.read_text(), "review the difference, then run `make golden`"


def test_every_golden_file_belongs_to_a_scenario() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == SCENARIOS.keys()


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_valid_strictly(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, "1.35", strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_owned_and_labelled(manifest: Manifest) -> None:
    meta = manifest["metadata"]
    assert [r["uid"] for r in meta["ownerReferences"] if r["controller"]] == ["uid-digits"]
    assert child_labels("digits").items() <= meta["labels"].items()


def _pods() -> Iterator[Any]:
    for spec in SCENARIOS.values():
        for manifest in _rendered(spec):
            if manifest["kind"] in ("Job", "Deployment"):
                yield manifest["spec"]["template"]["spec"]


@pytest.mark.parametrize("pod", list(_pods()))
def test_a_pod_meets_the_restricted_standard(pod: Manifest) -> None:
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    kinds = {"name", "emptyDir", "configMap", "secret", "persistentVolumeClaim"}
    assert {k for v in pod["volumes"] for k in v} <= kinds
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"] or container["resources"]["requests"]


def _template(**runtime: Any) -> Manifest:
    return pod_template(Owner.of(mdep()), "abc", parse_spec(spec_of(runtime=runtime)), DEFAULTS)


def test_labels_of_the_user_never_win_over_selectors() -> None:
    labels = _template(podLabels={MODEL: "other", REVISION: "other", "team": "x"})
    assert labels["metadata"]["labels"] == {
        "team": "x", "app.kubernetes.io/managed-by": "slipway", MODEL: "digits", REVISION: "abc",
    }  # fmt: skip


def test_variables_of_the_user_win_over_ours_and_none_comes_twice() -> None:
    template = _template(env=[{"name": "SLIPWAY_RUNTIME_DRAIN_S", "value": "7"}])
    env = template["spec"]["containers"][0]["env"]
    assert [e["value"] for e in env if e["name"] == "SLIPWAY_RUNTIME_DRAIN_S"] == ["7"]


@pytest.mark.parametrize(
    ("drain", "expected"),
    [
        pytest.param(None, 40, id="the default"),
        pytest.param("1m", 70, id="as asked"),
        pytest.param("250ms", 11, id="a fraction is rounded up"),
        pytest.param("0s", 10, id="none"),
    ],
)
def test_a_pod_has_time_to_be_forgotten_to_drain_and_to_end(
    drain: str | None, expected: int
) -> None:
    template = _template(**({"drain": drain} if drain else {}))
    assert template["spec"]["terminationGracePeriodSeconds"] == expected


def test_the_longest_names_fit() -> None:
    assert len(revision_name("a" * 40, "0" * 10)) <= 63


@pytest.mark.parametrize(
    ("protocols", "ports", "urls"),
    [
        pytest.param(None, ["http", "grpc"], ["http://digits.t1.svc", "digits.t1.svc:9000"]),
        pytest.param(["REST"], ["http"], ["http://digits.t1.svc"]),
        pytest.param(["GRPC"], ["grpc"], ["digits.t1.svc:9000"]),
    ],
    ids=str,
)
def test_only_what_is_served_has_a_port(
    protocols: list[str] | None, ports: list[str], urls: list[str]
) -> None:
    spec = spec_of(serving={"protocols": protocols} if protocols else {})
    found = {m["kind"]: m for m in _rendered(spec)}
    container = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert [port["name"] for port in container["ports"]] == [*ports, "admin"]
    services = [m for m in _rendered(spec) if m["kind"] == "Service"]
    assert [[p["name"] for p in m["spec"]["ports"]] for m in services] == [ports, ports]
    status = plan(Scene(spec).serving(spec).snapshot()).status
    assert status
    endpoints = status["endpoints"]
    assert [endpoint["url"] for endpoint in endpoints] == urls


def test_the_apex_has_the_ports_of_the_revision_that_it_selects() -> None:
    """A candidate without gRPC takes no port from the revision that still answers."""
    stable, candidate = spec_of(), spec_of(serving={"protocols": ["REST"]})
    scene = Scene(candidate).serving(stable).recorded(candidate, resolved=False, number=2)
    planned = plan(scene.snapshot())
    (apex,) = [m for m in planned.apply if m["metadata"]["name"] == "digits"]
    assert [port["name"] for port in apex["spec"]["ports"]] == ["http", "grpc"]
    assert planned.status
    assert [endpoint["type"] for endpoint in planned.status["endpoints"]] == ["REST", "GRPC"]


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_only_the_container_that_fetches_sees_credentials(kind: str) -> None:
    """Neither does another container, nor an environment variable."""
    (manifest,) = [m for m in _rendered(SOURCES) if m["kind"] == kind]
    pod = manifest["spec"]["template"]["spec"]
    secrets = {v["name"] for v in pod["volumes"] if "secret" in v}
    assert secrets == {"credentials"}
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        mounted = {m["name"]: m for m in container["volumeMounts"] if m["name"] in secrets}
        assert set(mounted) == (secrets if container["name"] == "fetch" else set())
        assert all(m["readOnly"] for m in mounted.values())
        assert not [e for e in container.get("env", ()) if "valueFrom" in e]
    (volume,) = [v for v in pod["volumes"] if "secret" in v]
    assert volume["secret"]["defaultMode"] == 0o400
