"""Models of other formats, converted in the cluster: what pods answer, what a hostile one reaches.

The frameworks' own predictions are those of `tests/convert/programs`, on rows that no model has
seen. Minutes, and an image of 3 GB: a part of `make test-convert`.
"""

from __future__ import annotations

import base64
import io
import pickle
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from devcluster import images as builder
from devcluster.cluster import Cluster
from tests.convert.environment import trained_models
from tests.convert.page import publish_served
from tests.e2e.audit import Audit
from tests.e2e.installation import Installation
from tests.e2e.models import Models, namespace_with_models
from tests.e2e.registry import Registry
from tests.kubeapi import Api, Manifest, condition, eventually
from tests.stores.authority import Authority
from tests.stores.minio import minio
from tests.stores.source import Source
from tests.stores.web import web

_TOLERANCE: Final = 1e-4
_READY_S: Final = 240.0
_PICKLE: Final = {"allowPickle": True}
_CASES: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("digits.joblib", "Sklearn", _PICKLE),
    ("cancer.pkl", "Sklearn", {**_PICKLE, "format": "Sklearn"}),
    ("wine.skops", "Sklearn", {}),
    ("digits.ubj", "XGBoost", {}),
    ("cancer.json", "XGBoost", {"format": "XGBoost"}),
    ("wine.txt", "LightGBM", {}),
    ("digits.keras", "Keras", {}),
    ("digits.tflite", "TFLite", {"format": "TFLite"}),
    ("iris.pmml", "PMML", {}),
    (
        "digits.pt",
        "TorchScript",
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}]},
    ),
)
_SAVED: Final = "digits-saved"
_BESIDE: Final = "digits-onnx"
_PROVEN: Final = len(_CASES) + 2
"""Files whose pods' answers the page tells: the cases, TensorFlow's folder, and ONNX' own."""
_SUPPLY: Final = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}


@pytest.fixture(scope="module")
def models(
    cluster: Cluster, api: Api, audit: Audit, images: dict[str, str], registry: Registry
) -> Iterator[Models]:
    """A namespace, under an operator that has a converter."""
    converter = builder.build(builder.CONVERTER_TORCH)
    cluster.load_image(converter)
    both = {**images, builder.CONVERTER: converter}
    installed = Installation(cluster.kubeconfig, api, both, registry.address)
    installed.upgrade()
    with namespace_with_models(api, cluster.kubeconfig) as made:
        yield made
    installed.uninstall()


@pytest.fixture(scope="module")
def served() -> Iterator[dict[str, Manifest]]:
    """What pods have shown by file, kept for the page when all of them are there."""
    found: dict[str, Manifest] = {}
    yield found
    if len(found) == _PROVEN:
        publish_served(found)


