"""What Helm does to the models: nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.e2e.audit import Audit
from tests.e2e.conftest import Place
from tests.e2e.files import multiplier, request
from tests.e2e.installation import SYSTEM, Installation
from tests.e2e.models import Models
from tests.kubeapi import is_true

_CRD = "modeldeployments.slipway.dev"
_ROW = np.array([[1.0, 2.0]], dtype=np.float32)


@pytest.fixture(scope="module")
def models(place: Place) -> Iterator[Models]:
    """One served model."""
    with place() as made:
        made.serve(multiplier(2))
        yield made


def test_an_upgrade_with_the_same_values_restarts_nothing(
    models: Models, installation: Installation, audit: Audit
) -> None:
    installation.until_settled()
    versions, mark = models.versions(), audit.mark()
    operators = {p["metadata"]["uid"] for p in installation.pods()}
    generation = installation.deployment()["metadata"]["generation"]
    installation.upgrade()
    assert installation.deployment()["metadata"]["generation"] == generation
    assert {p["metadata"]["uid"] for p in installation.pods()} == operators
    assert audit.writes(mark, models.namespace) == []
    assert models.versions() == versions


def test_models_outlive_an_uninstallation_and_are_adopted_unchanged(
    models: Models, installation: Installation, audit: Audit
) -> None:
    installation.until_settled()
    pods = {p["metadata"]["uid"] for p in models.pods()}
    versions, mark = models.versions(), audit.mark()
    try:
        with audit.without_rights():  # they go before the pods do
            installation.uninstall()
        crd = models.api.get("CustomResourceDefinition", None, _CRD)
        assert crd is not None
        assert "deletionTimestamp" not in crd["metadata"]
        assert models.infer(request(_ROW)).is_success
    finally:
        installation.upgrade()
    installation.until_settled()
    written = audit.writes(mark, SYSTEM, models.namespace)
    assert {w.partition(" ")[2] for w in written} == {"leases/slipway-operator"}
    assert models.versions() == versions
    assert {p["metadata"]["uid"] for p in models.pods()} == pods
    assert is_true(models.get(), "Ready")
