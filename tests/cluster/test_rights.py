"""With the chart's rights for one namespace, and none in the cluster, everything still works."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import yaml

from devcluster.addons import helm_program
from devcluster.audit import AuditLog
from devcluster.cluster import Cluster
from tests.chart.rendering import CHART, NAMESPACE, Helm
from tests.cluster.kubelet import SELECTOR, Ended, Script
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Api, Manifest, eventually

SECOND: Final = "https://models.example/2.onnx"
_RIGHTS: Final = ("Role", "RoleBinding", "ServiceAccount")


def test_roles_in_the_namespace_are_enough(
    models: Models,
    script: Script,
    start: Callable[..., Operator],
    cluster: Cluster,
    tmp_path: Path,
) -> None:
    user = _install(models, tmp_path)
    mark = cluster.audit.mark()
    operator = start(_kubeconfig(models.api, cluster, user, tmp_path)).until_ready()
    models.apply(replicas=2)
    first = models.until("Ready")["status"]["stable"]["name"]
    _judge_by_a_job(models, script)
    models.api.delete("Service", models.namespace, first)
    eventually(lambda: models.child("Service", first), "it is back")
    eventually(lambda: models.api.find("Event", models.namespace), "there are Events")
    models.api.delete("ModelDeployment", models.namespace, "m")
    eventually(lambda: not models.api.children(models.namespace), "all is gone", timeout_s=30)
    assert operator.end() == 0
    asked = list(_asked(cluster.audit, mark, user))
    assert len(asked) > 30, "it was this account that did all that"
    assert [a for a in asked if a[1] == 403] == []


def _judge_by_a_job(models: Models, script: Script) -> None:
    """Roll a second revision out, with a Job as the judge."""
    pod = {"nodeSelector": SELECTOR, "containers": [{"name": "main", "image": "judge"}]}
    text = json.dumps({"spec": {"template": {"spec": pod}}})
    metadata = {"name": "judge", "namespace": models.namespace}
    models.api.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"job": text}}
    )
    script.check = Ended(0)
    check = {"name": "j", "type": "Job", "configMap": {"name": "judge", "key": "job"}}
    rollout = {
        "steps": [{"weight": 50, "hold": "1s"}], "watch": "0s", "traffic": {"settle": "0s"},
        "analysis": {"checks": [check]},
    }  # fmt: skip
    models.apply(replicas=1, uri=SECOND, rollout=rollout)
    eventually(
        lambda: models.get()["status"]["stable"]["revision"] == 2, "the Job lets it pass",
        timeout_s=60, describe=lambda: str(models.get()["status"]),
    )  # fmt: skip
    models.until("Ready")


def _install(models: Models, folder: Path) -> str:
    """Apply what the chart renders of rights, as if it were installed here; tell the user."""
    helm = Helm(helm_program(), folder)
    rendering = helm.template(CHART, values={"watchNamespaces": [models.namespace]})
    rights = [o for o in rendering.objects if o["kind"] in _RIGHTS]
    cluster_wide = [o for o in rendering.objects if o["kind"].startswith("ClusterRole")]
    assert cluster_wide == []
    for manifest in rights:
        here = json.loads(json.dumps(manifest).replace(NAMESPACE, models.namespace))
        models.api.apply(here)
    return "slipway-operator"


def _kubeconfig(api: Api, cluster: Cluster, account: str, folder: Path) -> Path:
    """A kubeconfig with a token of the account and nothing else."""
    namespace = eventually(
        lambda: next(
            (a["metadata"]["namespace"] for a in api.find("ServiceAccount")
             if a["metadata"]["name"] == account), None,
        ),
        "the account exists",
    )  # fmt: skip
    path = api.path("ServiceAccount", namespace, account) + "/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = api.send("POST", path, json=body)["status"]["token"]
    config: Manifest = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    user = f"system:serviceaccount:{namespace}:{account}"
    # The API server learns of Roles as everybody does: by a watch.
    eventually(lambda: _may_lead(api, namespace, user), "the account has its rights")
    written = folder / "kubeconfig"
    written.write_text(yaml.safe_dump(config))
    return written


def _may_lead(api: Api, namespace: str, user: str) -> bool:
    asked = {
        "namespace": namespace, "verb": "update", "group": "coordination.k8s.io",
        "resource": "leases", "name": "slipway-operator",
    }  # fmt: skip
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": asked},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    answer: Manifest = api.send("POST", path, json=review)
    return bool(answer["status"]["allowed"])


def _asked(log: AuditLog, mark: datetime, account: str) -> list[tuple[str, int]]:
    """What the account asked, and the status of the answer."""
    return [
        (e["requestURI"], (e.get("responseStatus") or {}).get("code", 0))
        for e in log.entries(mark, naming=(account,))
        if e["user"]["username"].endswith(f":{account}")
    ]
