"""Connections of a real server: heads, slow and silent clients, their number and their age."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, infer_body, pod_folder, serving

INFER = "/v2/models/digits/infer"
ROW = json.dumps(infer_body("x", "FP32", [1, 4], [1, 1, 1, 1])).encode()
GOOD = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ROW)}\r\n\r\n".encode() + ROW


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("connections")
    config, store = pod_folder(folder, models.saved(models.affine(), folder / "affine.onnx"))
    with serving(
        "--config",
        config,
        "--model-dir",
        store,
        host="127.0.0.1",
        head_timeout_s=1,
        body_timeout_s=1,
        keep_alive_s=1,
        max_connections=20,
    ) as running:
        running.wait_for("ready")
        yield running


def connected(server: Serving, timeout: float = 15) -> socket.socket:
    address = httpx.URL(server.url)
    return socket.create_connection((address.host, address.port or 0), timeout)


def told(sock: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = b""
    while piece := sock.recv(65536):
        found += piece
    return found


def asked(server: Serving, *pieces: bytes) -> bytes:
    with connected(server) as sock:
        for piece in pieces:
            sock.sendall(piece)
        return told(sock)


def status_and_error(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    document = json.loads(body)
    assert list(document) == ["error"]
    return int(head.split()[1]), document["error"]


@pytest.mark.parametrize(
    ("raw", "status", "message"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01", 400, "no valid HTTP/1.1", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400, "no valid HTTP", id="a bad header"),
        pytest.param(b"GET /" + b"x" * 9000, 414, "path: expected at most 8192", id="a long path"),
        pytest.param(
            b"GET / HTTP/1.1\r\nA: " + b"x" * 200_000,
            431,
            "head: expected at most 32768 bytes",
            id="a header without end",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
            431,
            "head: expected at most 32768 bytes",
            id="a large header",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200,
            431,
            "headers: expected at most 128",
            id="many headers",
        ),
        pytest.param(
            f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz".encode(),
            400,
            "no valid HTTP/1.1",
            id="a bad chunk",
        ),
    ],
)
def test_what_is_no_request_is_refused_in_our_form(
    server: Serving, raw: bytes, status: int, message: str
) -> None:
    found, error = status_and_error(asked(server, raw))
    assert found == status
    assert message in error


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(b"GET /v2 HTTP/1.1\r\nHost", "head: not complete within 1s", id="head"),
        pytest.param(
            f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode(),
            "body: 1 bytes in ",
            id="body",
        ),
    ],
)
def test_who_stops_sending_is_told_so(server: Serving, raw: bytes, message: str) -> None:
    status, error = status_and_error(asked(server, raw))
    assert status == 408
    assert message in error


def test_who_sends_nothing_is_closed_in_silence(server: Serving) -> None:
    assert asked(server) == b""


def test_an_idle_connection_is_closed_in_silence(server: Serving) -> None:
    answer = asked(server, GOOD)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


def test_a_drop_at_a_time_is_too_slow(server: Serving) -> None:
    with connected(server) as sock:
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
        sock.sendall(head.encode())
        for _ in range(100):
            try:
                sock.sendall(b" ")
            except OSError:
                break
            sock.settimeout(0.1)
            try:
                answer = sock.recv(4096)
            except TimeoutError:
                continue
            break
        assert status_and_error(answer)[0] == 408


def test_garbage_behind_a_request_does_not_take_its_answer(server: Serving) -> None:
    answer = asked(server, GOOD + b"\x00\x00garbage\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") <= 2


def test_pipelined_requests_are_answered_in_order(server: Serving) -> None:
    ids = [f"{number}" for number in range(20)]
    requests = b""
    for name in ids:
        body = json.dumps({**json.loads(ROW), "id": name}).encode()
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        requests += head.encode() + body
    answer = asked(server, requests)
    found = [part.split(b'"id":"')[1].split(b'"')[0] for part in answer.split(b"HTTP/1.1")[1:]]
    assert [name.decode() for name in found] == ids


def test_a_half_closed_client_gets_its_answer(server: Serving) -> None:
    with connected(server) as sock:
        sock.sendall(GOOD)
        sock.shutdown(socket.SHUT_WR)
        answer = told(sock)
    assert b"HTTP/1.1 200 OK" in answer


def test_an_upgrade_is_answered_as_a_request(server: Serving) -> None:
    head = b"GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert asked(server, head).startswith(b"HTTP/1.1 200")


def test_more_connections_than_allowed_are_told_so(server: Serving) -> None:
    opened = [connected(server) for _ in range(20)]
    try:
        for sock in opened:
            sock.sendall(GOOD)
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        status, error = status_and_error(asked(server))
        assert (status, error) == (503, "more than 20 connections; retry later")
        # Probes come on the other port.
        assert httpx.get(f"{server.admin}/readyz", trust_env=False).status_code == 200
    finally:
        for sock in opened:
            sock.close()
    _until_served(server)


def _until_served(server: Serving) -> None:
    deadline = time.monotonic() + 10
    while not asked(server, GOOD).startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < deadline


def test_an_old_connection_is_asked_to_go(tmp_path: Path, affine_model: Path) -> None:
    with serving(affine_model, max_connection_age_s=0.2) as server:
        server.wait_for("ready")
        address = httpx.URL(server.url)
        with closing(http.client.HTTPConnection(address.host, address.port, timeout=10)) as client:
            answers = 0
            while True:
                client.request("GET", "/v2/health/live")
                answer = client.getresponse()
                answer.read()
                assert answer.status == 200
                answers += 1
                if answer.getheader("connection") == "close":
                    break
    assert answers > 1


def test_refusals_are_counted_by_reason_and_not_logged(server: Serving) -> None:
    metrics = httpx.get(f"{server.admin}/metrics", trust_env=False).text
    for reason in (
        "MalformedRequest",
        "HeadTooLarge",
        "TargetTooLong",
        "SlowRequest",
        "TooManyConnections",
    ):
        assert f'slipway_rejected_total{{model="digits",reason="{reason}"' in metrics
    told = {line.get("message") for line in server.lines}
    assert told - {"request"} == {"listening", "ready"}  # requests that were read may be told


def row(value: int, *headers: str) -> bytes:
    """A request whose answer tells it from others; with further headers it goes the long way."""
    body = json.dumps(infer_body("x", "FP32", [1, 4], [value] * 4)).encode()
    head = "".join(f"{header}\r\n" for header in ("Host: x", *headers))
    return f"POST {INFER} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def firsts(answers: bytes) -> list[float]:
    """The first score of each answer, in the order they came."""
    texts = answers.split(b"HTTP/1.1 200 OK\r\n")[1:]
    return [json.loads(text.split(b"\r\n\r\n")[1])["outputs"][0]["data"][0] for text in texts]


@pytest.mark.parametrize("ways", ["ss", "sl", "ls", "sls", "lss", "ssls", "llss"])
@pytest.mark.parametrize("is_cut", [False, True], ids=["at once", "byte by byte"])
def test_short_and_long_ways_answer_in_order(server: Serving, ways: str, is_cut: bool) -> None:
    slow = {"s": (), "l": ("X-Request-Timeout: 5s",)}
    raw = b"".join(row(n + 1, *slow[way]) for n, way in enumerate(ways))
    alone = firsts(asked(server, row(1, "Connection: close")))[0]
    other = firsts(asked(server, row(2, "Connection: close")))[0]
    expected = [alone + n * (other - alone) for n in range(len(ways))]
    pieces = [raw[at : at + 1] for at in range(len(raw))] if is_cut else [raw]
    assert firsts(asked(server, *pieces)) == pytest.approx(expected, rel=1e-5)


def test_an_idle_connection_is_closed_after_the_short_way_too(server: Serving) -> None:
    with connected(server) as sock:
        sock.sendall(GOOD)
        begun = time.monotonic()
        assert told(sock).count(b"HTTP/1.1 200") == 1
        assert 0.9 < time.monotonic() - begun < 8


def test_the_short_way_says_what_the_long_one_says(server: Serving) -> None:
    short, long = asked(server, row(1)), asked(server, row(1, "X-Request-Timeout: 5s"))

    def headers(answer: bytes) -> set[bytes]:
        lines = answer.split(b"\r\n\r\n")[0].lower().split(b"\r\n")
        return {line for line in lines if not line.startswith(b"date")}

    assert headers(short) == headers(long)
    assert short.split(b"\r\n\r\n")[1] == long.split(b"\r\n\r\n")[1]


def answers(server: Serving, *pieces: bytes, count: int) -> list[tuple[int, bytes]]:
    """Status and body of so many answers of one connection."""
    found = []
    with connected(server) as sock:
        for piece in pieces:
            sock.sendall(piece)
            time.sleep(0.01)  # a piece of its own for the server, too
        stream = sock.makefile("rb")
        for _ in range(count):
            status = int(stream.readline().split()[1])
            lengths = [0]
            while (line := stream.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                if name == b"content-length":
                    lengths.append(int(value))
            found.append((status, stream.read(lengths[-1])))
    return found


def other(row: list[float]) -> bytes:
    """A request with the head of `GOOD`."""
    body = json.dumps(infer_body("x", "FP32", [1, 4], row)).encode()
    assert len(body) == len(ROW)
    return GOOD[: -len(ROW)] + body


KNOWN = (GOOD, GOOD, GOOD)
"""After these, the head is not parsed again."""
WRONG = GOOD[: -len(ROW)] + b"x" * len(ROW)


@pytest.mark.parametrize(
    ("pieces", "statuses"),
    [
        pytest.param([other([2, 2, 2, 2])], [200], id="another body"),
        pytest.param([GOOD[:20], GOOD[20:]], [200], id="cut in the head"),
        pytest.param([GOOD[: -len(ROW)], ROW], [200], id="cut behind the head"),
        pytest.param([GOOD[:-9], GOOD[-9:-2], GOOD[-2:]], [200], id="cut in the body"),
        pytest.param([GOOD + GOOD + GOOD], [200, 200, 200], id="pipelined"),
        pytest.param([GOOD[:-3], GOOD[-3:] + GOOD[:50], GOOD[50:]], [200, 200], id="cut askew"),
        pytest.param([WRONG, GOOD], [400, 200], id="no JSON"),
        pytest.param([b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n", GOOD], [200, 200], id="between"),
        pytest.param([b"\r\n" + GOOD, GOOD], [200, 200], id="an empty line before"),
        pytest.param([GOOD.replace(INFER.encode(), b"/nowhere"), GOOD], [404, 200], id="elsewhere"),
    ],
)
def test_a_known_head_means_what_it_meant(
    server: Serving, pieces: list[bytes], statuses: list[int]
) -> None:
    found = answers(server, *KNOWN, *pieces, count=len(KNOWN) + len(statuses))
    fresh = answers(server, *pieces, count=len(statuses))
    assert [status for status, _ in found[len(KNOWN) :]] == statuses
    assert found[len(KNOWN) :] == fresh


def test_a_slow_body_behind_a_known_head_is_not_waited_for(server: Serving) -> None:
    answer = asked(server, *KNOWN, GOOD[:-5])
    status, message = status_and_error(answer[answer.rindex(b"HTTP/1.1") :])
    assert (status, message[:5]) == (408, "body:")


def test_what_is_no_request_ends_the_connection_behind_a_known_head(server: Serving) -> None:
    answer = asked(server, *KNOWN, GOOD + b"no request\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 200") == len(KNOWN) + 1
