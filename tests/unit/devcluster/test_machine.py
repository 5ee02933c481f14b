"""Reading the machine: mounts, control groups, packages, shims, certificates, DNS answers."""

import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from devcluster.cgroups import Hierarchy, parse_hierarchies, with_controllers
from devcluster.host import is_shim_of, mounts_below, snapshotter_for
from devcluster.kube import condition_is
from devcluster.packages import missing_from
from devcluster.pki import extensions, identities
from devcluster.progress import tail, wait_until
from devcluster.smoke import answer_count, query

V1 = "24 23 0:20 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"
HYBRID = "25 23 0:21 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"
V2 = "26 23 0:22 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([V1], [Hierarchy(Path("/sys/fs/cgroup/cpu"), False)], id="version 1"),
        pytest.param([V2], [Hierarchy(Path("/sys/fs/cgroup"), True)], id="version 2"),
        pytest.param(
            [V1, HYBRID], [Hierarchy(Path("/sys/fs/cgroup/cpu"), False)], id="hybrid is version 1"
        ),
    ],
)
def test_hierarchies_that_govern_pods(lines: list[str], expected: list[Hierarchy]) -> None:
    assert with_controllers(parse_hierarchies("\n".join(lines))) == expected


def test_only_mounts_below_the_folder_are_unmounted_the_last_first() -> None:
    mountinfo = "\n".join(
        f"1 1 0:1 / {point} rw - tmpfs tmpfs rw"
        for point in ("/c/demo", "/c/demo/a", "/c/demo/a/b\\040c", "/c/demo2", "/other")
    )
    assert mounts_below(Path("/c/demo"), mountinfo) == ["/c/demo/a/b c", "/c/demo/a", "/c/demo"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["/usr/bin/containerd-shim-runc-v2", "-address", "/a"], True, id="ours"),
        pytest.param(["containerd-shim-runc-v2", "-address", "/b"], False, id="another's"),
        pytest.param(["containerd-shim-runc-v2", "-address"], False, id="cut off"),
        pytest.param(["grep", "-address", "/a"], False, id="no shim"),
        pytest.param([], False, id="a kernel thread"),
    ],
)
def test_is_shim_of(words: list[str], expected: bool) -> None:
    assert is_shim_of(words, Path("/a")) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("ext2/ext3", "overlayfs", id="a disk"),
        pytest.param("overlayfs", "native", id="a container's root"),
    ],
)
def test_snapshotter_for(kind: str, expected: str) -> None:
    assert snapshotter_for(kind) == expected


def test_a_package_that_was_removed_but_kept_its_settings_is_missing() -> None:
    answer = "runc installed\nbuildah config-files\nopenssl installed\n"
    assert missing_from(answer, ["runc", "buildah", "skopeo"]) == ["buildah", "skopeo"]


def test_the_api_servers_certificate_holds_what_pods_and_people_dial() -> None:
    server = next(
        one for one in identities("slipway-demo", "198.18.0.2") if one.file == "apiserver"
    )
    text = extensions(server)
    for name in ("IP:198.18.0.2", "IP:198.19.0.1", "DNS:kubernetes.default.svc"):
        assert name in text


def test_a_pure_client_cannot_pose_as_a_server() -> None:
    for identity in identities("slipway-demo", "198.18.0.2"):
        assert ("serverAuth" in extensions(identity)) is bool(identity.server_names)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        pytest.param(
            {"status": "True", "lastHeartbeatTime": "2026-01-01T00:00:05Z"}, True, id="yes"
        ),
        pytest.param(
            {"status": "True", "lastHeartbeatTime": "2026-01-01T00:00:04Z"}, False, id="old"
        ),
        pytest.param(
            {"status": "Unknown", "lastHeartbeatTime": "2026-01-01T00:00:09Z"}, False, id="no"
        ),
        pytest.param({"status": "True"}, False, id="of no time"),
    ],
)
def test_a_condition_counts_from_the_moment_asked_for(
    condition: dict[str, Any], expected: bool
) -> None:
    node = {"status": {"conditions": [{"type": "Ready"} | condition]}}
    since = datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert condition_is(node, "Ready", since=since) is expected


def test_what_is_not_there_has_no_condition() -> None:
    assert not condition_is(None, "Ready")


def test_a_dns_question_is_spelt_in_labels() -> None:
    assert query("a.bc").endswith(b"\x01a\x02bc\x00\x00\x01\x00\x01")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [pytest.param(0x8180, 2, id="an answer"), pytest.param(0x8183, 0, id="no such name")],
)
def test_answer_count(flags: int, expected: int) -> None:
    assert answer_count(struct.pack(">HHHHHH", 1, flags, 1, 2, 0, 0)) == expected


def test_a_wait_in_vain_names_what_and_where_to_read(tmp_path: Path) -> None:
    log = tmp_path / "etcd.log"
    log.write_text("first\nlast words\n")
    with pytest.raises(Exception, match=r"etcd to start: waited 0 s in vain(.|\n)*last words"):
        wait_until(lambda: False, "etcd to start", timeout_s=0, log=log, poll_s=0.01)


def test_the_tail_of_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log", 5) == []
