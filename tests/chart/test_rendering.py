"""The chart lints, renders as reviewed, and every object is one that Kubernetes knows."""

from __future__ import annotations

import os
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from slipway_operator.settings import Settings, unknown_names
from tests.chart.rendering import (
    CHART,
    REPOSITORY,
    SCENARIOS,
    Helm,
    HelmError,
    Rendering,
    copy_of_chart,
)

GOLDEN = REPOSITORY / "tests" / "golden" / "chart"
VERSIONS = ["1.35", "1.37"]  # the project's cluster, and the newest that the validator knows

scenarios = pytest.mark.parametrize(
    "files",
    [pytest.param((), id="default")]
    + [pytest.param((path,), id=path.name.removesuffix("-values.yaml")) for path in SCENARIOS],
)


def test_helm_lints_the_chart_without_a_warning(helm: Helm, chart: Path) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm.run("lint", "--strict", chart)


@scenarios
def test_helm_lints_every_scenario(helm: Helm, chart: Path, files: tuple[Path, ...]) -> None:
    helm.run("lint", "--strict", chart, *(f"--values={path}" for path in files))


@scenarios
def test_a_scenario_renders_as_its_golden_file(
    helm: Helm,
    chart_with_placeholder: Path,
    files: tuple[Path, ...],
    request: pytest.FixtureRequest,
) -> None:
    rendered = helm.template(chart_with_placeholder, files=files).text
    golden = GOLDEN / f"{request.node.callspec.id}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(rendered)
    assert rendered == golden.read_text(), "review the difference, then run `make golden`"


def test_every_golden_file_belongs_to_a_scenario() -> None:
    expected = {"default.yaml"} | {path.name.replace("-values", "") for path in SCENARIOS}
    assert {path.name for path in GOLDEN.iterdir()} == expected


@pytest.mark.parametrize("version", VERSIONS)
@scenarios
def test_every_object_is_valid_kubernetes_to_the_last_field(
    helm: Helm, chart: Path, files: tuple[Path, ...], version: str
) -> None:
    for rendered in helm.template(chart, files=files).objects:
        kubernetes_validate.validate(rendered, version, strict=True)


@scenarios
def test_every_object_has_the_recommended_labels(
    helm: Helm, chart: Path, files: tuple[Path, ...]
) -> None:
    expected = {
        "app.kubernetes.io/name": "slipway",
        "app.kubernetes.io/instance": "slipway",
        "app.kubernetes.io/component": "operator",
        "app.kubernetes.io/version": "0.1.0",
        "app.kubernetes.io/managed-by": "Helm",
        "app.kubernetes.io/part-of": "slipway",
        "helm.sh/chart": "slipway-0.1.0",
    }
    for rendered in helm.template(chart, files=files).objects:
        labels = rendered["metadata"]["labels"].items()
        assert {k: v for k, v in labels if not k.startswith("rbac.")} == expected


