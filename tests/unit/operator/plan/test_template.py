"""What a user writes as a Job becomes a restricted pod, or is refused by the name of its field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.plan.template import LARGEST_BYTES, Template, template_of

CONTAINER = {"name": "main", "image": "registry.test/evaluate:1", "args": ["--quick"]}


def job(
    pod: dict[str, Any] | None = None, meta: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    inside = {"containers": [CONTAINER], **(pod or {})}
    template = {"metadata": meta or {}, "spec": inside}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template, **spec}}


def read(document: Any) -> Template:
    return template_of(json.dumps(document))


def test_a_plain_job_is_restricted() -> None:
    found = read(job())
    assert found.problem == ""
    assert found.pod["securityContext"] == {
        "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert found.pod["containers"] == [{
        **CONTAINER,
        "securityContext": {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
        },
    }]  # fmt: skip
    assert found.pod["automountServiceAccountToken"] is False
    assert found.pod["restartPolicy"] == "Never"


def test_what_a_pod_may_say_is_kept() -> None:
    volumes = [{"name": "data", "configMap": {"name": "questions"}}]
    pod = {"volumes": volumes, "securityContext": {"runAsUser": 1000}, "nodeSelector": {"a": "b"},
           "serviceAccountName": "judge", "automountServiceAccountToken": True}  # fmt: skip
    found = read(job(pod, {"labels": {"team": "ml"}, "annotations": {"a": "b"}},
                     activeDeadlineSeconds=60))  # fmt: skip
    assert found.problem == ""
    assert found.pod["securityContext"]["runAsUser"] == 1000
    assert (found.pod["volumes"], found.pod["nodeSelector"]) == (volumes, {"a": "b"})
    assert found.pod["automountServiceAccountToken"] is True
    assert (found.labels, found.annotations, found.deadline_s) == ({"team": "ml"}, {"a": "b"}, 60)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, "the Job: expected an object"),
        ([], "the Job: expected an object"),
        ({}, "spec: expected an object"),
        ({"kind": "CronJob", "spec": {}}, "expected apiVersion batch/v1 and kind Job"),
        (job(parallelism=100), "spec.parallelism: expected only"),
        (job(backoffLimit=3), "spec.backoffLimit: expected only"),
        (job(activeDeadlineSeconds="1h"), "spec.activeDeadlineSeconds: expected a whole number"),
        (job(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds: expected a whole number"),
        (job({"hostNetwork": True}), "spec.template.spec.hostNetwork: expected only"),
        (job({"hostPID": True}), "spec.template.spec.hostPID: expected only"),
        (job({"hostUsers": True}), "spec.template.spec.hostUsers: expected only"),
        (job({"nodeName": "n1"}), "spec.template.spec.nodeName: expected only"),
        (job({"restartPolicy": "OnFailure"}), "restartPolicy: expected Never"),
        (job({"volumes": [{"name": "h", "hostPath": {"path": "/"}}]}), "volumes.hostPath"),
        (job({"volumes": "x"}), "volumes: expected a list"),
        (job({"containers": []}), "containers: expected at least one"),
        (job({"containers": [{**CONTAINER, "securityContext": {"privileged": True}}]}),
         "containers.securityContext.privileged"),
        (job({"containers": [{**CONTAINER, "securityContext": {"capabilities": {}}}]}),
         "containers.securityContext.capabilities"),
        (job({"containers": [{**CONTAINER, "lifecycle": {}}]}), "containers.lifecycle"),
        (job({"containers": [{**CONTAINER, "env": [1]}]}), "containers.env: expected a list"),
        (job({"initContainers": [{**CONTAINER, "securityContext": {"runAsUser": 0}}]}),
         "initContainers.securityContext.runAsUser: expected another"),
        (job({"securityContext": {"runAsUser": 0}}), "runAsUser: expected another user"),
        (job({"securityContext": {"sysctls": []}}), "securityContext.sysctls"),
        (job({"ephemeralContainers": []}), "spec.template.spec.ephemeralContainers"),
        (job(meta={"labels": {"slipway.dev/model": "digits"}}), "it is Slipway's own"),
        (job(meta={"labels": {"slipway.dev/revision": "aaaaaaaaaa"}}), "it is Slipway's own"),
        (job(meta={"labels": {"app.kubernetes.io/managed-by": "me"}}), "it is Slipway's own"),
        (job(meta={"labels": {"a": 1}}), "expected texts"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(document: Any, expected: str) -> None:
    assert expected in read(document).problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [1]\nb: *x\n", "aliases of YAML"),
        ("[" * 500, "nested more than 32 deep"),
        ("x: '" + "a" * LARGEST_BYTES + "'", f"more than {LARGEST_BYTES} bytes"),
        ("a: [", "not YAML"),
        ("!!python/object/apply:os.system [id]", "not YAML"),
        ("a: 1\n---\nb: 2\n", "not YAML"),
    ],
)
def test_a_hostile_text_is_a_problem(text: str, expected: str) -> None:
    assert expected in template_of(text).problem


@given(text=st.text(alphabet="spectmla: {}[]&*!-\n'\"1", max_size=60))
def test_whatever_is_written_it_is_a_template_or_a_problem(text: str) -> None:
    found = template_of(text)
    assert bool(found.problem) is not bool(found.pod)
