"""Who may ask, on real pods: keys from a Secret that the operator never reads."""

from __future__ import annotations

import base64
from typing import Any, Final

import yaml

from tests.e2e.files import Digits, request
from tests.e2e.models import READY_S, Models
from tests.kubeapi import Manifest, condition, eventually

FIRST: Final = "first-key-of-this-test"
SECOND: Final = "second-key-of-this-test"
KEYS: Final = {"authentication": {"type": "APIKeys", "secretName": "keys"}}
_SYNCED_S: Final = 150.0
"""A kubelet looks at a mounted Secret about once a minute."""


def test_b68_keys_come_go_and_change_without_a_rollout(models: Models, digits: Digits) -> None:
    body = request(digits.held_out.pixels[:1], "X")
    mdep = models.serve(digits.first, replicas=2)
    revision = mdep["status"]["stable"]["hash"]
    assert models.infer(body).status_code == 200

    models.apply(uri="configmap://m/model.onnx", replicas=2, security=KEYS)
    waits = eventually(
        lambda: told if "Secret 'keys' does not exist" in (told := _told(models)) else None,
        "the missing Secret is named",
        timeout_s=READY_S,
        describe=lambda: _status(models),
    )
    assert waits.startswith("AuthenticationPending: ")
    assert condition(models.get(), "Available") is not None
    assert models.infer(body).status_code == 200, "the pods of before go on, and the status says so"

    _secret(models, alice=FIRST)
    eventually(
        lambda: _told(models).startswith("CredentialsRequired"),
        "every pod asks for keys",
        timeout_s=_SYNCED_S,
        describe=lambda: _status(models),
    )
    mdep = models.until("Ready")
    assert (mdep["status"]["stable"]["hash"], mdep["status"]["stable"]["revision"]) == (revision, 1)
    refusal = models.infer(body)
    assert refusal.status_code == 401
    assert refusal.headers["www-authenticate"] == 'Bearer realm="m"'
    assert _infer(models, body, FIRST) == 200

    before = {pod["metadata"]["name"] for pod in _staying(models)}
    _secret(models, bob=SECOND)
    # A kubelet looks at volumes once a minute, and when something about the pod changes.
    for name in sorted(before):
        models.kubectl("annotate", "pod", name, "test/nudged=true")
    eventually(
        lambda: {_infer(models, body, SECOND) for _ in range(8)} == {200},
        "the new key is known to every pod",
        timeout_s=_SYNCED_S,
    )
    eventually(
        lambda: {_infer(models, body, FIRST) for _ in range(8)} == {401},
        "the old key is forgotten by every pod",
        timeout_s=_SYNCED_S,
    )
    pods = _staying(models)
    assert {pod["metadata"]["name"] for pod in pods} == before
    assert [_restarts(pod) for pod in pods] == [0, 0]

    nobody = {"authentication": {"type": "None"}}
    models.apply(uri="configmap://m/model.onnx", replicas=2, security=nobody)
    eventually(
        lambda: models.infer(body).status_code == 200 and not _told(models),
        "nothing is asked for any more",
        timeout_s=READY_S,
        describe=lambda: _status(models),
    )
    assert models.until("Ready")["status"]["stable"]["hash"] == revision


def _staying(models: Models) -> list[Manifest]:
    """The pods that are not on their way out: one may take its time to drain."""
    return [p for p in models.pods() if not p["metadata"].get("deletionTimestamp")]


def _secret(models: Models, **keys: str) -> None:
    """Write the Secret whole: a key that is not named is gone."""
    data = {name: base64.b64encode(key.encode()).decode() for name, key in keys.items()}
    metadata = {"name": "keys", "namespace": models.namespace}
    models.api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})


def _infer(models: Models, body: Manifest, key: str) -> int:
    """Ask through the API server's proxy, which keeps Authorization for itself."""
    service = models.api.path("Service", models.namespace, "m:http")
    path = f"{service}/proxy/v2/models/m/infer"
    return models.api.http.post(path, json=body, headers={"x-api-key": key}).status_code


def _told(models: Models) -> str:
    found: Any = condition(models.get(), "AuthenticationEnforced")
    return f"{found['reason']}: {found['message']}" if found else ""


def _status(models: Models) -> str:
    return yaml.safe_dump(models.get().get("status"))


def _restarts(pod: Manifest) -> int:
    return sum(int(s.get("restartCount", 0)) for s in pod["status"]["containerStatuses"])
