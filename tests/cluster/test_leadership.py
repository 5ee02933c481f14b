"""Two operators, one Lease: only one acts, and the other takes over."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.faultproxy import WRITES, Fault, FaultProxy, Hang
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import eventually

pytestmark = pytest.mark.usefixtures("script")
_WRITES = "slipway_api_requests_total"


def _pair(start: Callable[..., Operator]) -> tuple[Operator, Operator]:
    leader = start().until_ready()
    eventually(lambda: leader.is_leading, "the first leads")
    return leader, start().until_ready()


def test_only_the_leader_writes(models: Models, start: Callable[..., Operator]) -> None:
    leader, standby = _pair(start)
    models.apply()
    models.until("Ready")
    assert (
        leader.metric('slipway_api_requests_total{code="200",kind="Deployment",verb="PATCH"}') >= 0
    )
    assert not standby.is_leading
    assert standby.metric("slipway_reconcile_total") == 0
    assert standby.metric("slipway_cached_objects") > 0, "its caches are warm"


def test_the_standby_takes_over_after_a_kill(
    models: Models, start: Callable[..., Operator]
) -> None:
    leader, standby = _pair(start)
    models.apply()
    models.until("Ready")
    leader.kill()
    models.apply(replicas=2)
    models.until("Ready", timeout_s=20)
    assert standby.is_leading


def test_a_leader_that_ends_hands_over_at_once(start: Callable[..., Operator]) -> None:
    leader, standby = _pair(start)
    assert leader.end() == 0
    eventually(lambda: standby.is_leading, "the standby leads", timeout_s=3)


def test_a50_a_frozen_leader_does_not_act_when_it_wakes(
    models: Models, start: Callable[..., Operator]
) -> None:
    leader, standby = _pair(start)
    models.apply()
    models.until("Ready")
    before = leader.metric(_WRITES)
    leader.process.send_signal(signal.SIGSTOP)
    eventually(lambda: standby.is_leading, "the standby leads", timeout_s=15)
    models.apply(replicas=2)
    models.until("Ready", timeout_s=20)
    leader.process.send_signal(signal.SIGCONT)
    eventually(lambda: leader.answer("/readyz") == 200, "the old leader is awake")
    models.apply(replicas=3)
    models.until("Ready")
    eventually(lambda: not leader.is_leading, "the old leader knows")
    assert standby.is_leading
    assert leader.metric("slipway_reconcile_total") >= 0
    assert before > 0


def test_a45_a_leader_whose_api_hangs_stops_before_the_other_begins(
    models: Models, kubeconfig: Path, start: Callable[..., Operator]
) -> None:
    with FaultProxy(kubeconfig) as proxy:
        leader = start(proxy.kubeconfig).until_ready()
        eventually(lambda: leader.is_leading, "the first leads")
        standby = start().until_ready()
        proxy.inject(Fault(Hang(), duration_s=20))
        eventually(lambda: standby.is_leading, "the standby leads", timeout_s=15)
        assert not leader.is_leading
        mark = proxy.mark()
        models.apply()
        models.until("Ready", timeout_s=20)
        late = [r for r in proxy.requests(verbs=WRITES, after=mark) if "/leases" not in r.path]
        assert late == []
        leader.kill()
