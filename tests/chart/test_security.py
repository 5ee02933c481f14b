"""The operator's pod is restricted, its rights are listed, and common linters would be content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway_operator.plan.names import ADMIN_PORT, MANAGED_BY, MANAGER, REVISION
from tests.chart.rendering import SCENARIOS, Helm, Manifest, Rendering

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
CHILD = {"get", "list", "watch", "create", "patch", "delete"}
READ = {"list", "watch"}

CLUSTER_RIGHTS = {
    ("slipway.dev", "modeldeployments"): READ,
    ("slipway.dev", "modeldeployments/status"): {"patch"},
    ("slipway.dev", "modeldeployments/finalizers"): {"update"},
    ("apps", "controllerrevisions"): CHILD,
    ("apps", "deployments"): CHILD,
    ("batch", "jobs"): CHILD,
    ("", "configmaps"): CHILD,
    ("", "serviceaccounts"): CHILD,
    ("", "services"): CHILD,
    ("policy", "poddisruptionbudgets"): CHILD,
    ("autoscaling", "horizontalpodautoscalers"): CHILD,
    ("keda.sh", "scaledobjects"): CHILD,
    ("monitoring.coreos.com", "podmonitors"): CHILD,
    ("gateway.networking.k8s.io", "httproutes"): CHILD,
    ("gateway.networking.k8s.io", "grpcroutes"): CHILD,
    ("gateway.networking.k8s.io", "gateways"): READ,
    ("gateway.networking.k8s.io", "gatewayclasses"): READ,
    ("discovery.k8s.io", "endpointslices"): READ,
    ("", "pods"): READ,
    ("", "events"): READ | {"create", "patch"},
    ("apiextensions.k8s.io", "customresourcedefinitions"): READ,
}

OF_THE_CLUSTER = {"customresourcedefinitions", "gatewayclasses"}
"""Kinds that are in no namespace."""

MODELS = {"slipway-operator-models"}


@pytest.fixture
def namespaced(helm: Helm, chart: Path) -> Rendering:
    """The chart for two namespaces."""
    return helm.template(chart, values={"watchNamespaces": ["team-a", "team-b"]})


@pytest.fixture(
    params=[(), *[(path,) for path in SCENARIOS]],
    ids=lambda files: files[0].name.removesuffix("-values.yaml") if files else "default",
)
def rendering(helm: Helm, chart: Path, request: pytest.FixtureRequest) -> Rendering:
    """The chart in each of its scenarios."""
    return helm.template(chart, files=request.param)


def rights(role: Manifest) -> dict[tuple[str, str], set[str]]:
    """Return the verbs of a role by group and resource."""
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                assert (group, resource) not in found, "each right is listed once"
                found[group, resource] = set(rule["verbs"])
    return found


def strings(node: Any) -> Iterator[str]:
    """Yield every string of a manifest, keys included."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node


class TestPodSecurityRestricted:
    """The rules of the standard `restricted`, and a read-only root on top."""

    def test_the_pod_shares_nothing_with_its_node(self, rendering: Rendering) -> None:
        forbidden = {"hostNetwork", "hostPID", "hostIPC", "hostAliases"}
        assert forbidden & set(rendering.pod) == set()
        assert "sysctls" not in rendering.pod["securityContext"]
        assert all("hostPort" not in port for port in rendering.container["ports"])

    def test_the_pod_runs_as_nobody(self, rendering: Rendering) -> None:
        assert rendering.pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }

    def test_the_container_can_gain_nothing(self, rendering: Rendering) -> None:
        assert rendering.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    def test_the_volumes_are_of_permitted_kinds_and_bounded(self, rendering: Rendering) -> None:
        for volume in rendering.pod["volumes"]:
            assert set(volume) - {"name"} <= RESTRICTED_VOLUMES
            assert volume.get("emptyDir", {"sizeLimit": ""}).keys() == {"sizeLimit"}


