"""Another version's CRD is noticed at the start, and nothing more."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from slipway_operator.api.crd import custom_resource_definition
from slipway_operator.engine.compatibility import warn_of_another_crd
from slipway_operator.kube.client import Listing
from slipway_operator.kube.errors import ApiError, Denied
from slipway_operator.kube.kinds import Kind


class Lister:
    """Answers with a CRD, or refuses."""

    def __init__(self, *crds: dict[str, Any], error: ApiError | None = None) -> None:
        self.crds, self.error = list(crds), error

    async def list_all(self, kind: Kind, namespace: str | None = None) -> Listing:
        if self.error:
            raise self.error
        return Listing(self.crds, "1")


def _older() -> dict[str, Any]:
    crd = copy.deepcopy(custom_resource_definition())
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return crd


async def test_a34_the_same_schema_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    same = copy.deepcopy(custom_resource_definition())
    same["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
    assert not await warn_of_another_crd(Lister(same))
    assert not caplog.records


async def test_a34_another_schema_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert await warn_of_another_crd(Lister(_older()))
    assert "apply crds/" in caplog.text


@pytest.mark.parametrize(
    "lister",
    [
        pytest.param(Lister(), id="A34 no CRD"),
        pytest.param(Lister(error=Denied(403, "Forbidden", "no")), id="A34 no right"),
    ],
)
async def test_what_cannot_be_compared_is_passed_over(lister: Lister) -> None:
    assert not await warn_of_another_crd(lister)
