"""Downloads from a real server that misbehaves."""

import hashlib
import ipaddress
import os
import socket
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from slipway_runtime.errors import (
    AccessDenied,
    InvalidConfig,
    NotFound,
    SupplyError,
    Unavailable,
    Unsupported,
)
from slipway_runtime.supply import address
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.identity import Shown
from slipway_runtime.supply.retry import Patience
from tests.unit.runtime.store import StoreDouble, cuts, redirects, says, sends

CONTENT = os.urandom(3 * 2**20)
OTHER = os.urandom(3 * 2**20)


class Fetched:
    """What a fetch left behind."""

    def __init__(self, folder: Path, url: str, **patience: float) -> None:
        self.pauses: list[float] = []
        limits = {"attempts": 3, "read_timeout_s": 2.0, **patience}
        with (
            ModelWriter(folder, max_bytes=10 * 2**20) as writer,
            Store(Patience(sleep=self.pauses.append, **limits)) as store,  # type: ignore[arg-type]  # rows of numbers
        ):
            fetch_http(url, writer, store)
            writer.commit(folder / "model.onnx")
        self.content = (folder / "model.onnx").read_bytes()
        assert writer.digest == f"sha256:{hashlib.sha256(self.content).hexdigest()}"


def refused(kind: type[SupplyError], folder: Path, url: str, **patience: float) -> str:
    with pytest.raises(kind) as caught:
        Fetched(folder, url, **patience)
    assert list(folder.iterdir()) == []
    return str(caught.value)


def test_a_file_is_fetched(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m"] = [sends(CONTENT)]
    assert Fetched(tmp_path, store_double.url("/m")).content == CONTENT
    assert store_double.headers_of("/m")[0]["accept-encoding"] == "identity"


def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path, store_double: StoreDouble) -> None:
    half = len(CONTENT) // 2
    store_double.answers["/m"] = [cuts(CONTENT, half, ETag='"1"'), sends(CONTENT, ETag='"1"')]
    fetched = Fetched(tmp_path, store_double.url("/m"))
    assert fetched.content == CONTENT
    second = store_double.headers_of("/m")[1]
    assert second["if-range"] == '"1"'
    assert 0 < int(second["range"].removeprefix("bytes=").rstrip("-")) <= half


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"ETag": '"1"'}, {"ETag": '"2"'}, id="the ETag has changed"),
        pytest.param({"ETag": 'W/"1"'}, {"ETag": 'W/"1"'}, id="a weak ETag proves nothing"),
        pytest.param({}, {}, id="there is no validator"),
    ],
)
def test_changed_bytes_are_never_joined(
    tmp_path: Path, store_double: StoreDouble, first: dict[str, str], second: dict[str, str]
) -> None:
    store_double.answers["/m"] = [cuts(OTHER, 2**20, **first), sends(CONTENT, **second)]
    assert Fetched(tmp_path, store_double.url("/m")).content == CONTENT


def test_a_range_that_was_not_asked_for_starts_again(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    wrong = says(206, CONTENT[5:], Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
    store_double.answers["/m"] = [
        cuts(CONTENT, 2**20, ETag='"1"'),
        wrong,
        sends(CONTENT, ETag='"1"'),
    ]
    assert Fetched(tmp_path, store_double.url("/m")).content == CONTENT


def test_a_file_that_has_become_shorter_starts_again(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    store_double.answers["/m"] = [cuts(OTHER, 2**20, ETag='"1"'), says(416), sends(b"short")]
    assert Fetched(tmp_path, store_double.url("/m")).content == b"short"


def test_a_line_that_breaks_often_but_moves_on_is_enough(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    big = os.urandom(9 * 2**20)
    pieces = [cuts(big, n * 2**20 + 2**19, ETag='"1"') for n in range(1, 8)]
    store_double.answers["/m"] = [*pieces, sends(big, ETag='"1"')]
    assert Fetched(tmp_path, store_double.url("/m"), attempts=2).content == big


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_store_in_trouble_is_asked_again(
    tmp_path: Path, store_double: StoreDouble, status: int
) -> None:
    store_double.answers["/m"] = [says(status, Retry_After="4"), sends(CONTENT)]
    (pause_s,) = Fetched(tmp_path, store_double.url("/m")).pauses
    assert 4 <= pause_s <= 6


def test_patience_ends(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m"] = [says(503)]
    text = refused(Unavailable, tmp_path, store_double.url("/m?token=secret"))
    assert "failed 3 times in a row (answers 503 Service Unavailable)" in text
    assert "secret" not in text
    assert len(store_double.seen) == 3


def test_nobody_there_may_pass(tmp_path: Path) -> None:
    assert "ConnectError" in refused(Unavailable, tmp_path, "http://127.0.0.1:9/m")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        pytest.param(401, AccessDenied, id="401"),
        pytest.param(403, AccessDenied, id="403"),
        pytest.param(404, NotFound, id="404"),
        pytest.param(410, NotFound, id="410"),
        pytest.param(400, InvalidConfig, id="400"),
    ],
)
def test_a_final_word_is_taken_at_once(
    tmp_path: Path, store_double: StoreDouble, status: int, kind: type[SupplyError]
) -> None:
    store_double.answers["/m"] = [says(status)]
    host = store_double.host
    text = refused(kind, tmp_path, f"http://user:secret@{host}/m?sig=secret")
    assert f"'http://{host}/m' answers {status}" in text
    assert "secret" not in text
    assert len(store_double.seen) == 1


def test_redirects_are_followed(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers |= {
        "/a": [redirects("/b", 301)],
        "/b": [redirects(store_double.url("/m?x=1"), 307)],
        "/m": [sends(CONTENT)],
    }
    assert Fetched(tmp_path, store_double.url("/a")).content == CONTENT


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        pytest.param("/a", "is still a redirect, expected at most 5", id="a loop"),
        pytest.param(
            "file:///etc/passwd", "redirects to 'file:///etc/passwd', expected", id="a file"
        ),
        pytest.param(
            "ftp://x/m?s=secret", "redirects to 'ftp://x/m', expected https or http", id="ftp"
        ),
        pytest.param("http://a[b]/m", "expected a URL", id="no URL"),
        pytest.param("http://nowhere.invalid/m", "cannot be resolved", id="nobody knows the name"),
    ],
)
def test_c14_redirects_are_not_followed_everywhere(
    tmp_path: Path, store_double: StoreDouble, location: str, expected: str
) -> None:
    store_double.answers["/a"] = [redirects(location)]
    kind = Unavailable if "resolved" in expected else InvalidConfig
    assert expected in refused(kind, tmp_path, store_double.url("/a"))


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.169.254:80",
        "me@169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "169.16689662",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fd20:ce::254]",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "[::]",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "metadata.goog",
    ],
)
def test_c14_redirects_are_not_followed_to_metadata_services(
    tmp_path: Path, store_double: StoreDouble, host: str
) -> None:
    store_double.answers["/a"] = [redirects(f"http://{host}/latest/meta-data/")]
    text = refused(InvalidConfig, tmp_path, store_double.url("/a"))
    assert "metadata services, expected another host" in text


