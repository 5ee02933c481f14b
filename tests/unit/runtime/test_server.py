"""The life of the process: loading, overload, deadlines, draining, ending."""

import asyncio
import http.client
import json
import re
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic

import grpc
import httpx
import numpy as np
import pytest

from tests.unit.runtime import models
from tests.unit.runtime.processes import (
    Serving,
    infer_body,
    pod_folder,
    runtime,
    serving,
    serving_document,
)
from tests.unit.runtime.protocols.calls import V2, request

ENDLESS = infer_body("n", "INT64", [1], [10**9])
QUICK = infer_body("n", "INT64", [1], [1])


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    return models.saved(models.counting(), tmp_path / "digits.onnx")


def pod(folder: Path, model: Path, **changes: object) -> tuple[object, ...]:
    config, models_folder = pod_folder(folder, model, **changes)
    return ("--config", config, "--model-dir", models_folder)


def infer(server: Serving, body: object, timeout: float = 30) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v2/models/digits/infer", json=body, timeout=timeout, trust_env=False
    )


class Load:
    """Clients with kept connections, each asking as fast as it gets answers."""

    def __init__(self, server: Serving, clients: int, body: object) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.closed = 0
        self._stop = threading.Event()
        self._address = httpx.URL(server.url)
        self._body = json.dumps(body)
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._address.host, self._address.port, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("POST", "/v2/models/digits/infer", self._body)
                answer = connection.getresponse()
                answer.read()
            except OSError as err:
                self.failures.append(repr(err))
                break
            self.answered += 1
            self.closed += answer.getheader("connection") == "close"
            if answer.status != 200:
                self.failures.append(str(answer.status))
        connection.close()


def test_b56_a_drain_under_load_fails_nobody(tmp_path: Path, counting: Path) -> None:
    with serving(*pod(tmp_path, counting), host="127.0.0.1", endpoints_grace_s=1.5) as server:
        server.wait_for("ready")
        load = Load(server, 8, QUICK)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        status = httpx.get(f"{server.admin}/readyz", trust_env=False)
        client_view = httpx.get(f"{server.url}/v2/health/ready", trust_env=False)
        # Proxies learn of it with delay, and send new connections until then.
        threading.Event().wait(1.0)
        load.stop()
        code = server.process.wait(10)
    assert (code, load.failures) == (0, [])
    assert load.answered > 100
    assert load.closed > 0
    assert (status.status_code, client_view.status_code) == (503, 503)
    assert status.json() == {"ready": False, "error": "model 'digits' is draining"}


def test_what_is_in_flight_is_finished(tmp_path: Path, counting: Path) -> None:
    half_a_second = infer_body("n", "INT64", [1], [200_000])
    with serving(counting, drain_s=20) as server, ThreadPoolExecutor(1) as pool:
        server.wait_for("ready")
        answer = pool.submit(infer, server, half_a_second)
        server.until(running=1)
        code = server.stop()
        assert answer.result().json()["outputs"][0]["data"] == [200_000]
    assert code == 0


def test_the_drain_has_an_end(tmp_path: Path, counting: Path) -> None:
    with serving(counting, drain_s=0.1) as server, ThreadPoolExecutor(1) as pool:
        server.wait_for("ready")
        answer = pool.submit(infer, server, ENDLESS)
        server.until(running=1)
        begun = monotonic()
        code = server.stop()
        assert monotonic() - begun < 5
        with pytest.raises(httpx.HTTPError):
            answer.result().raise_for_status()
    assert code == 0


def test_b57_a_second_signal_skips_the_wait_for_endpoints(affine_model: Path) -> None:
    with serving(affine_model, endpoints_grace_s=60) as server:
        server.wait_for("ready")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        assert server.stop() == 0


def test_ctrl_c_does_not_wait_for_endpoints(affine_model: Path) -> None:
    with serving(affine_model, endpoints_grace_s=60) as server:
        server.wait_for("ready")
        assert server.stop(signal.SIGINT) == 0


def test_b57_a_signal_while_loading_ends_the_process(tmp_path: Path, counting: Path) -> None:
    slow = pod(tmp_path, counting, serving={"warmup": {"requests": 1000}})
    with serving(*slow, host="127.0.0.1") as server:
        assert server.stop() == 0


