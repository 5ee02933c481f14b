"""What tools of GitOps make of every situation: Flux and Helm by kstatus, Argo CD by our Lua.

The table is that of `rollout.md` B4, a row per recorded status.
"""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any, Final

import cel
import pytest
import yaml
from lupa.lua51 import LuaError

from slipway_operator.plan.action import ACTION, Verb, action_of
from slipway_operator.plan.conditions import ENDED_BY_CAUSE
from tests.argocd import FOLDER, NOW, run
from tests.kstatus import kstatus
from tests.statuses import SITUATIONS, recorded
from tests.unit.docs.pages import blocks
from tests.unit.repository.files import REPOSITORY

GUIDE: Final = REPOSITORY / "docs" / "guides" / "gitops.md"
CONFIGMAP: Final = REPOSITORY / "integrations" / "argocd" / "argocd-cm.yaml"
ACTIONS: Final = ("promote", "approve", "abort", "retry", "pause", "resume")

_STEP = {"abort", "pause", "promote"}
_WAIT = {"abort", "approve", "pause", "promote"}
ROWS: Final[dict[str, tuple[str, str, set[str]]]] = {
    # situation: (kstatus, Argo CD's health, the actions that can be taken)
    "fresh": ("InProgress", "Progressing", {"pause"}),
    "unobserved": ("InProgress", "Progressing", {"pause"}),
    "deleted": ("Terminating", "Healthy", {"pause"}),
    "pending": ("InProgress", "Progressing", {"pause"}),
    "starting": ("InProgress", "Progressing", {"pause"}),
    "first-model-bad": ("Failed", "Degraded", {"pause"}),
    "first-pods-late": ("Failed", "Degraded", {"pause"}),
    "healthy": ("Current", "Healthy", {"pause"}),
    "healthy-with-history": ("Current", "Healthy", {"pause"}),
    "preparing": ("InProgress", "Progressing", {"abort", "pause"}),
    "preflight": ("InProgress", "Progressing", {"abort", "pause"}),
    "shifting": ("InProgress", "Progressing", _STEP),
    "baking": ("InProgress", "Progressing", _STEP),
    "baking-counted": ("InProgress", "Progressing", _STEP),
    "promoting": ("InProgress", "Progressing", {"abort", "pause"}),
    "watching": ("Current", "Healthy", {"abort", "pause"}),
    "paused-by-spec": ("InProgress", "Suspended", {"abort", "promote", "resume"}),
    "paused-for-approval": ("InProgress", "Suspended", _WAIT),
    "paused-without-data": ("InProgress", "Suspended", _WAIT),
    "paused-inconclusive": ("InProgress", "Suspended", _WAIT),
    "aborting": ("InProgress", "Progressing", {"pause"}),
    "aborted-by-user": ("Failed", "Degraded", {"pause", "retry"}),
    "aborted-by-analysis": ("Failed", "Degraded", {"pause", "retry"}),
    "aborted-model-bad": ("Failed", "Degraded", {"pause", "retry"}),
    "aborted-pods-late": ("Failed", "Degraded", {"pause", "retry"}),
    "pinned": ("InProgress", "Suspended", {"pause"}),
    "suspended": ("Current", "Suspended", {"pause"}),
    "no-replicas": ("Current", "Suspended", {"pause"}),
    "pods-missing": ("InProgress", "Degraded", set()),
    "no-pods": ("InProgress", "Degraded", set()),
    "invalid-spec": ("Failed", "Degraded", {"pause"}),
    "name-conflict": ("Failed", "Degraded", {"pause"}),
    "keda-missing": ("Failed", "Degraded", set()),
}

CONDITIONS: Final[dict[str, dict[str, str]]] = {
    # situation: what is True or False; what is left out is False
    "healthy": {"Ready": "True", "Available": "True"},
    "preparing": {"Available": "True", "Reconciling": "True"},
    "baking": {"Available": "True", "Reconciling": "True"},
    "watching": {"Ready": "True", "Available": "True"},
    "pinned": {"Available": "True"},
    "suspended": {"Ready": "True"},
    "no-replicas": {"Ready": "True"},
    "pending": {"Reconciling": "True"},
    "first-model-bad": {"Stalled": "True"},
    "paused-for-approval": {"Available": "True", "Reconciling": "True"},
    "aborted-by-analysis": {"Available": "True", "Stalled": "True"},
    "invalid-spec": {"Available": "True", "Stalled": "True"},
    "no-pods": {"Reconciling": "True"},
}


