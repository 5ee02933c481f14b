"""Whether the CRD in the cluster is that of this operator; the two are upgraded apart.

An older CRD drops fields that this operator knows, a newer one lets fields through that it does not
(those become `InvalidSpec`). Neither destroys anything, so a warning is all there is to it.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from slipway_operator.api.crd import custom_resource_definition
from slipway_operator.kube.client import Listing
from slipway_operator.kube.errors import ApiError
from slipway_operator.kube.kinds import CUSTOM_RESOURCE_DEFINITION, Kind

log = logging.getLogger(__name__)


class Lister(Protocol):
    """The request this makes."""

    async def list_all(self, kind: Kind, namespace: str | None = None) -> Listing:
        """Read all objects of a kind."""


async def warn_of_another_crd(lister: Lister) -> bool:
    """Compare the schemas; tell whether they are known to differ."""
    try:
        found = (await lister.list_all(CUSTOM_RESOURCE_DEFINITION)).items
    except ApiError as error:
        log.info("cannot read the CRD to compare it", extra={"cause": str(error)})
        return False
    if not found or _schemas(found[0]) == _schemas(custom_resource_definition()):
        return False
    log.warning(
        "the CRD is not that of this operator: fields may be dropped or not understood;"
        " apply crds/ of the operator's version",
        extra={"crd": found[0]["metadata"]["name"]},
    )
    return True


def _schemas(crd: dict[str, Any]) -> dict[str, Any]:
    return {v["name"]: v["schema"] for v in crd["spec"]["versions"]}