def test_overload_and_deadlines(tmp_path: Path, counting: Path) -> None:
    limits = {"requestTimeout": "2s", "queue": {"maxLength": 1}}
    with (
        serving(*pod(tmp_path, counting, serving=limits), host="127.0.0.1") as server,
        ThreadPoolExecutor(2) as pool,
    ):
        server.wait_for("ready")
        first = pool.submit(infer, server, ENDLESS)
        server.until(running=1)
        second = pool.submit(infer, server, ENDLESS)
        server.until(queue={"length": 1, "maxLength": 1})
        third = infer(server, QUICK)
        assert (third.status_code, third.headers["retry-after"]) == (429, "1")
        assert "queue is full: 1 requests wait, at most 1 may" in third.json()["error"]
        assert [answer.result().status_code for answer in (first, second)] == [504, 504]
        assert infer(server, QUICK).json()["outputs"][0]["data"] == [1]
        metrics = httpx.get(f"{server.admin}/metrics", trust_env=False).text
        for reason, count in (("QueueFull", 1), ("DeadlineExceeded", 2)):
            assert f'reason="{reason}",revision="0123456789",version=""}} {count}.0' in metrics


def test_bodies_in_flight_are_bounded_in_sum(tmp_path: Path, affine_model: Path) -> None:
    with serving(affine_model, max_inflight_bytes="1Mi") as server:
        server.wait_for("ready")
        address = httpx.URL(server.url)
        head = "POST /v2/models/affine/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"
        with socket.create_connection((address.host, address.port or 0), 10) as holder:
            holder.sendall(head.encode() + b"{")
            deadline = monotonic() + 10
            while (answer := _try(server)).status_code != 429:
                assert monotonic() < deadline
        assert "server holds 1Mi of request bodies" in answer.json()["error"]


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
def test_a_message_is_counted_while_it_is_answered(
    tmp_path: Path, counting: Path, method: str
) -> None:
    """A compressed one as what it may become."""
    shown = np.array([10**9], np.int64).tobytes()
    sent = request("n", "INT64", [1], raw=[shown])
    sent.parameters["padding"].string_param = "x" * 1000  # else it is sent as it is
    with (
        serving(counting, max_inflight_bytes="1Mi", drain_s=0.1) as server,
        grpc.insecure_channel(server.grpc, compression=grpc.Compression.Gzip) as channel,
    ):
        server.wait_for("ready")
        send: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{V2}/{method}"
        )
        for _ in range(2):  # given back once, and only once
            call = send(iter([sent.SerializeToString()]), timeout=20)
            server.until(running=1)
            answer = infer(server, QUICK)
            assert answer.status_code == 429
            assert "server holds 1Mi of request bodies" in answer.json()["error"]
            call.cancel()
            server.until(running=0)


def _try(server: Serving) -> httpx.Response:
    return httpx.post(f"{server.url}/v2/models/affine/infer", json={}, trust_env=False)


