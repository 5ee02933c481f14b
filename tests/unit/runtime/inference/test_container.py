"""CPU and memory limits, as cgroups of both versions tell them."""

import subprocess
import sys
from pathlib import Path

import pytest

from slipway_runtime.inference.container import auto_threads, cpu_quota, memory_limit_bytes


def machine(root: Path, membership: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(membership)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        pytest.param(
            "0::/\n", {"cpu.max": "150000 100000\n"}, 1.5, id="v2, a container's own root"
        ),
        pytest.param(
            "0::/a/b\n",
            {"a__cpu.max": "50000 100000", "a__b__cpu.max": "max 100000"},
            0.5,
            id="v2, the limit is the parent's",
        ),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n"}, None, id="v2, no limit"),
        pytest.param(
            "0::/host/path/not/mounted\n",
            {"cpu.max": "400000 100000"},
            4.0,
            id="v2, the host's path",
        ),
        pytest.param(
            "3:cpu,cpuacct:/pod\n",
            {"cpu__pod__cpu.cfs_quota_us": "200000", "cpu__pod__cpu.cfs_period_us": "100000"},
            2.0,
            id="v1",
        ),
        pytest.param(
            "3:cpu,cpuacct:/\n",
            {"cpu__cpu.cfs_quota_us": "-1", "cpu__cpu.cfs_period_us": "100000"},
            None,
            id="v1, no limit",
        ),
        pytest.param("0::/../../x\n", {"cpu.max": "100000 100000"}, 1.0, id="a path that climbs"),
        pytest.param("junk", {}, None, id="nothing to read"),
    ],
)
def test_the_quota_is_found(
    tmp_path: Path, membership: str, files: dict[str, str], expected: float | None
) -> None:
    assert cpu_quota(machine(tmp_path, membership, **files)) == expected


@pytest.mark.parametrize(
    ("quota", "affinity", "expected"),
    [
        pytest.param("50000 100000", 8, 1, id="half a CPU is one thread"),
        pytest.param("250000 100000", 8, 2, id="a part of a CPU is no thread"),
        pytest.param("800000 100000", 2, 2, id="affinity limits too"),
        pytest.param("max 100000", 3, 3, id="without a quota all CPUs that we may use"),
    ],
)
def test_threads_follow_quota_and_affinity(
    tmp_path: Path, quota: str, affinity: int, expected: int
) -> None:
    root = machine(tmp_path, "0::/\n", **{"cpu.max": quota})
    assert auto_threads(root, affinity) == expected


def test_a_machine_without_cgroups_has_its_cpus(tmp_path: Path) -> None:
    assert auto_threads(tmp_path) >= 1


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        pytest.param("0::/\n", {"memory.max": "536870912\n"}, 2**29, id="v2"),
        pytest.param(
            "0::/a\n", {"memory.max": "100", "a__memory.max": "max"}, 100, id="v2, the parent's"
        ),
        pytest.param("0::/\n", {"memory.max": "max"}, None, id="v2, no limit"),
        pytest.param(
            "9:memory:/pod\n", {"memory__pod__memory.limit_in_bytes": "300"}, 300, id="v1"
        ),
        pytest.param(
            "9:memory:/\n",
            {"memory__memory.limit_in_bytes": "9223372036854771712"},
            None,
            id="v1, no limit",
        ),
    ],
)
def test_the_memory_limit_is_found(
    tmp_path: Path, membership: str, files: dict[str, str], expected: int | None
) -> None:
    assert memory_limit_bytes(machine(tmp_path, membership, **files)) == expected


def test_what_can_never_be_held_is_refused_and_not_killed(tmp_path: Path) -> None:
    program = (
        "import numpy, slipway_runtime.inference.container as c; c.cap_memory()\n"
        "try: numpy.ones(2**42, numpy.uint8)\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "refused\n", done.stderr
