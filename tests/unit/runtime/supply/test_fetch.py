"""The supply step as pods run it: exit codes, messages, files."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from onnx import helper

from slipway_runtime.supply.digest import file_digest
from tests.unit.runtime import models
from tests.unit.runtime.processes import environment, process, runtime, serving_document
from tests.unit.runtime.store import StoreDouble, hangs, says, sends

SCHEMA = json.loads(Path("tests/contract/termination.schema.json").read_text())


class Step:
    """One run of the verb `fetch`."""

    def __init__(
        self, folder: Path, document: object, *arguments: object, **settings: object
    ) -> None:
        self.into = folder / "models"
        folder.mkdir(exist_ok=True)
        message = folder / "termination-log"
        message.touch()
        self.done = runtime(
            "fetch",
            *("--into", self.into, "--source-dir", folder / "source"),
            *("--termination-message", message),
            *arguments,
            config_json=json.dumps(document),
            **settings,
        )
        self.text = message.read_text()
        self.message: dict[str, Any] = json.loads(self.text)
        jsonschema.validate(self.message, SCHEMA)
        assert len(self.text.encode()) <= 4096

    @property
    def failure(self) -> tuple[int, str, bool]:
        failure = self.message["failure"]
        return self.done.returncode, failure["reason"], failure["terminal"]

    @property
    def why(self) -> str:
        return str(self.message["failure"]["message"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A mounted ConfigMap, with the links that the kubelet makes."""
    data = tmp_path / "source" / "..2026"
    data.mkdir(parents=True)
    models.saved(models.affine(), data / "digits.onnx")
    (data.parent / "..data").symlink_to("..2026")
    (data.parent / "digits.onnx").symlink_to("..data/digits.onnx")
    return data / "digits.onnx"


def test_a_resolving_job_reports_what_it_found(tmp_path: Path, source: Path) -> None:
    step = Step(tmp_path, serving_document("configmap://m/digits.onnx"), "--resolve")
    digest = file_digest(source)
    expected = {
        "digest": digest,
        "format": "ONNX",
        "sizeBytes": source.stat().st_size,
        "signature": {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
        },
        "framework": "tests",
    }
    assert (step.done.returncode, step.message) == (0, {"result": expected})
    assert json.loads((step.into / "model.json").read_text()) == {
        "uri": "configmap://m/digits.onnx",
        **expected,
    }
    assert (step.into / "model.onnx").read_bytes() == source.read_bytes()


def test_a_pod_fetches_by_digest_and_believes_nothing(tmp_path: Path, source: Path) -> None:
    document = serving_document("configmap://m/digits.onnx", digest=file_digest(source))
    step = Step(tmp_path, document)
    assert step.message == {
        "result": {
            "digest": file_digest(source),
            "format": "ONNX",
            "sizeBytes": source.stat().st_size,
        }
    }
    again = Step(tmp_path, document)
    assert "model is already there" in again.done.stderr
    (step.into / "model.onnx").write_bytes(b"tampered")
    repaired = Step(tmp_path, document)
    assert repaired.done.returncode == 0
    assert file_digest(repaired.into / "model.onnx") == file_digest(source)


def test_a_configuration_file_does_as_well(tmp_path: Path, source: Path) -> None:
    config = tmp_path / "serving.json"
    config.write_text(json.dumps(serving_document("configmap://m/digits.onnx")))
    assert Step(tmp_path, {}, "--config", config).done.returncode == 0


