"""Proxies and certificates on the way to a store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from slipway_runtime.config import ProxyBlock
from slipway_runtime.errors import InvalidConfig, Unavailable, Untrusted
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.retry import Patience
from slipway_runtime.supply.route import Route, goes_directly
from tests.stores.authority import Authority, Certificate
from tests.stores.relay import Proxy, proxy
from tests.stores.secure import Request, SecureServer
from tests.stores.serving import served
from tests.unit.runtime.store import StoreDouble, redirects, sends


def proxied(**fields: str) -> Route:
    return Route(proxy=ProxyBlock.model_validate(fields))


@pytest.mark.parametrize(
    ("host", "no_proxy", "expected"),
    [
        pytest.param("minio.ml.svc", ".svc", True, id="a domain"),
        pytest.param("minio.ml.svc", "svc", True, id="a domain without a dot"),
        pytest.param("minio.ml.svc", "*.svc", True, id="a domain with a star"),
        pytest.param("evilsvc", "svc", False, id="the end of a name"),
        pytest.param("Store", "a, store ,b", True, id="one of several"),
        pytest.param("10.1.2.3", "10.0.0.0/8", True, id="a network"),
        pytest.param("11.1.2.3", "10.0.0.0/8", False, id="another network"),
        pytest.param("10.evil.example", "10.0.0.0/8", False, id="a name that begins alike"),
        pytest.param("store", "*", True, id="all"),
        pytest.param("store", "store:80", False, id="another port"),
        pytest.param("store", "store:443", True, id="the port"),
        pytest.param("::1", "localhost,::1", True, id="an address of version 6"),
        pytest.param("fd00::7", "fd00::/8", True, id="a network of version 6"),
        pytest.param("store", None, False, id="nothing said"),
        pytest.param("store", " , ", False, id="nothing said at length"),
    ],
)
def test_exceptions_from_the_proxy(host: str, no_proxy: str | None, expected: bool) -> None:
    assert goes_directly(host, 443, no_proxy) is expected


def test_a_proxy_is_asked_for_everything_but_the_exceptions(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    """A proxy for http is asked for the whole URL: our double sees it as a path."""
    store_double.answers["http://nowhere.invalid/m"] = [sends(b"by proxy")]
    route = proxied(http=f"http://{store_double.host}", noProxy="127.0.0.1")
    assert fetched(tmp_path, "http://nowhere.invalid/m", route) == b"by proxy"
    store_double.answers["/m"] = [sends(b"directly")]
    assert fetched(tmp_path, store_double.url("/m"), route) == b"directly"


def test_the_spec_is_all_there_is_to_say_about_proxies(
    tmp_path: Path, store_double: StoreDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://nowhere.invalid:1")
    store_double.answers["/m"] = [sends(b"model")]
    assert fetched(tmp_path, store_double.url("/m"), proxied(https="http://p:1")) == b"model"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_asked(
    tmp_path: Path, store_double: StoreDouble, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where the spec names none, and with the same exceptions."""
    monkeypatch.setenv(name, store_double.host)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    store_double.answers["http://nowhere.invalid/m"] = [sends(b"by proxy")]
    assert fetched(tmp_path, "http://nowhere.invalid/m", Route()) == b"by proxy"
    store_double.answers["/m"] = [sends(b"directly")]
    assert fetched(tmp_path, store_double.url("/m"), Route()) == b"directly"


@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/", "http://2852039166/", "http://Metadata.Google.Internal./"]
)
def test_c14_a_proxy_is_not_sent_to_a_metadata_service(
    tmp_path: Path, store_double: StoreDouble, target: str
) -> None:
    """It resolves names in our place: addresses and known names are judged as they are written."""
    store_double.answers["http://nowhere.invalid/m"] = [redirects(target)]
    route = proxied(http=f"http://{store_double.host}")
    with pytest.raises(InvalidConfig, match="metadata services"):
        fetched(tmp_path, "http://nowhere.invalid/m", route)
    assert [path for path, _ in store_double.seen] == ["http://nowhere.invalid/m"]


