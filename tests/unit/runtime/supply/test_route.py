"""Proxies and certificates on the way to a store."""

from pathlib import Path

import pytest

from slipway_runtime.config import ProxyBlock
from slipway_runtime.errors import InvalidConfig
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.retry import Patience
from slipway_runtime.supply.route import Route, goes_directly
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
