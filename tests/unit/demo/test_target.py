"""Which cluster the demonstration takes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from demo.target import DemoFailed, Target, choose

OWN = "/cache/clusters/demo/kubeconfig"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, Target(None, None), id="the project's own"),
        pytest.param({"KUBECONFIG": OWN}, Target(None, None), id="its own kubeconfig is no other"),
        pytest.param(
            {"KUBECONFIG": "/k", "IMAGE_REGISTRY": "r:5000"},
            Target("r:5000", "/k"),
            id="the user's",
        ),
    ],
)
def test_the_two_variables_choose(environment: Mapping[str, str], expected: Target) -> None:
    assert choose({"SLIPWAY_CACHE": "/cache", **environment}) == expected


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        pytest.param({"KUBECONFIG": "/k"}, "IMAGE_REGISTRY is not", id="no registry"),
        pytest.param({"IMAGE_REGISTRY": "r"}, "KUBECONFIG is not", id="no cluster"),
    ],
)
def test_one_of_them_alone_is_refused_by_name(environment: Mapping[str, str], missing: str) -> None:
    with pytest.raises(DemoFailed, match=missing):
        choose({"SLIPWAY_CACHE": "/cache", **environment})