@pytest.fixture(scope="module")
def stores(
    models: Models, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Source]]:
    """A bucket and a web server, over TLS, with their Secrets."""
    host, authority = cluster.host_ip, Authority(tmp_path_factory.mktemp("authority"))
    with ExitStack() as running:
        found: dict[str, Source] = {
            "s3": running.enter_context(minio(host, tmp_path_factory.mktemp("s3"), authority)),
            "https": running.enter_context(web(host, authority.certificate(host))),
        }
        models.publish("authority", authority.file.read_bytes(), "ca.crt")
        for name, source in found.items():
            data = {k: base64.b64encode(v.encode()).decode() for k, v in source.secret().items()}
            metadata = {"name": name, "namespace": models.namespace}
            models.api.create(
                {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
            )
        yield found


def apply(models: Models, name: str, data: bytes, **model: Any) -> str:
    """Publish a file and ask for it; tell the name of the resource."""
    resource = name.replace(".", "-")
    uri = models.publish(resource, data, name)
    models.apply(resource, uri=uri, model=model, runtime={"supplyResources": _SUPPLY})
    return resource


def verdict(models: Models, name: str) -> Manifest | None:
    """Why a model is not served, once that is certain."""
    found = condition(models.get(name), "Stalled")
    return found if found and found["status"] == "True" else None


def until_refused(models: Models, name: str) -> Manifest:
    """Wait for the verdict."""
    return eventually(
        lambda: verdict(models, name), f"{name} is refused", timeout_s=_READY_S,
        describe=lambda: models.get(name).get("status"),
    )  # fmt: skip


def differences(answer: Manifest, expected: Mapping[str, Any]) -> tuple[float | None, float]:
    """Agreement of labels in percent, and the largest difference, relative above 1."""
    got = {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in answer["outputs"]}
    scores = next(value for name, value in got.items() if name != "label")
    want = expected["scores"].reshape(scores.shape)
    gap = np.abs(want - scores) / np.maximum(1.0, np.abs(want))
    labels = None
    if "label" in expected:
        same = got["label"].astype(str) == expected["label"].astype(str)
        labels = 100.0 * float(np.mean(same))
    elif scores.ndim == 2 and scores.shape[1] > 1:
        labels = 100.0 * float(np.mean(np.argmax(scores, axis=1) == np.argmax(want, axis=1)))
    return labels, float(gap.max())


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("file", "format_", "model"), _CASES, ids=[f"{f} {n}" for n, f, _ in _CASES]
)
def test_a_pod_answers_what_the_framework_predicts(
    models: Models, served: dict[str, Manifest], file: str, format_: str, model: dict[str, Any]
) -> None:
    began_s = time.monotonic()
    name = apply(models, file, (trained_models() / file).read_bytes(), **model)
    served[file] = proven(models, name, file, format_, began_s)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("store", "format_"), [("s3", "Auto"), ("https", "TensorFlow")])
def test_a_saved_model_comes_as_a_folder_or_in_an_archive(
    models: Models, stores: dict[str, Source], served: dict[str, Manifest], store: str, format_: str
) -> None:
    """A bucket has folders; a web server has archives, with a folder in them."""
    source, saved = stores[store], contents(trained_models() / _SAVED)
    if store == "s3":
        source.put_folder(_SAVED, saved)
        uri = source.folder_uri(_SAVED)
    else:
        source.put("digits.zip", zipped({f"{_SAVED}/{n}": data for n, data in saved.items()}))
        uri = source.uri("digits.zip")
    began_s, name = time.monotonic(), f"saved-{store}"
    ca = {"configMap": {"name": "authority", "key": "ca.crt"}}
    model = {"format": format_, "credentials": {"secretName": store}, "caBundle": ca}
    models.apply(name, uri=uri, model=model, runtime={"supplyResources": _SUPPLY})
    served[_SAVED] = proven(models, name, _SAVED, "TensorFlow", began_s)


@pytest.mark.timeout(600)
def test_onnx_with_its_data_beside_it_is_served_as_it_is(
    models: Models, stores: dict[str, Source], served: dict[str, Manifest]
) -> None:
    source = stores["s3"]
    source.put_folder(_BESIDE, contents(trained_models() / _BESIDE))
    began_s, name = time.monotonic(), "onnx-s3"
    ca = {"configMap": {"name": "authority", "key": "ca.crt"}}
    model = {"format": "ONNX", "credentials": {"secretName": "s3"}, "caBundle": ca}
    uri = source.folder_uri(_BESIDE)
    models.apply(name, uri=uri, model=model, runtime={"supplyResources": _SUPPLY})
    served[_BESIDE] = proven(models, name, _BESIDE, "ONNX", began_s)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their names."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Pack files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def proven(models: Models, name: str, file: str, format_: str, began_s: float) -> Manifest:
    """Wait for a model, and hold its answers to its framework's; what the page tells of it."""
    status = models.until("Ready", name, timeout_s=_READY_S)["status"]
    took_s = time.monotonic() - began_s
    told = status["model"]
    assert told["format"] == format_
    if format_ != "ONNX":
        assert told["sourceDigest"] != told["digest"]
        assert told["parity"].get("labelAgreementPercent") in (None, 100)
    answers = np.load(trained_models() / f"{file}.npz", allow_pickle=False)
    (spec,) = status["signature"]["inputs"]
    rows = answers["x"]
    tensor = {"name": spec["name"], "datatype": spec["datatype"], "shape": list(rows.shape)}
    body = {"inputs": [{**tensor, "data": rows.ravel().tolist()}]}
    answer = models.infer(body, name).raise_for_status().json()
    labels, difference = differences(answer, answers)
    print(f"{format_:9} {file:14} ready in {took_s:.0f} s, {len(rows)} rows, labels {labels},"
          f" largest difference {difference:.1e}")  # fmt: skip
    assert labels in (None, 100.0)
    assert difference <= _TOLERANCE
    image = image_of(models.pods(name)[0])
    models.api.send("DELETE", models.api.path("ModelDeployment", models.namespace, name))
    return {"difference": difference, "seconds": round(took_s, 1), "image": image}


