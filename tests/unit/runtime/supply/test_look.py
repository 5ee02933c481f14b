"""Looking whether a source has other bytes: what is fetched for it, and what is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.runtime.processes import runtime, serving_document
from tests.unit.runtime.store import StoreDouble, says, sends
from tests.unit.runtime.supply.test_oci import digest_of, layer, manifest, publish

MODEL, OTHER = os.urandom(50_000), os.urandom(50_000)
SCHEMA = json.loads(Path("tests/contract/termination.schema.json").read_text())


def told(folder: Path, document: object, *arguments: object, code: int = 0) -> dict[str, Any]:
    """The termination message of a look."""
    message = folder / "termination-log"
    message.touch()
    into = folder / "models"
    into.mkdir(exist_ok=True)
    for file in into.iterdir():  # each look has a pod of its own
        file.unlink()
    done = runtime(
        *("fetch", "--look", "--into", into, "--source-dir", folder / "source"),
        *("--termination-message", message),
        *arguments,
        config_json=json.dumps(document),
        fetch_attempts=1,
    )
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(message.read_text())
    jsonschema.validate(found, SCHEMA)
    return found


def look(folder: Path, document: object, known: dict[str, Any] | None = None) -> dict[str, Any]:
    options = [f"--known-{key}={value}" for key, value in (known or {}).items()]
    found: dict[str, Any] = told(folder, document, *options)["look"]
    return found


def test_a_strong_etag_stands_for_the_bytes(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m.onnx"] = [sends(MODEL, ETag='"1"')]
    document = serving_document(store_double.url("/m.onnx"))
    first = look(tmp_path, document)
    assert first["digest"] == digest_of(MODEL)
    asked = len(store_double.seen)
    assert look(tmp_path, document, first) == first
    assert len(store_double.seen) == asked + 1
    assert store_double.seen[-1][1]["range"] == "bytes=0-0"


def test_other_bytes_have_another_digest(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m.onnx"] = [sends(MODEL, ETag='"1"')]
    document = serving_document(store_double.url("/m.onnx"))
    first = look(tmp_path, document)
    store_double.answers["/m.onnx"] = [sends(OTHER, ETag='"2"')]
    second = look(tmp_path, document, first)
    assert second["digest"] == digest_of(OTHER)
    assert second["mark"] != first["mark"]


def test_the_same_bytes_under_another_etag_are_the_same(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    store_double.answers["/m.onnx"] = [sends(MODEL, ETag='"1"')]
    document = serving_document(store_double.url("/m.onnx"))
    first = look(tmp_path, document)
    store_double.answers["/m.onnx"] = [sends(MODEL, ETag='"2"')]
    assert look(tmp_path, document, first)["digest"] == first["digest"]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}], ids=["none", "a weak one"])
def test_without_a_strong_etag_the_bytes_are_looked_at(
    tmp_path: Path, store_double: StoreDouble, headers: dict[str, str]
) -> None:
    store_double.answers["/m.onnx"] = [says(200, MODEL, **headers)]
    document = serving_document(store_double.url("/m.onnx"))
    first = look(tmp_path, document)
    assert first == {"digest": digest_of(MODEL)}
    store_double.answers["/m.onnx"] = [says(200, OTHER, **headers)]
    assert look(tmp_path, document, first) == {"digest": digest_of(OTHER)}


def test_a_tag_is_its_manifest(tmp_path: Path, store_double: StoreDouble) -> None:
    document = serving_document(publish(store_double, manifest(layer(MODEL)), MODEL))
    first = look(tmp_path, document)
    assert first["digest"] == digest_of(MODEL)
    store_double.seen.clear()
    assert look(tmp_path, document, first) == first
    assert [path for path, _ in store_double.seen] == ["/v2/m/d/manifests/1"]
    publish(store_double, manifest(layer(OTHER)), OTHER)
    assert look(tmp_path, document, first)["digest"] == digest_of(OTHER)


def test_what_was_pinned_when_it_was_resolved_is_known_from_the_first_look(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    """Neither the pin nor a digest is what is asked for: the tag is."""
    text = manifest(layer(MODEL))
    uri = publish(store_double, text, MODEL)
    pinned = serving_document(uri, source=f"oci://{store_double.host}/m/d@{digest_of(text)}")
    known = {"digest": digest_of(MODEL)}
    assert look(tmp_path, pinned, known)["digest"] == digest_of(MODEL)
    assert [path for path, _ in store_double.seen] == ["/v2/m/d/manifests/1"]
    publish(store_double, manifest(layer(OTHER)), OTHER)
    assert look(tmp_path, pinned, known)["digest"] == digest_of(OTHER)


def test_a_configmap_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "m.onnx").write_bytes(MODEL)
    document = serving_document("configmap://m/m.onnx")
    assert look(tmp_path, document) == {"digest": digest_of(MODEL)}


def test_what_is_no_model_is_looked_at_too(tmp_path: Path) -> None:
    """To judge it is the business of the revision that comes of it."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "m.onnx").write_bytes(b"no model")
    document = serving_document("configmap://m/m.onnx")
    assert look(tmp_path, document) == {"digest": digest_of(b"no model")}


def test_a_store_that_refuses_is_told(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m.onnx"] = [says(404)]
    document = serving_document(store_double.url("/m.onnx"))
    assert told(tmp_path, document, code=10)["failure"]["reason"] == "NotFound"
    store_double.answers["/m.onnx"] = [says(503)]
    assert told(tmp_path, document, code=11)["failure"]["reason"] == "Unavailable"
