"""Checks that somebody else answers, on a real API server: a Prometheus, a Job."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest

from devcluster.cluster import Cluster
from tests.cluster.counters import PORT
from tests.cluster.gateways import addresses
from tests.cluster.kubelet import SELECTOR, Ended, Ready, Script, Starting, Supplied
from tests.cluster.models import Models
from tests.kubeapi import Manifest, eventually, told

SECOND: Final = "https://models.example/2.onnx"
OTHER: Final = "sha256:" + "cd" * 32
_LONG: Final = pytest.mark.long
"""Of the kinds of nonsense, two are enough for each change; `make test-faults` tries them all."""
ROLLOUT: Final = {
    "steps": [{"weight": 50, "hold": "2s"}],
    "watch": "0s",
    "scaleDownDelay": "1s",
    "traffic": {"settle": "1s"},
}


class Prometheus:
    """Answers queries with what the test says; pods without sense do the same."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.body = b""
        self.asked: list[str] = []
        self._over = threading.Event()
        self._server = ThreadingHTTPServer((host, port), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def say(self, *values: str) -> None:
        """Answer with a vector."""
        result = [{"metric": {"i": str(i)}, "value": [1.0, v]} for i, v in enumerate(values)]
        data = {"resultType": "vector", "result": result}
        self.body = json.dumps({"status": "success", "data": data}).encode()

    def hang(self) -> None:
        """Answer nothing any more."""
        self.body = b"hang"

    def close(self) -> None:
        """End it, and whatever hangs."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                if outer.body == b"hang":
                    outer._over.wait(30)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: object) -> None:
                """Say nothing: a test's output is for its failures."""

        return Handler


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    """A server of the test's own."""
    running = Prometheus()
    yield running
    running.close()


def _begin(
    models: Models,
    script: Script,
    analysis: Manifest,
    second: Ready | None = None,
    **changes: Any,
) -> Manifest:
    """Serve a first revision, and ask for a second one that is judged."""
    rollout = {**ROLLOUT, "analysis": {"interval": "5s", **analysis}, **changes}
    models.apply(replicas=1, rollout=rollout)
    first: Manifest = models.until("Ready")["status"]["stable"]
    script.by_revision[first["hash"]] = script.serve
    script.serve, script.supply = second or script.serve, Supplied(OTHER)
    models.apply(replicas=1, rollout=rollout, uri=SECOND)
    return first


def _until(models: Models, state: str) -> Manifest:
    def reached() -> Manifest | None:
        status: Manifest = models.get()["status"]
        return status if status["rollout"]["state"] == state else None

    return eventually(reached, state, timeout_s=60, describe=lambda: str(models.get()["status"]))


def _check(models: Models, verdict: str, message: str = "") -> Manifest:
    """Wait for the only check's verdict, with these words."""

    def said() -> Manifest | None:
        found = models.get()["status"].get("analysis") or [{}]
        told = found[0].get("verdict") == verdict and message in found[0].get("message", "")
        return found[0] if told else None

    return eventually(
        said, f"the check says {verdict} {message}", timeout_s=60,
        describe=lambda: str(models.get()["status"]),
    )  # fmt: skip


def _queried(prometheus: Prometheus, **more: Any) -> Manifest:
    check = {"name": "q", "type": "PromQL", "query": 'x{r="{{candidate}}"}', "max": "0.5"}
    return {"prometheus": {"address": prometheus.address}, "checks": [check], **more}


@pytest.mark.usefixtures("operator")
def test_a_query_above_its_maximum_sends_a_candidate_back(
    models: Models, script: Script, prometheus: Prometheus
) -> None:
    prometheus.say("0.75")
    _begin(models, script, _queried(prometheus))
    status = _until(models, "Failed")
    assert status["rollout"]["reason"] == "AnalysisFailed"
    assert status["rollout"]["message"] == "check q: 0.75, 0.5 allowed"
    assert status["candidate"]["hash"] in prometheus.asked[-1]


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    "answer",
    ["nan", "hang", *(pytest.param(a, marks=_LONG) for a in ("empty", "several", "html", "huge"))],
)
def test_a65_a_prometheus_without_an_answer_is_no_data(
    models: Models, script: Script, prometheus: Prometheus, answer: str
) -> None:
    match answer:
        case "nan":
            prometheus.say("NaN")
        case "empty":
            prometheus.say()
        case "several":
            prometheus.say("0.9", "0.9")
        case "html":
            prometheus.body = b"<html>sign in</html>"
        case "hang":
            prometheus.hang()
        case "huge":
            prometheus.body = b" " * (2 << 20)
    _begin(models, script, _queried(prometheus))
    _until(models, "Baking")
    _check(models, "NoData")
    eventually(lambda: len(prometheus.asked) >= 3, "it is asked again and again", timeout_s=40)
    status = models.get()["status"]
    assert status["rollout"]["state"] == "Baking", "neither passed nor sent back, its hold is over"
    prometheus.say("0.1")
    assert _until(models, "Idle")["stable"]["revision"] == 2


