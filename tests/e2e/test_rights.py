"""The operator's rights are enough: judged over the whole session, so it runs last."""

from __future__ import annotations

from tests.e2e.audit import Audit
from tests.e2e.installation import Installation


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