def test_every_situation_has_a_row() -> None:
    assert set(ROWS) == set(SITUATIONS)


@pytest.mark.parametrize("situation", CONDITIONS)
def test_the_conditions_are_those_of_the_table(situation: str) -> None:
    found = {c["type"]: c["status"] for c in recorded(situation)["status"]["conditions"]}
    summary = {k: found[k] for k in ("Ready", "Available", "Reconciling", "Stalled")}
    assert summary == {**dict.fromkeys(summary, "False"), **CONDITIONS[situation]}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_kstatus(situation: str) -> None:
    assert kstatus(recorded(situation)) == ROWS[situation][0]


def test_an_object_that_nobody_has_looked_at_is_not_taken_for_ready() -> None:
    """Helm reads it right after it was created; the CRD's default is what helps."""
    assert kstatus(recorded("fresh")) == "InProgress"
    assert kstatus({**recorded("fresh"), "status": {}}) == "Current"


@pytest.mark.parametrize("situation", SITUATIONS)
def test_health_in_argo_cd(situation: str) -> None:
    mdep = recorded(situation)
    told = run(FOLDER / "health.lua", mdep)
    assert told["status"] == ROWS[situation][1]
    is_seen = kstatus(mdep) != "InProgress" or situation not in ("fresh", "unobserved")
    expected = mdep["status"].get("message") if is_seen else "Waiting for the operator"
    assert told["message"].startswith(expected)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_actions_that_argo_cd_offers(situation: str) -> None:
    told = run(FOLDER / "actions" / "discovery.lua", recorded(situation))
    assert set(told) == set(ACTIONS)
    assert {name for name, how in told.items() if not how["disabled"]} == ROWS[situation][2]


@pytest.mark.parametrize(
    ("reason", "is_offered"),
    [*((reason, False) for reason in ENDED_BY_CAUSE), ("TrafficUnverified", True)],
)
def test_argo_cd_offers_an_approval_where_it_ends_the_pause(reason: str, is_offered: bool) -> None:
    mdep = recorded("paused-for-approval")
    mdep["status"]["rollout"]["reason"] = reason
    told = run(FOLDER / "actions" / "discovery.lua", mdep)
    assert told["approve"]["disabled"] is not is_offered


@pytest.mark.parametrize(
    ("verb", "situation"),
    [
        pytest.param(Verb.PROMOTE, "baking", id="promote"),
        pytest.param(Verb.APPROVE, "paused-for-approval", id="approve"),
        pytest.param(Verb.ABORT, "watching", id="abort"),
        pytest.param(Verb.RETRY, "aborted-by-user", id="retry"),
    ],
)
def test_an_action_of_argo_cd_is_one_that_the_operator_reads(verb: Verb, situation: str) -> None:
    before = recorded(situation)
    after = run(FOLDER / "actions" / verb / "action.lua", before)
    read = action_of(after)
    assert read is not None
    assert (read.verb, read.target) == (verb, before["status"]["candidate"]["hash"])
    assert read.text.endswith(f"#{NOW}")
    before["metadata"].setdefault("annotations", {})[ACTION] = read.text
    assert after == before, "nothing else is touched"


@pytest.mark.parametrize(("name", "paused"), [("pause", True), ("resume", False)])
def test_pausing_touches_one_field(name: str, paused: bool) -> None:
    before = recorded("baking")
    after = run(FOLDER / "actions" / name / "action.lua", before)
    expected = copy.deepcopy(before)
    expected["spec"]["rollout"]["paused"] = paused
    assert after == expected


def test_an_action_without_any_revision_says_so() -> None:
    with pytest.raises(LuaError, match="has not told of any revision"):
        run(FOLDER / "actions" / "abort" / "action.lua", recorded("fresh"))