NAME: Final = "models.invalid"
"""Known to the proxy alone."""
MODEL: Final = b"the bytes of a model" * 99


class Secure(SecureServer):
    """A store that shows a certificate of a private authority."""

    def __init__(self, shown: Certificate) -> None:
        super().__init__("127.0.0.1", shown)
        self.location = ""
        self.asked: list[str] = []

    def answer(self, request: Request) -> None:
        self.asked.append(request.path)
        if self.location:
            request.says(302, Location=self.location)
        else:
            request.sends(MODEL)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def secure(authority: Authority) -> Iterator[Secure]:
    store = Secure(authority.certificate(NAME))
    with served(store):
        yield store


def through(tunnel: Proxy, ca: Path | None, no_proxy: str | None = None) -> Route:
    return Route(ca, ProxyBlock.model_validate({"https": tunnel.url, "noProxy": no_proxy}))


def test_a_proxy_for_https_makes_a_tunnel_and_sees_no_bytes(
    tmp_path: Path, secure: Secure, authority: Authority
) -> None:
    with proxy(secure.address) as tunnel:
        url = f"https://{NAME}/m"
        assert fetched(tmp_path, url, through(tunnel, authority.file)) == MODEL
    assert tunnel.asked == [f"CONNECT {NAME}:443 HTTP/1.1"]
    assert len(tunnel.passed) > len(MODEL)
    assert MODEL[:20] not in tunnel.passed
    assert b"GET /m" not in tunnel.passed


def test_who_answers_behind_a_tunnel_has_to_be_trusted(
    tmp_path: Path, secure: Secure, authority: Authority
) -> None:
    """By the authority, and under the name that was asked for."""
    with proxy(secure.address) as tunnel:
        with pytest.raises(Untrusted, match=f"'https://{NAME}/m' shows a certificate"):
            fetched(tmp_path, f"https://{NAME}/m", through(tunnel, None))
        with pytest.raises(Untrusted, match="Hostname mismatch"):
            fetched(tmp_path, "https://other.invalid/m", through(tunnel, authority.file))
    assert secure.asked == []


@pytest.mark.parametrize("refusal", ["403 Forbidden", "407 Proxy Authentication Required"])
def test_a_proxy_that_refuses_is_told(
    tmp_path: Path, secure: Secure, authority: Authority, refusal: str
) -> None:
    with (
        proxy(secure.address, refusal=refusal) as tunnel,
        pytest.raises(Unavailable, match=f"ProxyError: {refusal}"),
    ):
        fetched(tmp_path, f"https://{NAME}/m", through(tunnel, authority.file))
    assert secure.asked == []


def test_an_exception_for_https_goes_directly(tmp_path: Path, authority: Authority) -> None:
    store = Secure(authority.certificate("127.0.0.1"))
    with served(store), proxy(store.address) as tunnel:
        route = through(tunnel, authority.file, "127.0.0.0/8")
        assert fetched(tmp_path, f"{store.base}/m", route) == MODEL
    assert tunnel.asked == []


def test_c14_a_tunnel_is_not_asked_for_a_metadata_service(
    tmp_path: Path, secure: Secure, authority: Authority
) -> None:
    secure.location = "https://0xa9fea9fe/latest/"
    with (
        proxy(secure.address) as tunnel,
        pytest.raises(InvalidConfig, match="metadata services"),
    ):
        fetched(tmp_path, f"https://{NAME}/m", through(tunnel, authority.file))
    assert tunnel.asked == [f"CONNECT {NAME}:443 HTTP/1.1"]


def test_a_bundle_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("none")
    with pytest.raises(InvalidConfig, match=r"model\.caBundle: no certificates"):
        Route(tmp_path / "ca.crt").trust()


def fetched(folder: Path, url: str, route: Route) -> bytes:
    patience = Patience(attempts=1, read_timeout_s=2)
    with ModelWriter(folder, max_bytes=2**20) as writer, Store(patience, route) as store:
        fetch_http(url, writer, store)
        writer.commit(folder / "model.onnx")
    return (folder / "model.onnx").read_bytes()
