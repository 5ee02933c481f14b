"""serving.json: what is read, and how what is wrong is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from slipway_runtime.config import ServingConfig, load_config, parse_config, read_config
from slipway_runtime.errors import ConfigError
from tests.unit.runtime.processes import serving_document


def with_serving(**serving: Any) -> dict[str, Any]:
    return serving_document(serving=serving)


def test_defaults_are_those_of_the_annotated_resource() -> None:
    config = parse_config(serving_document())
    assert config.model.format == "Auto"
    assert config.serving.request_timeout_s == 30.0
    assert config.serving.json_limit_bytes == 8 * 2**20
    assert config.serving.max_request_bytes == "64Mi"
    assert config.serving.thread_count is None
    assert config.serving.queue.max_length == 1024
    assert config.serving.warmup.requests == 3
    assert config.serving.batching.model_dump(by_alias=True) == {
        "mode": "Auto",
        "maxBatchSize": 32,
        "maxDelay": "0s",
    }


def test_every_value_of_the_resource_is_read() -> None:
    config = parse_config(
        serving_document(
            digest="sha256:" + "a" * 64,
            model={
                "uri": "configmap://m/k",
                "digest": "sha256:" + "a" * 64,
                "format": "ONNX",
                "version": "2026-11-20",
            },
            serving={
                "requestTimeout": "250ms",
                "maxRequestBytes": "1Gi",
                "maxJSONBytes": 4096,
                "threads": "4",
                "queue": {"maxLength": 2},
                "warmup": {"requests": 0},
            },
        )
    )
    assert config.serving.request_timeout_s == 0.25
    assert config.serving.json_limit_bytes == 4096
    assert config.serving.thread_count == 4
    assert (config.serving.queue.max_length, config.serving.warmup.requests) == (2, 0)
    assert (config.model.format, config.model.version) == ("ONNX", "2026-11-20")


def test_a_json_body_may_not_be_larger_than_any_body() -> None:
    limits = with_serving(maxRequestBytes="1Mi", maxJSONBytes="8Mi")
    assert parse_config(limits).serving.json_limit_bytes == 2**20


@pytest.mark.parametrize(
    ("threads", "expected"),
    [
        pytest.param("Auto", None, id="Auto"),
        pytest.param(1, 1, id="an integer"),
        pytest.param("256", 256, id="a string"),
    ],
)
def test_threads_are_a_number_or_auto(threads: str | int, expected: int | None) -> None:
    assert parse_config(with_serving(threads=threads)).serving.thread_count == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param(
            with_serving(batch={"mode": "Auto"}),
            "serving.batch: unknown key, expected one of protocols, requestTimeout, "
            "maxRequestBytes, maxJSONBytes, threads, executionProvider, batching, queue, warmup",
            id="an unknown key names the allowed ones",
        ),
        pytest.param(
            with_serving(queue={"length": 1}),
            "serving.queue.length: unknown key, expected one of maxLength",
            id="deep inside too",
        ),
        pytest.param(
            serving_document(model={"uri": "oci://a/b", "poll": {"every": "5m"}}),
            "model.poll: unknown key, expected one of uri, digest, format, allowPickle, inputs, "
            "version, samples, credentials, caBundle, proxy, cache, verify, optimization",
            id="a field of a later release",
        ),
        pytest.param(
            {**serving_document(), "revision_number": 7},
            "revision_number: unknown key, expected one of name, namespace, revision, "
            "revisionNumber, digest, source, sourceDigest, labelsDigest, model, pipeline, serving",
            id="Python's spelling is none of ours",
        ),
        pytest.param(
            {key: value for key, value in serving_document().items() if key != "revision"},
            "revision: missing, it is required",
            id="a missing key",
        ),
        pytest.param(
            with_serving(batching={"maxDelay": "1001ms"}),
            "serving.batching.maxDelay: got '1001ms', expected a duration from 0s to 1s",
            id="a delay that is too long",
        ),
        pytest.param(
            with_serving(threads=300),
            "serving.threads: got 300, expected 'Auto' or a number from 1 to 256",
            id="too many threads",
        ),
        pytest.param(
            with_serving(threads=True),
            "serving.threads: got True, expected 'Auto' or a number from 1 to 256",
            id="a boolean is no number",
        ),
        pytest.param(
            with_serving(requestTimeout="0s"),
            "serving.requestTimeout: got '0s', expected a duration above 0s and up to 24h",
            id="no time at all",
        ),
        pytest.param(
            with_serving(requestTimeout="30"),
            "serving.requestTimeout: got '30', expected a duration such as '30s', '250ms' or "
            "'1h30m'",
            id="a duration without its unit",
        ),
        pytest.param(
            with_serving(maxJSONBytes="4Gi"),
            "serving.maxJSONBytes: got '4Gi', expected a size from 1 byte to below 2Gi",
            id="a body that no wire can carry",
        ),
        pytest.param(
            [],
            "document: got [], input should be a valid dictionary or instance of ServingConfig",
            id="no object",
        ),
    ],
)
def test_what_breaks_the_contract_is_refused_by_name(document: object, expected: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_config(document)
    assert str(refusal.value) == expected


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"revision": "abc"}, "revision", id="a revision is ten hex digits"),
        pytest.param({"revisionNumber": 0}, "revisionNumber", id="revisions count from 1"),
        pytest.param({"digest": "sha256:1"}, "digest", id="a digest is whole"),
        pytest.param({"name": "A/b"}, "name", id="a name is a DNS label"),
        pytest.param(
            {"model": {"uri": "oci://a/b", "version": "1\n2"}},
            "model.version",
            id="a label is a header",
        ),
    ],
)
def test_values_out_of_their_form_are_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: got "):
        parse_config(serving_document(**changes))


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_config(serving_document()).name = "other"  # type: ignore[misc]  # what is tested


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    path.write_text(json.dumps(serving_document()))
    assert load_config(path) == ServingConfig.model_validate(serving_document())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        load_config(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_what_is_no_json_is_said_so(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^X: no valid JSON"):
        read_config(text, source="X")
