"""Names and paths of clusters: what cannot work is refused before anything is made."""

from pathlib import Path

import pytest

from devcluster.cache import cache_root
from devcluster.errors import DevclusterError
from devcluster.layout import layout


@pytest.mark.parametrize("name", ["demo", "h1", "a", "tests-of-the-operator"[:20]])
def test_a_short_dns_label_names_a_cluster(name: str) -> None:
    assert layout(name).node == f"slipway-{name}"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("../etc", id="a path"),
        pytest.param("Demo", id="a capital"),
        pytest.param("demo-", id="a hyphen at the end"),
        pytest.param("1st", id="a digit in front"),
        pytest.param("a" * 21, id="too long"),
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(DevclusterError, match="cluster name"):
        layout(name)


def test_a_cache_too_deep_for_a_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_CACHE", f"/{'deep' * 25}")
    with pytest.raises(DevclusterError, match="set SLIPWAY_CACHE to a shorter folder"):
        layout("demo")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({"SLIPWAY_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a"), id="its own"),
        pytest.param({"XDG_CACHE_HOME": "/b"}, Path("/b/slipway"), id="the desktop's"),
        pytest.param({}, Path.home() / ".cache/slipway", id="the usual"),
        pytest.param({"SLIPWAY_CACHE": ""}, Path.home() / ".cache/slipway", id="empty is unset"),
    ],
)
def test_cache_root(environment: dict[str, str], expected: Path) -> None:
    assert cache_root(environment) == expected
