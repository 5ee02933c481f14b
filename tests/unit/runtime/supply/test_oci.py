"""Artifacts of a double that speaks the distribution API, the wrong ones too."""

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from slipway_runtime.errors import (
    AccessDenied,
    DigestMismatch,
    InvalidConfig,
    NotFound,
    SupplyError,
    Unavailable,
    Unsupported,
)
from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.oci import fetch_oci, registry_login
from slipway_runtime.supply.retry import Patience
from tests.unit.runtime.store import Answer, StoreDouble, cuts, redirects, says, sends

MODEL = os.urandom(100_000)
TITLE = "org.opencontainers.image.title"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def layer(
    content: bytes = MODEL, title: str | None = None, media_type: str = "application/octet-stream"
) -> dict[str, Any]:
    found = {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
    return {**found, "annotations": {TITLE: title}} if title else found


def manifest(*layers: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": layers}).encode()


def index(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


def publish(store: StoreDouble, document: bytes, *blobs: bytes, tag: str = "1") -> str:
    """Put an artifact into the double, and return its URI."""
    kind = json.loads(document)["mediaType"]
    for reference in (tag, digest_of(document)):
        store.answers[f"/v2/m/d/manifests/{reference}"] = [says(200, document, Content_Type=kind)]
    for blob in blobs:
        store.answers[f"/v2/m/d/blobs/{digest_of(blob)}"] = [sends(blob)]
    return f"oci://{store.host}/m/d:{tag}"


def fetched(folder: Path, uri: str, *, attempts: int = 2) -> bytes:
    patience = Patience(attempts=attempts, read_timeout_s=2, sleep=lambda _: None)
    with ModelWriter(folder, max_bytes=2**20) as writer, Store(patience) as store:
        fetch_oci(uri, writer, store, insecure=())
        writer.commit(folder / "model.onnx")
    return (folder / "model.onnx").read_bytes()


def refused(kind: type[SupplyError], folder: Path, uri: str, *, attempts: int = 2) -> str:
    with pytest.raises(kind) as caught:
        fetched(folder, uri, attempts=attempts)
    return str(caught.value)


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param([layer()], id="a single layer"),
        pytest.param([layer(title="model.bin")], id="a single layer of any name"),
        pytest.param(
            [layer(b"x", "README.md"), layer(title="digits.onnx")], id="the one titled .onnx"
        ),
        pytest.param(
            [layer(title="m.onnx", media_type="application/vnd.oci.image.layer.v1.tar")],
            id="oras's default media type",
        ),
    ],
)
def test_the_models_layer_is_fetched(
    tmp_path: Path, store_double: StoreDouble, layers: list[dict[str, Any]]
) -> None:
    assert fetched(tmp_path, publish(store_double, manifest(*layers), MODEL)) == MODEL


def test_a_digest_in_the_uri_is_what_is_asked_for(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    document = manifest(layer())
    uri = publish(store_double, document, MODEL)
    assert fetched(tmp_path, f"{uri}@{digest_of(document)}") == MODEL
    assert store_double.seen[0][0] == f"/v2/m/d/manifests/{digest_of(document)}"


def test_an_index_leads_to_this_machines_manifest(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    document = manifest(layer())
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    publish(store_double, document, MODEL, tag="x")
    entries = [
        {"digest": digest_of(b"none"), "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": digest_of(document), "platform": {"os": "linux", "architecture": here}},
    ]
    assert fetched(tmp_path, publish(store_double, index(*entries))) == MODEL
    assert fetched(tmp_path, publish(store_double, index({"digest": digest_of(document)}))) == MODEL


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(manifest(), "the artifact has no layers", id="no layer"),
        pytest.param(
            manifest(layer(), layer(b"y")), "expected a single layer or one titled", id="two"
        ),
        pytest.param(
            manifest(layer(title="a.onnx"), layer(b"y", "b.onnx")),
            "the artifact has 'a.onnx', 'b.onnx', expected",
            id="two models",
        ),
        pytest.param(
            manifest(layer(media_type="application/vnd.oci.image.layer.v1.tar+gzip")),
            "expected the model file itself",
            id="an archive",
        ),
        pytest.param(manifest({"digest": "md5:1"}), "digest is 'md5:1', expected sha256", id="md5"),
        pytest.param(manifest({"digest": "../../x"}), "expected sha256", id="a path as digest"),
        pytest.param(index(), "the index has 0 manifests", id="an empty index"),
        pytest.param(
            manifest({**layer(), "size": 2**40}),
            "has 1Ti or more, expected at most 1Mi",
            id="too large",
        ),
    ],
)
def test_what_is_no_model_artifact_is_refused(
    tmp_path: Path, store_double: StoreDouble, document: bytes, expected: str
) -> None:
    assert expected in refused(Unsupported, tmp_path, publish(store_double, document, MODEL))


def test_an_index_of_indexes_ends(tmp_path: Path, store_double: StoreDouble) -> None:
    inner = index({"digest": digest_of(b"x")})
    publish(store_double, inner, tag="x")
    uri = publish(store_double, index({"digest": digest_of(inner)}))
    assert "an index of indexes" in refused(Unsupported, tmp_path, uri)


def test_other_bytes_than_the_layers_are_refused(tmp_path: Path, store_double: StoreDouble) -> None:
    uri = publish(store_double, manifest(layer()))
    store_double.answers[f"/v2/m/d/blobs/{digest_of(MODEL)}"] = [
        sends(MODEL[:-1] + bytes([MODEL[-1] ^ 1]))
    ]
    assert "model.uri: layer: got sha256:" in refused(DigestMismatch, tmp_path, uri)


def test_another_manifest_than_the_digests_is_refused(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    wanted = digest_of(b"another")
    publish(store_double, manifest(layer()), MODEL)
    store_double.answers[f"/v2/m/d/manifests/{wanted}"] = store_double.answers[
        "/v2/m/d/manifests/1"
    ]
    uri = f"oci://{store_double.host}/m/d@{wanted}"
    assert "model.uri: manifest: got sha256:" in refused(DigestMismatch, tmp_path, uri)


def test_a_tag_that_is_not_there_is_not_found(tmp_path: Path, store_double: StoreDouble) -> None:
    assert "answers 404" in refused(NotFound, tmp_path, f"oci://{store_double.host}/m/d:9")


def test_a_registry_that_talks_nonsense_may_pass(tmp_path: Path, store_double: StoreDouble) -> None:
    uri = publish(store_double, manifest(layer()))
    store_double.answers["/v2/m/d/manifests/1"] = [says(200, b"<html>")]
    with pytest.raises((Unavailable, Unsupported)):
        fetched(tmp_path, uri)


def test_a_manifest_that_never_ends_is_refused(tmp_path: Path, store_double: StoreDouble) -> None:
    uri = publish(store_double, manifest(layer()))
    store_double.answers["/v2/m/d/manifests/1"] = [says(200, bytes(5 * 2**20))]
    assert "a document of the store is above" in refused(Unsupported, tmp_path, uri)


def guarded(store: StoreDouble, path: str, then: Answer) -> Answer:
    """Answer only who has the token."""

    def answer(request: Any) -> None:
        if request.headers.get("Authorization") == "Bearer t0ken":
            return then(request)
        realm = f'Bearer realm="{store.url("/token")}",service="s",scope="repository:m/d:pull"'
        return says(401, WWW_Authenticate=realm)(request)

    return answer


def guard_all(store: StoreDouble) -> None:
    for path, answers in list(store.answers.items()):
        store.answers[path] = [guarded(store, path, each) for each in answers]
    store.answers["/token"] = [says(200, b'{"token": "t0ken"}')]


def test_an_anonymous_token_is_got_where_one_is_wanted(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    uri = publish(store_double, manifest(layer()), MODEL)
    guard_all(store_double)
    assert fetched(tmp_path, uri) == MODEL
    assert "/token?service=s&scope=repository%3Am%2Fd%3Apull" in [
        path for path, _ in store_double.seen
    ]


def test_a_cut_layer_goes_on_by_its_digest_alone(tmp_path: Path, store_double: StoreDouble) -> None:
    """The registry has neither tag nor date; the digest will tell whether the parts fit."""
    uri, blob = publish(store_double, manifest(layer())), f"/v2/m/d/blobs/{digest_of(MODEL)}"
    store_double.answers[blob] = [cuts(MODEL, 50_000), sends(MODEL)]
    assert fetched(tmp_path, uri) == MODEL
    first, second = store_double.headers_of(blob)
    assert "range" not in first
    assert 0 < int(second["range"].removeprefix("bytes=").rstrip("-")) <= 50_000
    assert "if-range" not in second


def test_parts_of_a_layer_that_do_not_fit_are_fetched_whole(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    uri, blob = publish(store_double, manifest(layer())), f"/v2/m/d/blobs/{digest_of(MODEL)}"
    other = os.urandom(len(MODEL))
    store_double.answers[blob] = [cuts(MODEL, 50_000), sends(other), sends(MODEL)]
    assert fetched(tmp_path, uri, attempts=3) == MODEL
    assert ["range" in headers for headers in store_double.headers_of(blob)] == [False, True, False]


def test_a_registry_whose_parts_never_fit_is_given_up(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    """However much of them comes: they are asked for once."""
    uri, blob = publish(store_double, manifest(layer())), f"/v2/m/d/blobs/{digest_of(MODEL)}"
    other = os.urandom(len(MODEL))
    store_double.answers[blob] = [cuts(MODEL, 50_000), sends(other), cuts(MODEL, 50_000)]
    assert "3 times in a row" in refused(Unavailable, tmp_path, uri, attempts=3)
    assert len(store_double.headers_of(blob)) == 3


def test_a_cut_layer_goes_on_with_the_same_token(tmp_path: Path, store_double: StoreDouble) -> None:
    uri = publish(store_double, manifest(layer()))
    blob = f"/v2/m/d/blobs/{digest_of(MODEL)}"
    store_double.answers[blob] = [cuts(MODEL, 50_000, ETag='"1"'), sends(MODEL, ETag='"1"')]
    guard_all(store_double)
    assert fetched(tmp_path, uri) == MODEL
    assert store_double.headers_of(blob)[-1]["range"].startswith("bytes=")


def test_the_token_stays_with_the_registry(tmp_path: Path, store_double: StoreDouble) -> None:
    uri = publish(store_double, manifest(layer()))
    blob = f"/v2/m/d/blobs/{digest_of(MODEL)}"
    store_double.answers[blob] = [
        redirects(store_double.url("/cdn").replace("127.0.0.1", "localhost"), 307)
    ]
    guard_all(store_double)
    store_double.answers["/cdn"] = [sends(MODEL)]
    assert fetched(tmp_path, uri) == MODEL
    assert "authorization" not in store_double.headers_of("/cdn")[0]


@pytest.mark.parametrize(
    "challenge",
    [
        pytest.param('Basic realm="r"', id="basic"),
        pytest.param('Bearer realm="ftp://x/token"', id="a realm in another scheme"),
        pytest.param("", id="no challenge"),
    ],
)
def test_a_registry_that_wants_credentials_is_refused(
    tmp_path: Path, store_double: StoreDouble, challenge: str
) -> None:
    uri = publish(store_double, manifest(layer()))
    store_double.answers["/v2/m/d/manifests/1"] = [says(401, WWW_Authenticate=challenge)]
    assert "wants credentials" in refused(AccessDenied, tmp_path, uri)


def test_a_token_that_does_not_help_is_a_refusal(tmp_path: Path, store_double: StoreDouble) -> None:
    uri = publish(store_double, manifest(layer()), MODEL)
    guard_all(store_double)
    store_double.answers["/token"] = [says(200, b'{"token": "wrong"}')]
    assert "answers 401" in refused(AccessDenied, tmp_path, uri)


def test_other_hosts_are_spoken_to_in_https_only(tmp_path: Path, store_double: StoreDouble) -> None:
    port = store_double.server_address[1]
    patience = Patience(attempts=1)
    with ModelWriter(tmp_path, max_bytes=2**20) as writer, Store(patience) as store:
        with pytest.raises(Unavailable, match=r"https://127\.0\.0\.2"):
            fetch_oci(f"oci://127.0.0.2:{port}/m/d", writer, store, insecure=())
        assert store_double.seen == []
        with pytest.raises((Unavailable, InvalidConfig, NotFound), match=r"http://127\.0\.0\.2"):
            fetch_oci(f"oci://127.0.0.2:{port}/m/d", writer, store, insecure=(f"127.0.0.2:{port}",))


LOGIN = Credentials("login", {"username": "me", "password": "s3cret"})


def fetched_as(folder: Path, uri: str, credentials: Credentials, *token_hosts: str) -> bytes:
    patience = Patience(attempts=2, read_timeout_s=2, sleep=lambda _: None)
    with ModelWriter(folder, max_bytes=2**20) as writer, Store(patience) as store:
        fetch_oci(uri, writer, store, insecure=(), credentials=credentials, token_hosts=token_hosts)
        writer.commit(folder / "model.onnx")
    return (folder / "model.onnx").read_bytes()


def test_credentials_are_shown_to_the_registrys_token_service(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    uri = publish(store_double, manifest(layer()), MODEL)
    guard_all(store_double)
    assert fetched_as(tmp_path, uri, LOGIN) == MODEL
    assert store_double.headers_of("/token")[0]["authorization"] == "Basic bWU6czNjcmV0"
    blob = store_double.headers_of(f"/v2/m/d/blobs/{digest_of(MODEL)}")[0]
    assert blob["authorization"] == "Bearer t0ken"


def test_c24_credentials_are_not_shown_to_another_host(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    uri = publish(store_double, manifest(layer()), MODEL)
    other = store_double.url("/token").replace("127.0.0.1", "localhost")
    challenge = says(401, WWW_Authenticate=f'Bearer realm="{other}"')
    store_double.answers["/v2/m/d/manifests/1"] = [challenge]
    store_double.answers["/token"] = [says(200, b'{"token": "t0ken"}')]
    with pytest.raises(AccessDenied, match="SLIPWAY_RUNTIME_TOKEN_HOSTS=localhost"):
        fetched_as(tmp_path, uri, LOGIN)
    assert store_double.headers_of("/token") == []


def test_c24_unless_the_settings_say_so(tmp_path: Path, store_double: StoreDouble) -> None:
    uri = publish(store_double, manifest(layer()), MODEL)
    other = store_double.url("/token").replace("127.0.0.1", "localhost")
    challenge = says(401, WWW_Authenticate=f'Bearer realm="{other}"')
    answers = store_double.answers["/v2/m/d/manifests/1"]
    store_double.answers["/v2/m/d/manifests/1"] = [challenge, *answers]
    store_double.answers["/token"] = [says(200, b'{"token": "t0ken"}')]
    assert fetched_as(tmp_path, uri, LOGIN, "localhost") == MODEL


@pytest.mark.parametrize(
    "config",
    [
        pytest.param('{"auths": {"r.test": {"auth": "bWU6czNjcmV0"}}}', id="one word"),
        pytest.param(
            '{"auths": {"https://R.test/v1/": {"username": "me", "password": "s3cret"}}}',
            id="two words, and the name as a URL",
        ),
    ],
)
def test_dockers_own_file_is_read(config: str) -> None:
    credentials = Credentials("login", {".dockerconfigjson": config})
    assert registry_login(credentials, "r.test") == ("me", "s3cret")


@pytest.mark.parametrize(
    "config",
    ["", "[]", '{"auths": {}}', '{"auths": {"r.test": {"auth": "s3cret"}}}', '{"auths": "s3cret"}'],
)
def test_a_file_without_the_registry_is_refused_without_being_told(config: str) -> None:
    credentials = Credentials("login", {".dockerconfigjson": config})
    with pytest.raises(InvalidConfig, match="Secret 'login'") as caught:
        registry_login(credentials, "r.test")
    assert "s3cret" not in str(caught.value)
