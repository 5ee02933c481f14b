"""Model URIs: taken apart, refused, shown without secrets."""

import pytest

from slipway_runtime.errors import InvalidConfig, Unsupported
from slipway_runtime.supply.uri import (
    LAPTOP_SCHEMES,
    OCIReference,
    configmap_key,
    hub_uri,
    oci_reference,
    redacted,
    scheme_of,
)

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize("uri", ["azure://b/k", "file:///m", "m"])
def test_other_schemes_are_refused_with_those_that_work(uri: str) -> None:
    expected = f"model.uri: got '{uri}', expected one of https://, http://, s3://, gs://"
    with pytest.raises(Unsupported, match=expected):
        scheme_of(uri)


def test_a_laptop_may_also_use_files() -> None:
    assert scheme_of("file:///m.onnx", served=LAPTOP_SCHEMES) == "file"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        pytest.param(
            "oci://r.example.com/models/digits:2",
            OCIReference("r.example.com", "models/digits", "2", None),
            id="a tag",
        ),
        pytest.param(
            "oci://localhost:5000/digits",
            OCIReference("localhost:5000", "digits", "latest", None),
            id="a port and no tag",
        ),
        pytest.param(
            f"oci://r/a/b:t@{DIGEST}", OCIReference("r", "a/b", "t", DIGEST), id="tag and digest"
        ),
        pytest.param(
            f"oci://[::1]:5000/a@{DIGEST}",
            OCIReference("[::1]:5000", "a", "latest", DIGEST),
            id="IPv6",
        ),
    ],
)
def test_oci_references_are_taken_apart(uri: str, expected: OCIReference) -> None:
    assert oci_reference(uri) == expected


@pytest.mark.parametrize(
    "uri",
    [
        "oci://host",
        "oci:///repo",
        "oci://h/UPPER",
        "oci://h/../x",
        "oci://h/a@sha256:1",
        "oci://u:p@h/a",
    ],
)
def test_what_is_no_oci_reference_is_refused(uri: str) -> None:
    with pytest.raises(InvalidConfig, match="expected oci://HOST/REPO"):
        oci_reference(uri)


@pytest.mark.parametrize(
    "uri", ["configmap://m", "configmap://m/../k", "configmap:///k", "configmap://m/a/b"]
)
def test_what_is_no_configmap_key_is_refused(uri: str) -> None:
    with pytest.raises(InvalidConfig, match="expected configmap://NAME/KEY"):
        configmap_key(uri)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param("https://u:p@h:1/a?X-Amz-Signature=s#f", "https://h:1/a", id="everything"),
        pytest.param(f"oci://h/a:t@{DIGEST}", f"oci://h/a:t@{DIGEST}", id="a digest stays"),
        pytest.param("https://u:p@[broken/a?s=1", "https://…", id="a URL that is none"),
    ],
)
def test_secrets_are_taken_out_of_urls(url: str, expected: str) -> None:
    assert redacted(url) == expected


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("hf://digits/model.onnx", id="no repository"),
        pytest.param("hf://team/digits", id="no path"),
        pytest.param("hf://team/digits@/model.onnx", id="an empty revision"),
        pytest.param("hf://team/digits@a@b/model.onnx", id="two revisions"),
        pytest.param("hf://../digits/model.onnx", id="a step up"),
        pytest.param("hf://team/digits/a/%2e%2e/model.onnx", id="a step up in disguise"),
        pytest.param("hf://team/digits/model.onnx?download=true", id="a query"),
    ],
)
def test_what_is_no_file_of_a_hub_is_refused(uri: str) -> None:
    with pytest.raises(InvalidConfig, match="expected hf://ORG/REPO"):
        hub_uri(uri)