@pytest.mark.usefixtures("operator")
def test_a65_where_nobody_listens_it_is_told(
    models: Models, script: Script, prometheus: Prometheus
) -> None:
    prometheus.close()
    _begin(models, script, _queried(prometheus))
    _until(models, "Baking")
    _check(models, "NoData", "Cannot connect")


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>sign in</html>", id="HTML"),
        pytest.param(
            b'slipway_requests_total{code="200",protocol="rest"} NaN\n', id="NaN", marks=_LONG
        ),
        pytest.param(b"", id="empty", marks=_LONG),
        pytest.param(b"# a comment\n" * (200 << 10), id="2 MB", marks=_LONG),
        pytest.param(b"hang", id="hangs"),
    ],
)
def test_a65_pods_whose_counters_cannot_be_read_are_no_data(
    models: Models, script: Script, cluster: Cluster, body: bytes
) -> None:
    old, new = addresses(cluster)  # of loopback there are no EndpointSlices
    pods = [Prometheus(host, PORT) for host in (old, new)]
    for pod in pods:
        pod.body = body
    script.serve = Ready(address=old)
    checks = [{"name": "errors", "type": "ErrorRate"}]
    try:
        _begin(models, script, {"checks": checks}, second=Ready(address=new))
        _until(models, "Baking")
        _check(models, "NoData")
        before = len(pods[1].asked)
        eventually(lambda: len(pods[1].asked) >= before + 2, "it is read again", timeout_s=40)
        status = models.get()["status"]
        assert status["rollout"]["state"] == "Baking", "neither passed nor sent back"
        assert status["analysis"][0]["verdict"] == "NoData"
    finally:
        for pod in pods:
            pod.close()


JOB: Final = """\
apiVersion: batch/v1
kind: Job
spec:
  template:
    metadata:
      labels: {team: ml}
    spec:
      nodeSelector: %s
      containers:
      - {name: main, image: judge}
"""


def _judged_by_job(models: Models, script: Script, text: str, **more: Any) -> Manifest:
    models.api.apply({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "judge", "namespace": models.namespace}, "data": {"job.yaml": text},
    })  # fmt: skip
    reference = {"name": "judge", "key": "job.yaml"}
    checks = [{"name": "offline", "type": "Job", "configMap": reference}]
    return _begin(models, script, {"checks": checks}, **more)


def _jobs(models: Models) -> list[Manifest]:
    found = models.api.find("Job", models.namespace)
    return [j for j in found if "slipway.dev/check-revision" in j["metadata"]["labels"]]


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    ("code", "verdict", "state", "reason"),
    [
        (0, "Pass", "Idle", None),
        (1, "Fail", "Failed", "AnalysisFailed"),
    ],
)
def test_the_exit_status_of_a_job_decides(
    models: Models, script: Script, code: int, verdict: str, state: str, reason: str | None
) -> None:
    _judged_by_job(models, script, JOB % json.dumps(SELECTOR))
    _until(models, "Baking")
    waiting = _check(models, "Running")
    (job,) = eventually(lambda: _jobs(models) or None, "there is a Job")
    assert job["metadata"]["name"] in waiting["message"] or "about to begin" in waiting["message"]
    (pod,) = eventually(
        lambda: models.api.find("Pod", models.namespace, "slipway.dev/check-for=m"), "it has a pod"
    )
    for service in models.api.find("Service", models.namespace):
        selector = service["spec"]["selector"].items()
        assert not selector <= pod["metadata"]["labels"].items(), "no client comes to it"
    assert {e["name"] for e in pod["spec"]["containers"][0]["env"]} == {
        "STABLE_URL", "CANDIDATE_URL",
    }  # fmt: skip
    assert models.get()["status"]["rollout"]["state"] == "Baking", "though its hold is over"
    script.check = Ended(code)
    status = _until(models, state)
    assert status["rollout"].get("reason") == reason
    if verdict == "Fail":
        (said,) = status["analysis"]
        assert (said["name"], said["verdict"]) == ("offline", "Fail")
        assert "ended with status 1" in said["message"]
        assert len(_jobs(models)) == 1, "it stays to be looked at"
    else:
        eventually(lambda: not _jobs(models), "its Jobs go with the rollout", timeout_s=30)


@pytest.mark.usefixtures("operator")
def test_a_job_that_cannot_tell_leaves_it_to_oninconclusive(models: Models, script: Script) -> None:
    script.check = Ended(2)
    _judged_by_job(models, script, JOB % json.dumps(SELECTOR))
    eventually(
        lambda: models.get()["status"]["stable"]["revision"] == 2,
        "by default the next step follows", timeout_s=60,
        describe=lambda: str(models.get()["status"]),
    )  # fmt: skip


@pytest.mark.usefixtures("operator")
def test_a_job_that_the_api_server_refuses_is_told_before_its_step(
    models: Models, script: Script
) -> None:
    text = JOB.replace("image: judge", "image: judge, imagePullPolicy: Sometimes")
    models.api.apply({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "judge", "namespace": models.namespace},
        "data": {"job.yaml": text % json.dumps(SELECTOR)},
    })  # fmt: skip
    checks = [{"name": "offline", "type": "Job", "configMap": {"name": "judge", "key": "job.yaml"}}]
    rollout = {**ROLLOUT, "analysis": {"checks": checks}}
    models.apply(replicas=1, rollout=rollout)
    first = models.until("Ready")["status"]["stable"]
    script.by_revision[first["hash"]] = Ready()
    script.serve, script.supply = Starting(), Supplied(OTHER)
    models.apply(replicas=1, rollout=rollout, uri=SECOND)
    stalled = told(models.until("Stalled"), "Stalled")
    assert "imagePullPolicy" in stalled["message"]
    assert models.get()["status"]["rollout"]["state"] == "Preparing"
    assert _jobs(models) == []