@pytest.mark.parametrize("where", ["digest", "model"])
@pytest.mark.parametrize(
    "place",
    ["configmap://m/digits.onnx", "pvc://m/v1/digits.onnx", "pvc://m/v1/", "pvc://m/v1.tar",
     "file://FOLDER/v1/digits.onnx", "file://FOLDER/v1/", "file://FOLDER/v1.tar"],
)  # fmt: skip
def test_other_bytes_than_promised_are_refused(
    tmp_path: Path, source: Path, where: str, place: str
) -> None:
    """Wherever they lie: as a file, in a folder, or in an archive."""
    folder = tmp_path / "source"
    models.saved(models.affine(), models.with_data(folder / "v1").with_name("digits.onnx"))
    (folder / "v1" / "model.onnx").unlink()
    subprocess.run(["tar", "-C", folder / "v1", "-cf", folder / "v1.tar", "."], check=True)
    document = serving_document(place.replace("FOLDER", str(folder)))
    right = Step(tmp_path, document, "--allow-file")
    assert right.done.returncode == 0, right.why
    found = right.message["result"]["digest"]
    shutil.rmtree(right.into)
    wrong = "sha256:" + "0" * 64
    if where == "digest":
        document["digest"] = wrong
    else:
        document["model"]["digest"] = wrong
    step = Step(tmp_path, document, "--allow-file")
    assert step.failure == (10, "DigestMismatch", True)
    field = "digest" if where == "digest" else "model.digest"
    assert step.why.startswith(f"{field}: got {found}, expected {wrong}; ")
    assert list(step.into.iterdir()) == []


def test_a_failure_leaves_no_word_about_another_model(tmp_path: Path, source: Path) -> None:
    Step(tmp_path, serving_document("configmap://m/digits.onnx"))
    (source.parent / "bad").write_bytes(b"bad")
    (tmp_path / "source" / "bad").symlink_to("..data/bad")
    step = Step(tmp_path, serving_document("configmap://m/bad"), "--resolve")
    assert step.failure == (10, "InvalidModel", True)
    assert not (step.into / "model.json").exists()


LABELS = {
    "postprocess": [{"labels": {"configMap": {"name": "classes", "key": "labels.txt"}}}],
}


def labelled(folder: Path, labels: str, *arguments: object, **more: Any) -> Step:
    """A run of the step with labels as they are mounted."""
    file = folder / "labels" / "classes" / "labels.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(labels)
    document = serving_document("configmap://m/digits.onnx", pipeline=LABELS, **more)
    return Step(folder, document, "--labels-dir", folder / "labels", *arguments)


def test_labels_of_a_configmap_are_pinned_with_the_revision(tmp_path: Path, source: Path) -> None:
    found = labelled(tmp_path, "ant\nbee\ncat\n", "--resolve").message["result"]
    assert [t["name"] for t in found["signature"]["outputs"]] == ["label", "probability"]
    pinned = {"digest": found["digest"], "labelsDigest": found["labelsDigest"]}
    pod = labelled(tmp_path, "ant\r\nbee\r\ncat", **pinned)
    assert pod.done.returncode == 0
    changed = labelled(tmp_path, "ant\nbee\ndog\n", **pinned)
    assert changed.failure == (10, "DigestMismatch", True)
    assert changed.why.startswith(
        "pipeline.postprocess: ConfigMap 'classes', key 'labels.txt' holds other labels than when "
        "this revision was resolved: got sha256:"
    )
    assert not (changed.into / "model.json").exists()


def test_labels_that_do_not_fit_are_told_with_their_configmap(tmp_path: Path, source: Path) -> None:
    few = labelled(tmp_path, "ant\nbee\n", "--resolve")
    assert few.failure == (10, "InvalidConfig", True)
    assert few.why == (
        "pipeline.postprocess[0].labels: got 2 names in ConfigMap 'classes', key 'labels.txt', "
        "expected 3, one per class"
    )


def test_labels_are_read_before_the_model_is_fetched(tmp_path: Path) -> None:
    gap = labelled(tmp_path, "ant\n\nbee\n", "--resolve")
    assert gap.failure == (10, "InvalidConfig", True)
    assert "'labels.txt', line 2: is empty" in gap.why


def test_a_missing_key_names_those_that_are_there(tmp_path: Path, source: Path) -> None:
    step = Step(tmp_path, serving_document("configmap://m/other.onnx"))
    assert step.failure == (10, "NotFound", True)
    assert step.why == (
        "model.uri: ConfigMap 'm' has no key 'other.onnx', expected one of digits.onnx"
    )


@pytest.mark.parametrize("scheme", ["ftp", "azure", "file"])
def test_other_schemes_are_unsupported(tmp_path: Path, scheme: str) -> None:
    step = Step(tmp_path, serving_document(f"{scheme}://a/b"))
    assert step.failure == (10, "Unsupported", True)
    assert "expected one of https://, http://, s3://, gs://, oci://, hf://, pvc://" in step.why


