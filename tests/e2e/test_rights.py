"""The operator's rights are enough and no more: judged over the whole session, so it runs last."""

from __future__ import annotations

from typing import Final

from tests.e2e.audit import Audit
from tests.e2e.installation import Installation
from tests.kubeapi import Manifest


def test_nothing_was_forbidden_to_the_operator(installation: Installation, audit: Audit) -> None:
    installation.until_settled()
    asked = audit.of_session()
    forbidden = {
        f"{e['verb']} {e['requestURI']}"
        for e in asked
        if e["annotations"].get("authorization.k8s.io/decision") == "forbid"
    }
    assert len(asked) > 10
    assert forbidden == set()


_CHILDREN: Final = {
    ("", "configmaps"), ("", "serviceaccounts"), ("", "services"),
    ("apps", "controllerrevisions"), ("apps", "deployments"), ("batch", "jobs"),
    ("policy", "poddisruptionbudgets"), ("autoscaling", "horizontalpodautoscalers"),
}  # fmt: skip
_GATEWAY_API: Final = "gateway.networking.k8s.io"
_NOT_INSTALLED: Final = {
    ("keda.sh", "scaledobjects"), ("monitoring.coreos.com", "podmonitors"),
    *((_GATEWAY_API, kind) for kind in ("httproutes", "grpcroutes", "gateways", "gatewayclasses")),
}  # fmt: skip
"""Their rights are used in the cluster tests, which make the kinds."""


def is_reasoned(group: str, resource: str, verb: str) -> bool:
    """Whether a right may stay unused in this session, and why."""
    if (group, resource, verb) == ("slipway.dev", "modeldeployments/finalizers", "update"):
        return True  # asked for by an admission plugin, written by nobody
    if (group, resource) in _NOT_INSTALLED:
        return True
    if (group, resource) in _CHILDREN:
        # An apply that creates is a `patch` in the log, and needs `create` as well. What bears a
        # name already is read. Deleted is what a spec no longer asks for, and the oldest revision.
        return verb in ("create", "get", "delete") or resource == "horizontalpodautoscalers"
    return (resource, verb) == ("leases", "create")  # where the release found none


def test_no_right_is_granted_for_nothing(installation: Installation, audit: Audit) -> None:
    used = {_right(e["objectRef"], e["verb"]) for e in audit.of_session() if e.get("objectRef")}
    idle = installation.rights() - used
    assert sorted(right for right in idle if not is_reasoned(*right)) == []


def _right(ref: Manifest, verb: str) -> tuple[str, str, str]:
    resource = "/".join(filter(None, (ref["resource"], ref.get("subresource"))))
    return ref.get("apiGroup", ""), resource, verb