@scenarios
def test_every_selector_selects_the_operators_pods(
    helm: Helm, chart: Path, files: tuple[Path, ...]
) -> None:
    rendering = helm.template(chart, files=files)
    labels = rendering.one("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert rendering.one("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels
    for service in rendering.of_kind("Service"):
        assert service["spec"]["selector"].items() <= labels
    for budget in rendering.of_kind("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels


@scenarios
def test_every_object_says_its_namespace(helm: Helm, chart: Path, files: tuple[Path, ...]) -> None:
    whole_cluster = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    for rendered in helm.template(chart, files=files).objects:
        found = rendered["metadata"].get("namespace")
        if rendered["metadata"]["name"].endswith("-models"):
            assert found in ("team-a", "team-b")
        else:
            assert found == (None if rendered["kind"] in whole_cluster else "slipway-system")


@pytest.mark.parametrize(
    ("release", "values", "expected"),
    [
        pytest.param("slipway", {}, "slipway-operator", id="the release says the chart's name"),
        pytest.param("prod", {}, "prod-slipway-operator", id="the release does not say it"),
        pytest.param("prod", {"nameOverride": "ml"}, "prod-ml-operator", id="another name"),
        pytest.param("prod", {"fullnameOverride": "ml"}, "ml-operator", id="another full name"),
        pytest.param(
            "a" * 53, {}, "a" * 53 + "-operator", id="the longest release ends without a dash"
        ),
    ],
)
def test_objects_are_named_after_release_and_chart(
    helm: Helm, chart: Path, release: str, values: dict[str, object], expected: str
) -> None:
    rendering = helm.template(chart, release=release, values=values)
    assert rendering.one("Deployment")["metadata"]["name"] == expected
    assert rendering.one("ClusterRoleBinding")["roleRef"]["name"] == expected
    assert rendering.one("ClusterRole", expected)


@pytest.mark.parametrize(
    ("image", "registry", "expected"),
    [
        pytest.param({}, "", "slipway-operator:0.1.0", id="the tag is the appVersion"),
        pytest.param({"tag": "2"}, "", "slipway-operator:2", id="a tag"),
        pytest.param(
            {"digest": "sha256:" + "0" * 64},
            "",
            "slipway-operator@sha256:" + "0" * 64,
            id="a digest stands alone",
        ),
        pytest.param(
            {"tag": "2", "digest": "sha256:" + "0" * 64},
            "",
            "slipway-operator:2@sha256:" + "0" * 64,
            id="a tag beside a digest is kept for the reader",
        ),
        pytest.param({}, "m.example", "m.example/slipway-operator:0.1.0", id="a registry"),
        pytest.param({}, "m.example/a/", "m.example/a/slipway-operator:0.1.0", id="with a slash"),
    ],
)
def test_an_image_reference_is_built_from_its_parts(
    helm: Helm, chart: Path, image: dict[str, str], registry: str, expected: str
) -> None:
    values = {"image": image, "runtimeImage": image, "global": {"imageRegistry": registry}}
    rendering = helm.template(chart, values=values)
    assert rendering.container["image"] == expected
    assert rendering.environment["SLIPWAY_OPERATOR_RUNTIME_IMAGE"] == expected.replace(
        "slipway-operator", "slipway-runtime"
    )


def test_without_a_converter_nothing_is_converted(helm: Helm, chart: Path) -> None:
    rendering = helm.template(chart, values={"converterImage": {"repository": ""}})
    assert "SLIPWAY_OPERATOR_CONVERTER_IMAGE" not in rendering.environment


def test_the_environment_is_the_operators_settings(default: Rendering) -> None:
    assert default.environment == {
        "SLIPWAY_OPERATOR_IDENTITY": {"fieldRef": {"fieldPath": "metadata.name"}},
        "SLIPWAY_OPERATOR_LEASE_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "SLIPWAY_OPERATOR_LEASE_NAME": "slipway-operator",
        "SLIPWAY_OPERATOR_LEASE_DURATION_S": "15",
        "SLIPWAY_OPERATOR_LEASE_RENEW_DEADLINE_S": "10",
        "SLIPWAY_OPERATOR_LEASE_RETRY_S": "2",
        "SLIPWAY_OPERATOR_WATCH_NAMESPACES": "",
        "SLIPWAY_OPERATOR_RUNTIME_IMAGE": "slipway-runtime:0.1.0",
        "SLIPWAY_OPERATOR_RUNTIME_IMAGE_PULL_POLICY": "IfNotPresent",
        "SLIPWAY_OPERATOR_CONVERTER_IMAGE": "slipway-converter:0.1.0",
        "SLIPWAY_OPERATOR_WORKERS": "8",
        "SLIPWAY_OPERATOR_API_QPS": "50",
        "SLIPWAY_OPERATOR_API_BURST": "100",
        "SLIPWAY_OPERATOR_RESYNC_S": "600",
        "SLIPWAY_OPERATOR_HEALTH_PORT": "8080",
        "SLIPWAY_OPERATOR_LOG_LEVEL": "INFO",
    }


BOUNDS = [pytest.param({"workers": bound}, id=f"workers {bound}") for bound in (1, 64)] + [
    pytest.param({"api": {"qps": 1, "burst": 1}}, id="the slowest"),
    pytest.param({"api": {"qps": 10_000, "burst": 10_000}}, id="the fastest"),
    pytest.param(
        {"lease": {"durationSeconds": 3, "renewDeadlineSeconds": 2, "retrySeconds": 1}},
        id="the shortest lease",
    ),
    pytest.param(
        {"lease": {"durationSeconds": 300, "renewDeadlineSeconds": 299, "retrySeconds": 60}},
        id="the longest lease",
    ),
    pytest.param({"resyncSeconds": 10}, id="the most frequent comparison"),
    pytest.param({"resyncSeconds": 86_400}, id="the rarest comparison"),
    pytest.param({"runtimeImage": {"pullPolicy": "Never"}}, id="no pulling"),
    pytest.param({"watchNamespaces": ["team-a", "team-b"]}, id="two namespaces"),
    *[pytest.param({"logLevel": level}, id=level) for level in ("DEBUG", "WARNING", "ERROR")],
]


@pytest.mark.parametrize("values", [pytest.param({}, id="default"), *BOUNDS])
def test_the_operator_accepts_every_environment_that_the_chart_can_make(
    helm: Helm, chart: Path, values: dict[str, object]
) -> None:
    environment = {
        name: value if isinstance(value, str) else "from-the-pod"
        for name, value in helm.template(chart, values=values).environment.items()
    }
    assert unknown_names(environment) == []
    settings = Settings.read(environment)
    assert settings.runtime_image == "slipway-runtime:0.1.0"
    assert settings.lease_namespace == "from-the-pod"


def test_the_disruption_budget_needs_a_second_replica(helm: Helm, chart: Path) -> None:
    assert helm.template(chart, values={"replicas": 1}).of_kind("PodDisruptionBudget") == []
    assert len(helm.template(chart, values={"replicas": 2}).of_kind("PodDisruptionBudget")) == 1


def test_a_second_rendering_is_the_same_to_the_byte(
    helm: Helm, chart: Path, default: Rendering
) -> None:
    assert helm.template(chart).text == default.text


class TestCustomResourceDefinition:
    def test_is_the_repositorys_file_with_labels_and_the_keep_annotation(
        self, default: Rendering
    ) -> None:
        (path,) = (REPOSITORY / "crds").glob("*.yaml")
        expected = yaml.safe_load(path.read_text())
        rendered = default.one("CustomResourceDefinition")
        metadata = rendered.pop("metadata")
        assert metadata.pop("labels")["app.kubernetes.io/part-of"] == "slipway"
        assert metadata.pop("annotations") == {
            **expected["metadata"].get("annotations", {}),
            "helm.sh/resource-policy": "keep",
        }
        assert metadata == {
            key: value
            for key, value in expected.pop("metadata").items()
            if key not in {"labels", "annotations"}
        }
        assert rendered == expected

    def test_is_never_read_as_a_template(self, helm: Helm, chart_with_placeholder: Path) -> None:
        rendered = helm.template(chart_with_placeholder).one("CustomResourceDefinition")
        schema = rendered["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert "{{ .Values.replicas }}" in schema["description"]

    def test_can_be_left_to_others(self, helm: Helm, chart: Path) -> None:
        rendering = helm.template(chart, values={"crds": {"install": False}})
        assert rendering.of_kind("CustomResourceDefinition") == []

    def test_can_be_given_up_at_uninstall(self, helm: Helm, chart: Path) -> None:
        rendered = helm.template(chart, values={"crds": {"keep": False}})
        metadata = rendered.one("CustomResourceDefinition")["metadata"]
        assert "helm.sh/resource-policy" not in metadata.get("annotations", {})

    def test_is_missed_loudly_in_a_chart_packed_without_it(
        self, helm: Helm, chart: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(HelmError, match="run `make chart`"):
            helm.template(copy_of_chart(tmp_path, {}))

    def test_is_the_same_in_the_chart_and_in_the_repository(self) -> None:
        packed = {path.name: path.read_text() for path in (CHART / "files/crds").glob("*.yaml")}
        authority = {path.name: path.read_text() for path in (REPOSITORY / "crds").glob("*.yaml")}
        assert packed == authority, "run `make chart`"


class TestNotes:
    @staticmethod
    def notes(helm: Helm, chart: Path, *arguments: str) -> str:
        shown = helm.run(
            "install", "slipway", chart, "--dry-run=client", "--namespace=prod", *arguments
        )
        return shown.split("NOTES:\n")[1]

    def test_say_what_to_apply_next(self, helm: Helm, chart: Path) -> None:
        notes = self.notes(helm, chart)
        assert "kubectl -n prod rollout status deployment/slipway-operator" in notes
        assert "kind: ModelDeployment" in notes

    @pytest.mark.parametrize(
        ("argument", "expected"),
        [
            ("--set=replicas=1", "One replica"),
            ("--set=crds.install=false", "must be applied by other means"),
            ("--set=crds.keep=false", "will delete every ModelDeployment"),
        ],
    )
    def test_warn_of_what_a_value_costs(
        self, helm: Helm, chart: Path, argument: str, expected: str
    ) -> None:
        assert expected not in self.notes(helm, chart)
        assert expected in self.notes(helm, chart, argument)