def test_a_file_is_fetched_where_it_is_allowed(tmp_path: Path, source: Path) -> None:
    assert Step(tmp_path, serving_document(source.as_uri()), "--allow-file").done.returncode == 0


def test_a_folder_is_fetched_where_files_are_allowed(tmp_path: Path) -> None:
    """With a link as the caches of hubs have them: whose disk it is may point anywhere on it."""
    folder = models.with_data(tmp_path / "digits").parent
    (folder / "weights.bin").rename(tmp_path / "blob")
    (folder / "weights.bin").symlink_to(tmp_path / "blob")
    step = Step(tmp_path, serving_document(f"{folder.as_uri()}/"), "--allow-file")
    assert step.done.returncode == 0, step.why
    assert not (step.into / "folder" / "weights.bin").is_symlink()
    refused = Step(tmp_path / "cluster", serving_document(f"{folder.as_uri()}/"))
    assert refused.failure == (10, "Unsupported", True)


def test_a_broken_configuration_is_terminal_and_named(tmp_path: Path) -> None:
    step = Step(tmp_path, serving_document(poll={}))
    assert step.failure == (10, "InvalidConfig", True)
    assert step.why.startswith(
        "SLIPWAY_RUNTIME_CONFIG_JSON: poll: unknown key, expected one of name"
    )


def test_a_misspelt_setting_is_terminal_and_named(tmp_path: Path) -> None:
    step = Step(tmp_path, serving_document(), max_modle_bytes=1)
    assert step.failure == (10, "InvalidConfig", True)
    assert "did you mean SLIPWAY_RUNTIME_MAX_MODEL_BYTES?" in step.why


