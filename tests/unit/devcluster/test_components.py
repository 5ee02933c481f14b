"""Command lines and files of the node's processes, derived without a machine."""

from pathlib import Path

import pytest
import yaml

from devcluster import components
from devcluster.components import STOP_ORDER, Blueprint, Component
from devcluster.layout import Layout
from devcluster.network import addresses

CORE = (
    components.etcd,
    components.apiserver,
    components.containerd,
    components.controller_manager,
    components.scheduler,
    components.kubelet,
    components.kube_proxy,
    components.coredns,
)


def blueprint(index: int = 0, name: str = "demo", *, is_cgroup_v2: bool = False) -> Blueprint:
    return Blueprint(
        layout=Layout(name, Path("/cache/clusters") / name),
        addresses=addresses(index),
        binary=Path("/cache/bin/slipway-node"),
        pause_image="localhost/slipway-pause:dev-0",
        is_cgroup_v2=is_cgroup_v2,
    )


def text_of(component: Component) -> str:
    return " ".join([*component.argv, *component.files.values(), component.health_url])


def file_of(component: Component, name: str) -> str:
    return next(text for path, text in component.files.items() if path.name == name)


def test_every_process_has_a_place_in_the_stop_order() -> None:
    plan = blueprint()
    everybody = [make(plan) for make in CORE] + [components.traefik(plan, Path("/traefik"))]
    assert sorted(component.name for component in everybody) == sorted(STOP_ORDER)


def test_pods_end_before_what_holds_them_and_storage_ends_last() -> None:
    assert STOP_ORDER.index("kubelet") < STOP_ORDER.index("containerd")
    assert STOP_ORDER[-2:] == ("kube-apiserver", "etcd")


@pytest.mark.parametrize("make", CORE, ids=lambda make: make.__name__)
def test_two_clusters_share_no_path_and_no_address(make: components.Maker) -> None:
    text = text_of(make(blueprint(index=1, name="other")))
    assert "/clusters/demo" not in text
    assert addresses(0).node_ip + ":" not in text
    assert addresses(0).pod_range not in text


@pytest.mark.parametrize("make", CORE, ids=lambda make: make.__name__)
def test_the_same_input_gives_the_same_component(make: components.Maker) -> None:
    assert make(blueprint()) == make(blueprint())


@pytest.mark.parametrize("make", CORE, ids=lambda make: make.__name__)
def test_files_are_written_into_the_clusters_own_folder(make: components.Maker) -> None:
    plan = blueprint()
    assert all(path.is_relative_to(plan.layout.root) for path in make(plan).files)


def test_the_audit_log_keeps_every_write_of_everybody() -> None:
    *exceptions, last = components.audit_policy()["rules"]
    assert last == {"level": "Metadata"}
    for rule in exceptions:
        assert rule["level"] == "None"
        assert set(rule["verbs"]) <= {"get", "list", "watch"}


def test_the_api_server_writes_the_audit_log_where_the_layout_says() -> None:
    plan = blueprint()
    assert f"--audit-log-path={plan.layout.audit_log}" in components.apiserver(plan).argv


def test_each_kubelet_keeps_to_a_control_group_of_its_own() -> None:
    config = yaml.safe_load(file_of(components.kubelet(blueprint(name="h1")), "kubelet.yaml"))
    assert config["cgroupRoot"] == "/slipway-h1"


@pytest.mark.parametrize(
    ("is_cgroup_v2", "expected"),
    [
        pytest.param(False, False, id="version 1 has to be allowed"),
        pytest.param(True, None, id="version 2 needs no word"),
    ],
)
def test_the_kubelet_is_told_about_old_control_groups(
    is_cgroup_v2: bool, expected: bool | None
) -> None:
    kubelet = components.kubelet(blueprint(is_cgroup_v2=is_cgroup_v2))
    config = yaml.safe_load(file_of(kubelet, "kubelet.yaml"))
    assert config.get("failCgroupV1") is expected


def test_containerd_keeps_to_its_own_folders() -> None:
    plan = blueprint()
    text = file_of(components.containerd(plan), "containerd.toml")
    paths = [word for word in text.replace('"', " ").split() if word.startswith("/")]
    outside = {path for path in paths if not Path(path).is_relative_to(plan.layout.root)}
    assert outside == {"/usr/lib/cni"}


def test_traefik_starts_in_a_folder_without_a_configuration() -> None:
    plan = blueprint()
    assert components.traefik(plan, Path("/traefik")).working_folder == plan.layout.root / "traefik"
