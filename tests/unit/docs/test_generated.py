"""What the code knows, the documents say: fields, reasons, settings, metrics, conditions."""

from __future__ import annotations

import importlib.util
import re

import pytest
from prometheus_client import CollectorRegistry

from slipway_operator.api.v1alpha1 import REVISIONED
from slipway_operator.plan.conditions import (
    CHECKS_MET,
    CHECKS_RUN,
    CREDENTIALS_REQUIRED,
    ORDER,
    REASONS,
    SERVING,
    SETTLED,
    TRAFFIC_SETTLED,
    VERIFIED,
)
from slipway_operator.plan.progress import State
from slipway_operator.telemetry.faults import Fault
from slipway_operator.telemetry.metrics import Metrics
from slipway_runtime.extras import EXIT_MISSING_EXTRA
from slipway_runtime.protocols.wire import WIRE_STATUS
from slipway_runtime.supply.termination import EXIT_TERMINAL, EXIT_TRANSIENT
from tests.unit.docs.pages import PAGES
from tests.unit.repository.files import REPOSITORY

DOCS = REPOSITORY / "docs"
REFERENCE = (DOCS / "crd" / "modeldeployment.md").read_text()
TROUBLESHOOTING = (DOCS / "guides" / "troubleshooting.md").read_text()
OPERATIONS = (DOCS / "guides" / "operations.md").read_text()
ARCHITECTURE = (DOCS / "architecture.md").read_text()
GOOD = {
    SERVING, SETTLED, VERIFIED, TRAFFIC_SETTLED, CHECKS_MET, CHECKS_RUN, CREDENTIALS_REQUIRED,
}  # fmt: skip

_spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
assert _spec is not None
assert _spec.loader is not None
generator = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generator)


def test_every_generated_part_is_in_step() -> None:
    assert generator.main(["--check"]) == 0


def test_another_description_would_be_found() -> None:
    page = generator.begin("x") + "\nold\n" + generator.end("x")
    assert generator.replaced(page, "x", "new") != page
    assert generator.replaced(page, "x", "old") == page


@pytest.mark.parametrize("name", generator.GENERATED, ids=str)
def test_a_page_without_its_markers_is_refused(name: str) -> None:
    part = next(iter(generator.GENERATED[name]))
    with pytest.raises(ValueError, match=f"marker '<!-- {part}: .*': got 0, expected 1"):
        generator.replaced("# A page", part, "text")


@pytest.mark.parametrize("condition", ORDER)
def test_every_condition_is_described(condition: str) -> None:
    assert re.search(rf"^\| `{condition}` \|", REFERENCE, re.M)


@pytest.mark.parametrize("reason", sorted(set(REASONS) - GOOD))
def test_every_reason_for_trouble_is_in_the_guide_to_it(reason: str) -> None:
    told_elsewhere = {"Suspended"}  # somebody wanted it so
    assert reason in told_elsewhere or f"`{reason}`" in TROUBLESHOOTING


def test_every_metric_of_the_operator_is_described() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    ours = {m.name + ("_total" if m.type == "counter" else "") for m in registry.collect()}
    described = set(re.findall(r"^\| `(slipway_\w+)` \|", OPERATIONS, re.M))
    assert described == {name for name in ours if name.startswith("slipway_")}


@pytest.mark.parametrize("fault", Fault)
def test_every_reason_that_errors_are_counted_by_is_described(fault: Fault) -> None:
    (row,) = re.findall(r"^\| `slipway_reconcile_errors_total` \|.*$", OPERATIONS, re.M)
    assert f"`{fault}`" in row


@pytest.mark.parametrize("state", State)
def test_every_state_of_a_rollout_is_described(state: State) -> None:
    assert re.search(rf"^\| `{state}` \|", ARCHITECTURE, re.M)


@pytest.mark.parametrize("code", [0, 1, 2, EXIT_MISSING_EXTRA, EXIT_TERMINAL, EXIT_TRANSIENT, 143])
def test_every_exit_code_is_described(code: int) -> None:
    assert re.search(rf"^\| {code} \|", ARCHITECTURE, re.M)


@pytest.mark.parametrize("status", sorted({status for status, _ in WIRE_STATUS.values()}))
def test_every_status_of_a_failed_request_is_in_the_guide(status: int) -> None:
    assert re.search(rf"^\| {status}\b", TROUBLESHOOTING, re.M)


def test_every_code_that_a_query_counts_is_answered() -> None:
    queries = [
        line
        for page in PAGES
        for line in page.read_text().splitlines()
        if "slipway_requests_total{" in line
    ]
    counted = {int(code) for line in queries for code in re.findall(r'code="(\d+)"', line)}
    assert counted
    assert counted <= {200, *(code for code, _ in WIRE_STATUS.values())}


@pytest.mark.parametrize("page", ["crd/modeldeployment.md", "guides/rollouts.md"])
def test_every_block_of_a_revision_is_named(page: str) -> None:
    *first, last = (f"`spec.{block}`" for block in REVISIONED)
    assert re.search(f"{', '.join(first)} (and|or) {last}", (DOCS / page).read_text())