def test_a_store_in_trouble_is_transient(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m"] = [says(503, Retry_After="0")]
    step = Step(tmp_path, serving_document(store_double.url("/m")), fetch_attempts=2)
    assert step.failure == (11, "Unavailable", False)


def test_no_secret_of_a_uri_is_told_anywhere(
    tmp_path: Path, store_double: StoreDouble, affine_model: Path
) -> None:
    store_double.answers["/m"] = [says(500), sends(affine_model.read_bytes())]
    uri = f"http://user:passw0rd@{store_double.host}/m?X-Amz-Signature=s1gnature"
    step = Step(tmp_path, serving_document(uri))
    told = step.done.stderr + step.done.stdout + step.text + (step.into / "model.json").read_text()
    assert step.done.returncode == 0
    assert "passw0rd" not in told
    assert "s1gnature" not in told
    assert store_double.headers_of("/m")[1]["authorization"].startswith("Basic ")


def test_a_web_page_in_place_of_a_model_is_recognised(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    store_double.answers["/m"] = [says(200, b"<!DOCTYPE html><title>Sign in</title>")]
    step = Step(tmp_path, serving_document(store_double.url("/m")), "--resolve")
    assert step.failure == (10, "InvalidModel", True)
    assert step.why == "model: it looks like an HTML or XML document, expected an ONNX model"


def test_an_empty_file_is_no_model(tmp_path: Path, store_double: StoreDouble) -> None:
    store_double.answers["/m"] = [says(200)]
    assert Step(tmp_path, serving_document(store_double.url("/m"))).failure == (
        10,
        "InvalidModel",
        True,
    )


def test_a_limit_on_size_holds(tmp_path: Path, source: Path) -> None:
    step = Step(tmp_path, serving_document("configmap://m/digits.onnx"), max_model_bytes=100)
    assert step.failure == (10, "Unsupported", True)
    assert "expected at most 100; raise SLIPWAY_RUNTIME_MAX_MODEL_BYTES" in step.why


def test_a_large_signature_is_cut_to_fit(tmp_path: Path) -> None:
    names = [f"a_rather_long_name_of_a_feature_{i}" for i in range(150)]
    model = models.model_of(
        [helper.make_node("Sum", names, ["y"])],
        [models.tensor(name, "FP32", ["n", 1]) for name in names],
        [models.tensor("y", "FP32", ["n", 1])],
    )
    (tmp_path / "source").mkdir()
    models.saved(model, tmp_path / "source" / "m.onnx")
    step = Step(tmp_path, serving_document("configmap://m/m.onnx"), "--resolve")
    assert step.message["result"]["signature"]["truncated"] is True


def test_a_defect_of_ours_is_transient_and_told(tmp_path: Path, source: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.json").mkdir()
    step = Step(tmp_path, serving_document("configmap://m/digits.onnx"))
    assert step.failure[:2] == (11, "Unavailable")


def test_without_a_message_file_the_result_is_printed(tmp_path: Path, source: Path) -> None:
    done = runtime(
        "fetch",
        *("--into", tmp_path / "models", "--source-dir", tmp_path / "source"),
        *("--termination-message", tmp_path / "no" / "such"),
        config_json=json.dumps(serving_document("configmap://m/digits.onnx")),
    )
    assert (done.returncode, list(json.loads(done.stdout))) == (0, ["result"])


def test_memory_does_not_grow_with_the_model(tmp_path: Path, store_double: StoreDouble) -> None:
    size = 300 * 2**20

    def stream(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(size))
        request.end_headers()
        block = bytes(2**20)
        for _ in range(300):
            request.wfile.write(block)

    store_double.answers["/m"] = [stream]
    # VmHWM of the process itself: what wait4 reports includes the parent from before exec.
    program = (
        "import sys; from slipway_runtime.__main__ import main; code = main(sys.argv[1:]);"
        "print([l.split()[1] for l in open('/proc/self/status') if 'VmHWM' in l][0]);"
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "fetch", "--into", str(tmp_path / "models")]
    message = ["--termination-message", str(tmp_path / "message")]
    config = json.dumps(serving_document(store_double.url("/m")))
    done = subprocess.run(
        [*command, *message],
        env=environment(config_json=config),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert os.path.getsize(tmp_path / "models" / "model.onnx") == size
    assert int(done.stdout) * 1024 < 100 * 2**20


def test_b57_a_signal_ends_the_step_and_leaves_nothing(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    asked, released = threading.Event(), threading.Event()

    def hang(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        released.wait(30)

    store_double.answers["/m"] = [hang]
    command = [sys.executable, "-m", "slipway_runtime", "fetch", "--into", str(tmp_path / "models")]
    config = json.dumps(serving_document(store_double.url("/m")))
    with subprocess.Popen(
        command, env=environment(config_json=config), stderr=subprocess.DEVNULL
    ) as step:
        assert asked.wait(30)
        step.terminate()
        assert step.wait(10) == 143
        released.set()
    assert list((tmp_path / "models").iterdir()) == []


def test_b57_a_step_that_was_killed_is_made_good_by_the_next(
    tmp_path: Path, source: Path, store_double: StoreDouble
) -> None:
    """Killed in the middle of its download: what it left is neither served nor in the way."""
    asked, released = threading.Event(), threading.Event()
    content = source.read_bytes()

    store_double.answers["/m"] = [hangs(content, asked, released), sends(content)]
    into = tmp_path / "models"
    command = [sys.executable, "-m", "slipway_runtime", "fetch", "--into", str(into)]
    variables = environment(config_json=json.dumps(serving_document(store_double.url("/m"))))
    with subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL) as step:
        assert asked.wait(30)
        step.kill()
        step.wait(10)
        released.set()
    assert not (into / "model.onnx").exists()
    subprocess.run(command, env=variables, stderr=subprocess.DEVNULL, check=True, timeout=60)
    assert (into / "model.onnx").read_bytes() == content
    assert {file.name for file in into.iterdir()} == {"model.onnx", "model.json"}


def test_a_process_ends_with_the_code_of_its_failure(tmp_path: Path) -> None:
    message = tmp_path / "message"
    document = json.dumps(serving_document("ftp://b/k"))
    done = process(
        "fetch", "--into", tmp_path, "--termination-message", message, config_json=document
    )
    assert done.returncode == 10
    assert json.loads(message.read_text())["failure"]["reason"] == "Unsupported"