def test_c14_every_address_of_a_name_is_judged(
    tmp_path: Path, store_double: StoreDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves(monkeypatch, [["127.0.0.1", "fe80::7"]])
    port = store_double.server_address[1]
    store_double.answers |= {
        "/a": [redirects(f"http://models.example:{port}/m")],
        "/m": [sends(CONTENT)],
    }
    assert "(fe80::7)" in refused(InvalidConfig, tmp_path, store_double.url("/a"))
    assert store_double.headers_of("/m") == []


def test_c14_a_name_that_changes_its_mind_is_not_read(
    tmp_path: Path, store_double: StoreDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked twice it answers twice; here 127.0.0.1 plays the metadata service."""
    resolves(monkeypatch, [["127.0.0.2"], ["127.0.0.1"]])
    services = (*address.SERVICES, ipaddress.ip_network("127.0.0.1/32"))
    monkeypatch.setattr(address, "SERVICES", services)
    port = store_double.server_address[1]
    store_double.answers |= {
        "/a": [redirects(f"http://models.example:{port}/m")],
        "/m": [sends(CONTENT)],
    }
    assert "(127.0.0.1)" in refused(InvalidConfig, tmp_path, store_double.url("/a"))


def test_redirects_inside_a_private_network_are_followed() -> None:
    """Stores in a cluster redirect to each other, and their addresses are private ones."""
    for text in ("10.0.0.7", "172.16.3.4", "192.168.0.1", "127.0.0.1", "::1", "fd12:3456::7"):
        assert not address.is_refused(ipaddress.ip_address(text)), text


def resolves(monkeypatch: pytest.MonkeyPatch, answers: list[list[str]]) -> None:
    """Let the name models.example have these addresses, each time it is asked for the next."""
    real, left = socket.getaddrinfo, list(answers)

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if str(host) != "models.example" or kwargs.get("flags") == socket.AI_NUMERICHOST:
            return real(host, port, *args, **kwargs)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [entry for text in found for entry in real(text, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_credentials_stay_with_their_host(tmp_path: Path, store_double: StoreDouble) -> None:
    other = store_double.url("/m").replace("127.0.0.1", "localhost")
    store_double.answers |= {"/a": [redirects(other)], "/m": [sends(CONTENT)]}
    with ModelWriter(tmp_path, max_bytes=2**30) as writer, Store(Patience()) as store:
        fetch_http(store_double.url("/a"), writer, store, identity=Shown("Bearer s", remedy=""))
    assert "authorization" in store_double.headers_of("/a")[0]
    assert "authorization" not in store_double.headers_of("/m")[0]


def test_c14_a_size_over_the_limit_is_refused_before_it_comes(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    store_double.answers["/m"] = [says(200, b"", Content_Length=str(10 * 2**30))]
    assert "has 10Gi or more, expected at most 10Mi" in refused(
        Unsupported, tmp_path, store_double.url("/m")
    )


def test_c14_a_size_that_was_not_announced_is_counted(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    def flood(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for _ in range(12):
            request.wfile.write(b"100000\r\n" + bytes(2**20) + b"\r\n")

    store_double.answers["/m"] = [flood]
    refused(Unsupported, tmp_path, store_double.url("/m"))


def test_c14_a_length_that_is_a_lie_is_no_model(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m"] = [cuts(CONTENT, 1000, Content_Length="5000")]
    refused(Unavailable, tmp_path, store_double.url("/m"))


def test_a_compressed_transfer_is_refused(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m"] = [sends(CONTENT, Content_Encoding="gzip")]
    assert "content-encoding 'gzip'" in refused(Unsupported, tmp_path, store_double.url("/m"))


@pytest.mark.parametrize(
    "interval_s", [pytest.param(9.0, id="silent"), pytest.param(0.1, id="dripping")]
)
def test_c14_a_store_that_hangs_is_not_waited_for(
    tmp_path: Path, store_double: StoreDouble, interval_s: float
) -> None:
    def hang(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(min(interval_s, 3))

    store_double.answers["/m"] = [hang]
    begun = time.monotonic()
    refused(Unavailable, tmp_path, store_double.url("/m"), attempts=1, read_timeout_s=0.3)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("url", ["http://", "http://a b/", "http://[::1", "https:///m"])
def test_what_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises((InvalidConfig, Unavailable)):
        Fetched(tmp_path, url)
