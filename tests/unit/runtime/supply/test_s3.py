"""Addresses and signatures of S3: the signatures are those of AWS's own examples."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from slipway_runtime.errors import AccessDenied, InvalidConfig
from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.retry import Patience
from slipway_runtime.supply.s3 import S3Place, SignedRequests, s3_source
from slipway_runtime.supply.uri import ObjectURI, object_uri
from tests.unit.runtime.store import StoreDouble, redirects, says, sends

KEY = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            "?lifecycle",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            id="GET Bucket Lifecycle",
        ),
        pytest.param(
            "?max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            id="Get Bucket (List Objects)",
        ),
    ],
)
def test_signatures_are_those_of_the_manual(query: str, expected: str) -> None:
    """Source: Amazon S3 API Reference, "Examples: Signature Calculations"."""
    moment = datetime(2013, 5, 24, tzinfo=UTC)
    identity = SignedRequests(Credentials("aws", KEY), "us-east-1", now=lambda: moment)
    headers = identity.headers(f"https://examplebucket.s3.amazonaws.com/{query}")
    assert headers["authorization"].rpartition("Signature=")[2] == expected


@pytest.mark.parametrize(
    ("place", "bucket", "expected"),
    [
        pytest.param(S3Place(), "m", "https://m.s3.us-east-1.amazonaws.com/a/b", id="AWS"),
        pytest.param(
            S3Place(region="eu-west-1"),
            "m.v1",
            "https://s3.eu-west-1.amazonaws.com/m.v1/a/b",
            id="dots that no certificate covers",
        ),
        pytest.param(S3Place("https://s:9000/"), "m", "https://s:9000/m/a/b", id="compatible"),
        pytest.param(
            S3Place("https://s.example", addressing="VirtualHosted"),
            "m",
            "https://m.s.example/a/b",
            id="compatible, by host name",
        ),
    ],
)
def test_objects_are_addressed(place: S3Place, bucket: str, expected: str) -> None:
    assert place.url(bucket, "a/b") == expected


def test_the_secret_wins_over_the_settings() -> None:
    said = Credentials("s", {"AWS_ENDPOINT_URL": "https://one", "AWS_REGION": "eu-north-1"})
    assert S3Place("https://other", "us-east-1").given(said) == S3Place("https://one", "eu-north-1")


@pytest.mark.parametrize("endpoint", ["minio:9000", "ftp://s", "https://me:pw@s", "https://"])
def test_what_is_no_endpoint_is_refused_without_being_told(endpoint: str) -> None:
    with pytest.raises(InvalidConfig, match="no address of a store") as caught:
        S3Place(endpoint).url("m", "k")
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("key", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidConfig, match="expected AWS_ACCESS_KEY_ID with"):
        s3_source(ObjectURI("m", "k"), Credentials("s", {key: "x"}), S3Place())


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("s3://models", id="no key"),
        pytest.param("s3:///key", id="no bucket"),
        pytest.param("s3://models/../other/key", id="C23 a step up"),
        pytest.param("s3://models/a/%2e%2e/key", id="C23 a step up in disguise"),
        pytest.param("s3://models/key?versionId=1", id="a query"),
        pytest.param("s3://me:pw@models/key", id="a password"),
    ],
)
def test_what_names_no_object_is_refused(uri: str) -> None:
    with pytest.raises(InvalidConfig, match=r"expected s3://BUCKET/KEY"):
        object_uri(uri)


def fetched(folder: Path, store_double: StoreDouble, **values: str) -> bytes:
    secret = Credentials("s", {**KEY, "AWS_ENDPOINT_URL": store_double.url(""), **values})
    patience = Patience(attempts=2, read_timeout_s=2, sleep=lambda _: None)
    with ModelWriter(folder, max_bytes=2**20) as writer, Store(patience) as store:
        url, identity = s3_source(ObjectURI("m", "k"), secret, S3Place())
        fetch_http(url, writer, store, identity=identity)
        writer.commit(folder / "model.onnx")
    return (folder / "model.onnx").read_bytes()


def test_c23_a_wrong_region_is_put_right_by_the_store(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    """AWS answers 301 without a place to go to, and names the bucket's region in a header."""
    store_double.answers["/m/k"] = [says(301, x_amz_bucket_region="eu-west-3"), sends(b"model")]
    assert fetched(tmp_path, store_double) == b"model"
    assert "/eu-west-3/s3/aws4_request" in store_double.headers_of("/m/k")[1]["authorization"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param("RequestTimeTooSkewed", "the clock of the node is wrong", id="C23 clock"),
        pytest.param("AccessDenied", "denied", id="C23 requester pays, KMS"),
        pytest.param("<b>" * 5000, "answers 403 Forbidden; check the credentials", id="nonsense"),
    ],
)
def test_c23_a_refusal_is_told_in_the_stores_words(
    tmp_path: Path, store_double: StoreDouble, code: str, expected: str
) -> None:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    store_double.answers["/m/k"] = [says(403, body)]
    with pytest.raises(AccessDenied, match=expected):
        fetched(tmp_path, store_double)


def test_no_signature_and_no_session_leaves_for_a_second_host(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    other = store_double.url("/elsewhere").replace("127.0.0.1", "localhost")
    store_double.answers |= {"/m/k": [redirects(other, 307)], "/elsewhere": [sends(b"model")]}
    assert fetched(tmp_path, store_double, AWS_SESSION_TOKEN="s3ssion") == b"model"
    assert "x-amz-security-token" in store_double.headers_of("/m/k")[0]
    (seen,) = store_double.headers_of("/elsewhere")
    assert not {"authorization", "x-amz-security-token", "x-amz-date"} & seen.keys()