class TestRights:
    def test_the_cluster_role_lists_exactly_what_is_needed(self, default: Rendering) -> None:
        assert rights(default.one("ClusterRole", "slipway-operator")) == CLUSTER_RIGHTS

    def test_for_given_namespaces_there_are_roles_in_them_and_none_in_the_cluster(
        self, namespaced: Rendering
    ) -> None:
        assert {o["kind"] for o in namespaced.objects} & {"ClusterRole", "ClusterRoleBinding"} == (
            set()
        )
        roles = [r for r in namespaced.of_kind("Role") if r["metadata"]["name"] in MODELS]
        assert [r["metadata"]["namespace"] for r in roles] == ["team-a", "team-b"]
        in_namespaces = {k: v for k, v in CLUSTER_RIGHTS.items() if k[1] not in OF_THE_CLUSTER}
        assert [rights(r) for r in roles] == [in_namespaces, in_namespaces]
        bindings = [b for b in namespaced.of_kind("RoleBinding") if b["metadata"]["name"] in MODELS]
        assert [b["metadata"]["namespace"] for b in bindings] == ["team-a", "team-b"]
        for binding in bindings:
            assert binding["roleRef"]["kind"] == "Role"
            assert binding["roleRef"]["name"] in MODELS
            assert binding["subjects"][0]["namespace"] == "slipway-system"
        watched = namespaced.environment["SLIPWAY_OPERATOR_WATCH_NAMESPACES"]
        assert watched == "team-a,team-b"

    def test_users_read_and_write_models_by_the_roles_that_they_have(
        self, default: Rendering
    ) -> None:
        prefix = "rbac.authorization.k8s.io/aggregate-to-"
        found = {
            label.removeprefix(prefix): rights(role)
            for role in default.of_kind("ClusterRole")
            for label in role["metadata"]["labels"]
            if label.startswith(prefix)
        }
        see = READ | {"get"}
        read = {("slipway.dev", f"modeldeployments{s}"): see for s in ("", "/status", "/scale")}
        write = {
            ("slipway.dev", "modeldeployments"): {
                "create", "update", "patch", "delete", "deletecollection",
            },
            ("slipway.dev", "modeldeployments/scale"): {"update", "patch"},
        }  # fmt: skip
        assert found == {"view": read, "edit": write, "admin": write}

    def test_the_lease_is_the_only_right_in_the_own_namespace(self, default: Rendering) -> None:
        assert default.one("Role", "slipway-operator")["rules"] == [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {
                "apiGroups": ["coordination.k8s.io"],
                "resources": ["leases"],
                "resourceNames": ["slipway-operator"],
                "verbs": ["get", "update"],
            },
        ]

    def test_the_role_follows_the_name_of_the_lease(self, rendering: Rendering) -> None:
        roles = rendering.of_kind("Role")
        (own,) = [r for r in roles if r["metadata"]["namespace"] == "slipway-system"]
        bound = own["rules"][1]["resourceNames"]
        assert bound == [rendering.environment["SLIPWAY_OPERATOR_LEASE_NAME"]]

    def test_nothing_is_a_wildcard_or_a_secret(self, rendering: Rendering) -> None:
        roles = rendering.of_kind("ClusterRole") + rendering.of_kind("Role")
        for role in (r for r in roles if not r["metadata"]["name"].endswith("-edit")):
            assert not any("*" in text for text in strings(role["rules"]))
            resources = {resource for _, resource in rights_of_rules(role)}
            assert not any(resource.startswith("secrets") for resource in resources)
            assert resources & {"pods/exec", "pods/log", "serviceaccounts/token", "nodes"} == set()
            verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
            assert verbs & {"escalate", "bind", "impersonate", "deletecollection"} == set()

    def test_the_bindings_give_the_rights_to_the_pods_account(self, rendering: Rendering) -> None:
        account = {
            "kind": "ServiceAccount",
            "name": rendering.pod["serviceAccountName"],
            "namespace": "slipway-system",
        }
        bindings = rendering.of_kind("ClusterRoleBinding") + rendering.of_kind("RoleBinding")
        assert len(bindings) >= 2
        for bound in bindings:
            role = bound["kind"].removesuffix("Binding")
            assert bound["subjects"] == [account]
            assert bound["roleRef"] == {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": role,
                "name": bound["metadata"]["name"],
            }
            assert rendering.of_kind(role)

    def test_the_account_that_the_pod_names_is_made_when_asked(self, rendering: Rendering) -> None:
        for account in rendering.of_kind("ServiceAccount"):
            assert account["metadata"]["name"] == rendering.pod["serviceAccountName"]
            assert account["automountServiceAccountToken"] is False
        assert rendering.pod["automountServiceAccountToken"] is True