def image_of(pod: Manifest) -> str:
    """The name of the image that converted in a pod, or that serves where nothing did."""
    containers = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
    images: dict[str, str] = {each["name"]: each["image"] for each in containers}
    reference = images.get("convert", images["serve"])
    return reference.rpartition("/")[2].partition("@")[0].partition(":")[0]


def test_a_second_pod_converts_to_the_same_bytes(models: Models) -> None:
    name = apply(models, "diabetes.ubj", (trained_models() / "diabetes.ubj").read_bytes())
    models.until("Ready", name, timeout_s=_READY_S)
    models.kubectl("scale", "mdep", name, "--replicas=2")
    eventually(
        lambda: models.get(name)["status"].get("summary", {}).get("replicas") == "2/2",
        "two pods serve", timeout_s=_READY_S, describe=lambda: models.get(name)["status"],
    )  # fmt: skip


def test_a_pickle_is_not_loaded_unless_allowed(models: Models) -> None:
    name = apply(models, "refused.pkl", (trained_models() / "cancer.pkl").read_bytes())
    found = until_refused(models, name)
    assert found["reason"] == "PickleNotAllowed"
    assert "model.allowPickle" in found["message"]
    assert not models.pods(name)


def test_a_conversion_that_answers_otherwise_is_not_served(models: Models) -> None:
    """Its numbers are beyond those of 32 bits, which ONNX has."""
    name = apply(models, "mismatch.pkl", _too_large(), allowPickle=True, format="Sklearn")
    found = until_refused(models, name)
    assert found["reason"] == "ConversionMismatch"
    assert not models.pods(name)


def _too_large() -> bytes:
    from sklearn.linear_model import LinearRegression

    rows = np.random.default_rng(0).normal(size=(50, 3))
    model = LinearRegression().fit(rows, rows @ [1.0, 2.0, 3.0])
    model.coef_ = np.array([1e39, 0.0, 1.0])
    return pickle.dumps(model)


_SPY: Final = """
import os, pathlib, socket
seen = []
for root in ("/var/run/slipway", "/run/secrets", "/var/run/secrets", "/source", "/models"):
    if os.path.exists(root):
        seen.append(root)
seen += sorted(n for n in os.environ if "KUBERNETES" in n or "SLIPWAY" in n or "SECRET" in n)
for path in ("/opt/slipway/x", "/original/x", "/x"):
    try:
        pathlib.Path(path).write_text("x")
        seen.append("wrote " + path)
    except OSError:
        pass
try:
    socket.create_connection(("10.96.0.1", 443), 2)
    seen.append("the network")
except OSError as err:
    if err.errno != 13:
        seen.append("the network, " + str(err))
seen.append("user " + str(os.getuid()))
raise RuntimeError("seen: " + ", ".join(seen))
"""


class _Spy:
    """Unpickling it runs a program, which tells what it has found."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (_SPY,)


def test_code_of_a_model_finds_no_credentials_no_network_and_nothing_to_write_to(
    models: Models,
) -> None:
    name = apply(models, "spy.pkl", pickle.dumps(_Spy()), allowPickle=True)
    found = until_refused(models, name)
    assert found["reason"] == "InvalidModel"
    assert "(RuntimeError: seen: user 65532)" in found["message"]