def test_a_script_has_no_more_than_argo_cd_gives(tmp_path: Path) -> None:
    script = tmp_path / "x.lua"
    for text in ("return string.upper('a')", "return os.time()", "return ('a'):upper()",
                 "return io.open('/etc/passwd')"):  # fmt: skip
        script.write_text(text)
        with pytest.raises(LuaError):
            run(script, {})


def _written(path: Path, text: str) -> str:
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path.read_text()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_test_data_for_argo_cd_is_what_is_recorded(situation: str) -> None:
    text = yaml.safe_dump(recorded(situation), sort_keys=False, width=100)
    assert _written(FOLDER / "testdata" / f"{situation}.yaml", text) == text


def test_the_health_tests_for_argo_cd_have_every_row() -> None:
    rows = [
        {
            "healthStatus": run(FOLDER / "health.lua", recorded(situation)),
            "inputPath": f"testdata/{situation}.yaml",
        }
        for situation in SITUATIONS
    ]
    text = yaml.safe_dump({"tests": rows}, sort_keys=False, width=100)
    assert _written(FOLDER / "health_test.yaml", text) == text


def test_the_action_tests_for_argo_cd_have_every_row() -> None:
    rows = [
        {
            "inputPath": f"../testdata/{situation}.yaml",
            "result": [
                {"name": name, "disabled": name not in ROWS[situation][2]} for name in ACTIONS
            ],
        }
        for situation in SITUATIONS
    ]
    text = yaml.safe_dump({"discoveryTests": rows}, sort_keys=False, width=100)
    assert _written(FOLDER / "actions" / "action_test.yaml", text) == text


class _Block(str):
    """A text that is written as a block."""


yaml.SafeDumper.add_representer(
    _Block, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
)


def test_the_configmap_for_argo_cd_has_the_scripts() -> None:
    scripts = {name: FOLDER / "actions" / name / "action.lua" for name in ACTIONS}
    actions = {
        "discovery.lua": _Block((FOLDER / "actions" / "discovery.lua").read_text()),
        "definitions": [
            {"name": name, "action.lua": _Block(path.read_text())} for name, path in scripts.items()
        ],
    }
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "argocd-cm", "namespace": "argocd",
            "labels": {"app.kubernetes.io/name": "argocd-cm",
                       "app.kubernetes.io/part-of": "argocd"},
        },
        "data": {
            "resource.customizations.health.slipway.dev_ModelDeployment": _Block(
                (FOLDER / "health.lua").read_text()
            ),
            "resource.customizations.actions.slipway.dev_ModelDeployment": _Block(
                yaml.safe_dump(actions, sort_keys=False, width=200)
            ),
        },
    }  # fmt: skip
    text = "# Merge this into the ConfigMap argocd-cm; written by `make golden`.\n"
    text += yaml.safe_dump(manifest, sort_keys=False, width=200)
    assert _written(CONFIGMAP, text) == text


def test_the_guide_shows_the_health_check() -> None:
    assert (FOLDER / "health.lua").read_text() in _unindented(GUIDE.read_text())


def _unindented(page: str) -> str:
    return re.sub(r"^    ", "", page, flags=re.M)


def _shown(kind: str) -> dict[str, Any]:
    found = [yaml.safe_load(b.text) for b in blocks(GUIDE.read_text()) if b.language == "yaml"]
    (shown,) = (m for m in found if m["kind"] == kind)
    return dict(shown)


FLUX: Final = {
    "healthy": "current",
    "watching": "current",
    "paused-for-approval": "current",
    "pinned": "current",
    "suspended": "current",
    "baking": "inProgress",
    "pending": "inProgress",
    "no-pods": "inProgress",
    "aborted-by-analysis": "failed",
    "first-model-bad": "failed",
    "invalid-spec": "failed",
}


@pytest.mark.parametrize("situation", FLUX)
def test_the_expressions_for_flux_are_true_where_they_ought_to(situation: str) -> None:
    (checks,) = _shown("Kustomization")["spec"]["healthCheckExprs"]
    mdep = recorded(situation)
    told = {name: cel.evaluate(checks[name], mdep) for name in ("inProgress", "failed", "current")}
    first = next(name for name, is_so in told.items() if is_so)
    assert first == FLUX[situation], told
