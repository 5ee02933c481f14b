"""The real KEDA scales a model from nothing to a pod and back, by what a trigger says.

KEDA runs as a process beside the cluster. Its metrics adapter is left out: between none and one
its operator decides alone, and more than one is the business of the autoscaler that it makes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest
import yaml

from devcluster.addons import keda_crds, keda_program
from devcluster.cluster import Cluster
from tests.cluster.conftest import is_established
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Api, Manifest, eventually, told

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
HOLD_S = 330
"""A promoted revision keeps its pods for five minutes, whatever scales it."""


class Queue:
    """What the trigger reads: how many wait."""

    def __init__(self) -> None:
        self.length = 0
        queue = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({"waiting": queue.length}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Queue:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Queue() as running:
        yield running


@pytest.fixture
def keda(cluster: Cluster, api: Api, tmp_path: Path) -> Iterator[Path]:
    """KEDA's kinds and its operator; tells its log."""
    crds = [yaml.safe_load(text) for text in keda_crds().values()]
    for crd in crds:
        api.apply(crd)
    names = [crd["metadata"]["name"] for crd in crds]
    for name in names:
        eventually(partial(_is_established, api, name), f"{name} is established")
    log = tmp_path / "keda.log"
    with log.open("wb") as output:
        process = _started(cluster, tmp_path, output)
    yield log
    process.terminate()
    process.wait(timeout=20)
    for name in names:
        api.delete("CustomResourceDefinition", None, name)


def _is_established(api: Api, name: str) -> bool:
    return is_established(api.get("CustomResourceDefinition", None, name))


def _started(cluster: Cluster, folder: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    # Its server for the adapter that is not there wants a certificate; any will do.
    pki = cluster.kubeconfig.parent / "pki"
    for source, name in (("ca.crt", "ca.crt"), ("apiserver.crt", "tls.crt"),
                         ("apiserver.key", "tls.key")):  # fmt: skip
        shutil.copyfile(pki / source, folder / name)
    command = [
        str(keda_program()), f"--cert-dir={folder}", "--enable-prometheus-metrics=false",
        "--metrics-service-bind-address=127.0.0.1:0", "--health-probe-bind-address=0",
        "--enable-webhook-patching=false", "--enable-apiservice-patching=false",
    ]  # fmt: skip
    environment = {
        **os.environ, "KUBECONFIG": str(cluster.kubeconfig), "WATCH_NAMESPACE": "",
        "POD_NAMESPACE": "default", "KEDA_CLUSTER_OBJECT_NAMESPACE": "default",
    }  # fmt: skip
    return subprocess.Popen(command, stdout=output, stderr=output, env=environment)


def _deployment(models: Models) -> Manifest:
    name = models.get()["status"]["stable"]["name"]
    found = models.api.get("Deployment", models.namespace, name)
    assert found is not None
    return found


def test_keda_wakes_a_model_and_lets_it_sleep_again(
    models: Models, keda: Path, queue: Queue, start: Callable[..., Operator]
) -> None:
    start().until_ready()
    queue.length = 5
    trigger = {"url": queue.url, "valueLocation": "waiting", "targetValue": "5"}
    models.apply(
        autoscaling={
            "minReplicas": 0,
            "maxReplicas": 1,
            "keda": {
                "triggers": [{"type": "metrics-api", "metadata": trigger}],
                "pollingInterval": "1s",
                "cooldownPeriod": "2s",
            },
        },
    )
    models.until("Ready")
    queue.length = 0

    def state() -> str:
        mdep = models.get()
        return f"{_deployment(models)['spec']} {told(mdep, 'Ready')}\n{keda.read_text()[-3000:]}"

    def pods(number: int) -> bool:
        found = _deployment(models)
        ready = found["status"].get("availableReplicas", 0)
        return {found["spec"]["replicas"], ready} == {number}

    eventually(lambda: pods(0), "none", timeout_s=HOLD_S + 60, describe=state)
    ready = eventually(
        lambda: c if (c := told(models.get(), "Ready"))["reason"] == "ScaledToZero" else None,
        "it is told",
        describe=state,
    )
    assert ready["status"] == "True"
    queue.length = 5
    eventually(lambda: pods(1), "one", timeout_s=60, describe=state)
    models.until("Available")
    owners = {
        e["manager"]
        for e in _deployment(models)["metadata"]["managedFields"]
        if "f:replicas" in e["fieldsV1"].get("f:spec", {})
    }
    assert "slipway-operator" not in owners
    queue.length = 0
    eventually(lambda: pods(0), "none again", timeout_s=60, describe=state)