class TestNetworkPolicy:
    def test_only_metrics_in_and_only_the_api_server_models_counters_and_dns_out(
        self, helm: Helm, chart: Path
    ) -> None:
        rendering = helm.template(chart, values={"networkPolicy": {"enabled": True}})
        spec = rendering.one("NetworkPolicy")["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert spec["podSelector"] == rendering.one("Deployment")["spec"]["selector"]
        assert spec["ingress"] == [{"ports": [{"port": "health", "protocol": "TCP"}]}]
        ports = [sorted((p["protocol"], p["port"]) for p in r["ports"]) for r in spec["egress"]]
        assert ports == [
            [("TCP", 443), ("TCP", 6443)],
            [("TCP", ADMIN_PORT)],
            [("TCP", 53), ("UDP", 53)],
        ]
        (models,) = spec["egress"][1]["to"]
        assert models["podSelector"] == {
            "matchLabels": {MANAGED_BY: MANAGER},
            "matchExpressions": [{"key": REVISION, "operator": "Exists"}],
        }


class TestWhatLintersAskFor:
    def test_the_three_probes_are_answered_on_a_named_port(self, rendering: Rendering) -> None:
        ports = {port["name"]: port["containerPort"] for port in rendering.container["ports"]}
        assert ports == {"health": int(str(rendering.environment["SLIPWAY_OPERATOR_HEALTH_PORT"]))}
        probes = {
            name: (rendering.container[name]["httpGet"]["path"], probed["httpGet"]["port"])
            for name in ("startupProbe", "livenessProbe", "readinessProbe")
            for probed in [rendering.container[name]]
        }
        assert probes == {
            "startupProbe": ("/livez", "health"),
            "livenessProbe": ("/livez", "health"),
            "readinessProbe": ("/readyz", "health"),
        }

    def test_cpu_and_memory_are_requested_and_memory_is_limited(self, rendering: Rendering) -> None:
        resources = rendering.container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert "memory" in resources["limits"]

    def test_no_image_is_latest_or_untagged(self, rendering: Rendering) -> None:
        for image in (
            rendering.container["image"],
            str(rendering.environment["SLIPWAY_OPERATOR_RUNTIME_IMAGE"]),
        ):
            assert ":" in image.split("/")[-1]
            assert not image.endswith(":latest")

    def test_replicas_prefer_different_nodes(self, default: Rendering) -> None:
        (preferred,) = default.pod["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        term = preferred["podAffinityTerm"]
        selector = default.one("Deployment")["spec"]["selector"]
        assert term == {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}

    def test_a_drain_takes_one_pod_at_a_time(self, default: Rendering) -> None:
        spec = default.one("PodDisruptionBudget")["spec"]
        assert spec["maxUnavailable"] == 1
        assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"

    def test_an_update_starts_the_new_pod_first(self, default: Rendering) -> None:
        assert default.one("Deployment")["spec"]["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        }

    def test_environment_names_are_unique_and_hold_no_secret(self, rendering: Rendering) -> None:
        names = [variable["name"] for variable in rendering.container["env"]]
        assert len(names) == len(set(names))
        assert not any("secretKeyRef" in text for text in strings(rendering.container["env"]))

    def test_the_service_reaches_a_port_of_the_container(self, default: Rendering) -> None:
        (port,) = default.one("Service")["spec"]["ports"]
        assert port["targetPort"] in {entry["name"] for entry in default.container["ports"]}

    def test_the_pod_has_longer_to_stop_than_the_operator_needs(self, default: Rendering) -> None:
        assert default.pod["terminationGracePeriodSeconds"] == 30


def rights_of_rules(role: Manifest) -> set[tuple[str, str]]:
    """Return every pair of group and resource that a role names."""
    return {
        (group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