def test_a_taken_port_is_told_at_once(affine_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = runtime("serve", affine_model, http_port=port, grpc_port=0, admin_port=0)
    assert done.returncode == 2
    assert (
        f"port {port} on 127.0.0.1: cannot be listened on (Address already in use)" in done.stderr
    )


def test_a_pod_refuses_bytes_of_another_digest(tmp_path: Path, affine_model: Path) -> None:
    config, folder = pod_folder(tmp_path, affine_model)
    config.write_text(json.dumps(serving_document(digest="sha256:" + "0" * 64)))
    done = runtime("serve", "--config", config, "--model-dir", folder)
    assert done.returncode == 10
    assert "digest: model.json has sha256:" in done.stderr


def test_a_pod_without_a_fetched_model_says_so(tmp_path: Path) -> None:
    config = tmp_path / "serving.json"
    config.write_text(json.dumps(serving_document()))
    done = runtime("serve", "--config", config, "--model-dir", tmp_path)
    assert done.returncode == 10
    assert "run `fetch --into` first" in done.stderr


def test_a_model_that_cannot_be_loaded_ends_the_process(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"garbage")
    done = runtime("serve", path, http_port=0, grpc_port=0, admin_port=0)
    assert done.returncode == 10
    assert '"reason": "InvalidModel", "cause": "model: cannot be loaded' in done.stderr


async def test_a_thousand_bad_requests_leave_the_memory_alone(affine_model: Path) -> None:
    with serving(affine_model) as server:
        server.wait_for("ready")
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            await _flood(client, 200)
            before = _resident_bytes(server)
            await _flood(client, 1000)
            after = _resident_bytes(server)
    assert after - before < 10 * 2**20


async def _flood(client: httpx.AsyncClient, count: int) -> None:
    bodies = [b"", b"{}", b"[" * 1000, b'{"inputs": [1]}', b"\xff"]
    limit = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        async with limit:
            path = f"/v2/models/m{number}/infer" if number % 2 else "/v2/models/affine/infer"
            assert (await client.post(path, content=bodies[number % 5])).status_code in (400, 404)

    await asyncio.gather(*map(one, range(count)))


def _resident_bytes(server: Serving) -> int:
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize(
    "header",
    [
        pytest.param({"X-Request-Timeout": "200ms"}, id="ours"),
        pytest.param({"X-Envoy-Expected-Rq-Timeout-Ms": "200"}, id="Envoy's"),
    ],
)
def test_the_clients_deadline_counts(counting: Path, header: dict[str, str]) -> None:
    with serving(counting) as server:
        server.wait_for("ready")
        url = f"{server.url}/v2/models/digits/infer"
        begun = monotonic()
        late = httpx.post(url, json=ENDLESS, headers=header, trust_env=False, timeout=20)
        assert late.status_code == 504
        assert monotonic() - begun < 10
        none = httpx.post(url, json=QUICK, headers={"X-Request-Timeout": "0"}, trust_env=False)
        assert none.status_code == 200
        wrong = httpx.post(url, json=QUICK, headers={"X-Request-Timeout": "-1"}, trust_env=False)
        assert wrong.status_code == 400
        assert wrong.json()["error"].startswith("x-request-timeout: got '-1', expected seconds")


def test_who_hangs_up_is_not_computed_for(counting: Path) -> None:
    with serving(counting) as server:
        server.wait_for("ready")
        sockets = [_sent(server, ENDLESS) for _ in range(3)]
        server.until(running=1, queue={"length": 2, "maxLength": 1024})
        for sock in sockets:
            sock.close()
        server.until(running=0, queue={"length": 0, "maxLength": 1024})
        assert infer(server, QUICK).status_code == 200
        metrics = httpx.get(f"{server.admin}/metrics", trust_env=False).text
        assert re.search(r'slipway_rejected_total\{.*reason="ClientGone".*\} 3\.0', metrics)


def _sent(server: Serving, body: object) -> socket.socket:
    address = httpx.URL(server.url)
    sock = socket.create_connection((address.host, address.port or 0), 10)
    text = json.dumps(body).encode()
    head = (
        f"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    sock.sendall(head.encode() + text)
    return sock


@pytest.mark.parametrize("protocol", ["REST", "GRPC"])
def test_a_protocol_that_is_not_served_has_no_listener(
    tmp_path: Path, counting: Path, protocol: str
) -> None:
    arguments = pod(tmp_path, counting, serving={"protocols": [protocol]})
    with serving(*arguments, host="127.0.0.1") as server:
        server.wait_for("ready")
        told = server.wait_for("listening")
        assert {"http_port" in told, "grpc_port" in told} == {True, False}
        assert ("http_port" in told) == (protocol == "REST")
        for path in ("/livez", "/readyz", "/metrics", "/status", "/docs", "/openapi.json"):
            assert httpx.get(server.admin + path, trust_env=False).status_code == 200
        tried = httpx.post(f"{server.admin}/v2/models/digits/infer", json=QUICK, trust_env=False)
        assert tried.json()["outputs"][0]["data"] == [1]
        listening = _listening_ports(server.process.pid)
        assert listening == {port for name, port in told.items() if name.endswith("_port")}
        assert server.stop() == 0


def _listening_ports(pid: int) -> set[int]:
    """The TCP ports that a process listens on, as the kernel tells."""
    inodes = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            found = re.fullmatch(r"socket:\[(\d+)\]", str(file.readlink()))
            if found:
                inodes.add(found[1])
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return ports
