"""The base, `pip install '.[runtime]'`, as processes that see nothing which its lock has not.

What else is installed here is hidden from them, and from their children, before they begin.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import pytest
import yaml
from packaging.utils import canonicalize_name

from slipway_runtime.extras import BROUGHT_BY
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from tests.unit.repository.files import REPOSITORY
from tests.unit.repository.test_requirements import pins
from tests.unit.runtime import models
from tests.unit.runtime.pipeline.test_serving import TABLE, sum_of_columns
from tests.unit.runtime.processes import environment, pod_folder, process, serving, serving_document
from tests.unit.runtime.protocols.calls import call
from tests.unit.runtime.store import StoreDouble, sends

EXAMPLES: Final = REPOSITORY / "examples"
KEY: Final = "correct-horse-battery-staple"
PICTURES: Final[dict[str, Any]] = {"preprocess": [{"decodeImage": {}}]}
TEXTS: Final[dict[str, Any]] = {"preprocess": [{"tokenize": {}}]}
TOKENS: Final = {"type": "JWT", "issuer": "https://issuer.test", "audience": "digits"}


def missing(module: str) -> str:
    return (
        f"module '{module}' is missing; install the extra: "
        f"pip install '.[{BROUGHT_BY[module]}]' in the project's folder"
    )


NEEDS: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "pictures": (
        {"pipeline": PICTURES},
        f"pipeline.preprocess[0].decodeImage: {missing('PIL')}",
    ),
    "texts": (
        {"pipeline": TEXTS},
        f"pipeline.preprocess[0].tokenize: {missing('tokenizers')}",
    ),
    "tokens": (
        {"security": {"authentication": TOKENS}},
        f"spec.security.authentication: type JWT: {missing('jwt')}",
    ),
}
"""What a spec asks for, and how it is refused."""


@pytest.fixture(scope="module", autouse=True)
def _base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide from child processes what the base has not; Python runs this file before all else."""
    base = {*pins(REPOSITORY / "requirements" / "runtime-base.txt"), "slipway"}
    hidden = sorted(
        module
        for module, packages in packages_distributions().items()
        if not base & {canonicalize_name(package) for package in packages}
    )
    folder = tmp_path_factory.mktemp("base")
    lines = ["import sys", f"sys.modules.update(dict.fromkeys({hidden!r}))"]
    (folder / "sitecustomize.py").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the example, which is trained with more than the base."""
    folder = tmp_path_factory.mktemp("digits")
    kept = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    program = [sys.executable, str(EXAMPLES / "train.py")]
    subprocess.run(program, cwd=folder, env=kept, check=True)
    return folder / "model.onnx"


def manifest(folder: Path, **blocks: Any) -> Path:
    spec = {"model": {"uri": f"file://{folder}/absent.onnx"}, **blocks}
    path = folder / "m.yaml"
    document = {"kind": "ModelDeployment", "metadata": {"name": "digits"}, "spec": spec}
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize("module", [*BROUGHT_BY, "sklearn", "grpc", "pytest"])
def test_what_the_base_has_not_is_hidden(module: str) -> None:
    command = [sys.executable, "-c", f"import {module}"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in done.stderr


def test_the_base_serves_the_example_with_keys_on_both_wires(digits: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(KEY)
    body = (EXAMPLES / "requests" / "digits.json").read_bytes()
    with serving(
        "-f", EXAMPLES / "digits-keys.yaml", "--model", digits, "--api-keys", keys
    ) as server:
        server.wait_for("ready")
        url = f"{server.url}/v2/models/digits/infer"
        shown = {"x-api-key": KEY}
        answer = httpx.post(url, content=body, headers=shown, trust_env=False)
        refused = httpx.post(url, content=body, trust_env=False)
        with grpc.insecure_channel(server.grpc) as channel:
            asked, metadata = pb.ModelMetadataRequest(name="digits"), tuple(shown.items())
            found = call(channel, "ModelMetadata", asked, pb.ModelMetadataResponse,
                         metadata=metadata)  # fmt: skip
    label, _ = answer.json()["outputs"]
    assert (answer.status_code, label["data"], refused.status_code) == (200, [0], 401)
    assert found.name == "digits"


def test_the_base_compiles_a_table_into_a_model_that_it_fetches(
    store_double: StoreDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = models.saved(sum_of_columns(), tmp_path / "sum.onnx")
    store_double.answers["/sum.onnx"] = [sends(model.read_bytes())]
    path = manifest(tmp_path, model={"uri": store_double.url("/sum.onnx")}, pipeline=TABLE)
    with serving("-f", path) as server:
        server.wait_for("ready")
        row = {"instances": [{"age": 22, "port": "S"}]}
        answer = httpx.post(f"{server.url}/v1/models/digits:predict", json=row, trust_env=False)
    assert answer.json() == {"predictions": [230.0]}


@pytest.mark.parametrize(("asked", "expected"), NEEDS.values(), ids=NEEDS)
def test_a_laptop_refuses_before_it_fetches_or_loads(
    asked: Mapping[str, Any], expected: str, tmp_path: Path
) -> None:
    ended = process("serve", "-f", manifest(tmp_path, **asked))
    assert ended.returncode == 3
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["message"], line["reason"], line["cause"]) == ("refused", "MissingExtra", expected)


@pytest.mark.parametrize("name", ["pictures", "texts"])
def test_a_pod_refuses_a_pipeline_before_it_listens(name: str, tmp_path: Path) -> None:
    asked, expected = NEEDS[name]
    model = models.saved(models.affine(), tmp_path / "m.onnx")
    config, folder = pod_folder(tmp_path, model, **asked)
    ended = process("serve", "--config", config, "--model-dir", folder)
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (ended.returncode, line["cause"]) == (3, expected)


def test_a_pod_refuses_tokens_before_it_listens(tmp_path: Path) -> None:
    model = models.saved(models.affine(), tmp_path / "m.onnx")
    config, folder = pod_folder(tmp_path, model)
    asked = ("--authentication", json.dumps(TOKENS))
    ended = process("serve", "--config", config, "--model-dir", folder, *asked)
    (line,) = map(json.loads, ended.stderr.splitlines())
    expected = f"--authentication: type JWT: {missing('jwt')}"
    assert (ended.returncode, line["cause"]) == (3, expected)


def fetched(folder: Path, document: Mapping[str, Any], *options: object, **settings: object) -> Any:
    """Exit code and termination message of the step that fetches."""
    config, message = folder / "serving.json", folder / "message"
    config.write_text(json.dumps(document))
    ended = process(
        "fetch", "--config", config, "--into", folder / "models", "--resolve",
        "--termination-message", message, *options, **settings,
    )  # fmt: skip
    return ended.returncode, json.loads(message.read_text())


def refusal(text: str) -> dict[str, Any]:
    return {"failure": {"reason": "Unsupported", "terminal": True, "message": text}}


@pytest.mark.parametrize("name", ["pictures", "texts"])
@pytest.mark.parametrize("options", [(), ("--as-is",)], ids=["fetch", "fetch --as-is"])
def test_a_pipeline_is_refused_before_anything_is_fetched(
    name: str, options: tuple[str, ...], store_double: StoreDouble, tmp_path: Path
) -> None:
    asked, expected = NEEDS[name]
    document = serving_document(store_double.url("/m.onnx"), **asked)
    assert fetched(tmp_path, document, *options) == (10, refusal(expected))
    assert store_double.seen == []


def test_a_signature_is_refused_before_anything_is_fetched(
    store_double: StoreDouble, tmp_path: Path
) -> None:
    """What cannot be verified is not taken unverified."""
    key = {"cosignKey": {"configMap": {"name": "keys", "key": "cosign.pub"}}}
    model = {"uri": f"oci://{store_double.host}/m:1", "verify": key}
    (tmp_path / "cosign.pub").write_text("-----BEGIN PUBLIC KEY-----")
    known = json.dumps([store_double.host])
    done = fetched(
        tmp_path, serving_document(model=model), "--cosign-key", tmp_path / "cosign.pub",
        insecure_registries=known,
    )  # fmt: skip
    assert done == (10, refusal(f"model.verify: {missing('cryptography')}"))
    assert store_double.seen == []


@pytest.mark.parametrize("uri", ["gs://models/m.onnx", "gs://models/v1/"])
def test_a_service_account_is_refused_before_anything_is_fetched(
    uri: str, store_double: StoreDouble, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    model = {"uri": uri, "credentials": {"secretName": "google"}}
    done = fetched(
        tmp_path, serving_document(model=model), "--credentials-dir", tmp_path / "secret",
        gs_endpoint=store_double.url(""),
    )  # fmt: skip
    assert done == (10, refusal(f"model.credentials for gs://: {missing('cryptography')}"))
    assert store_double.seen == []


def test_a_public_bucket_needs_no_extra(store_double: StoreDouble, tmp_path: Path) -> None:
    model = models.saved(models.affine(), tmp_path / "m.onnx")
    store_double.answers["/storage/v1/b/models/o/m.onnx"] = [sends(model.read_bytes())]
    document = serving_document("gs://models/m.onnx")
    code, told = fetched(tmp_path, document, gs_endpoint=store_double.url(""))
    assert (code, told["result"]["sizeBytes"]) == (0, model.stat().st_size)
