"""Models from real stores behind TLS and credentials, served by real pods; what the status says.

Prints how long it took from a mistake's making to its reason. Minutes: not a part of `make test`.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from devcluster.cluster import Cluster
from tests.e2e.conftest import Place
from tests.e2e.files import direct, in_two_files, multiplier, padded, request
from tests.e2e.models import Models
from tests.kubeapi import Manifest, condition, eventually, is_true
from tests.stores.authority import Authority
from tests.stores.cosign import document, public, signature, signed
from tests.stores.gcs import gcs
from tests.stores.hub_double import hub_double
from tests.stores.minio import minio
from tests.stores.oci import Registry, registry
from tests.stores.relay import relay
from tests.stores.source import Secret, Source
from tests.stores.web import Web, web
from tests.unit.runtime.pipeline import test_texts as texts

SCHEMES: Final = ("https", "s3", "gs", "oci", "hf")
CA: Final = {"configMap": {"name": "authority", "key": "ca.crt"}}
WRONG: Final = "sha256:" + "0" * 64
_ROWS: Final = np.array([[1.5, -2.0], [0.0, 7.25]], dtype=np.float32)
_TOLD_WITHIN_S: Final = 15.0
_WAITING: Final = frozenset({"Fetching"})


@dataclass(frozen=True, slots=True)
class Stage:
    """A namespace, and stores that its pods reach."""

    models: Models
    sources: dict[str, Source]
    folder: Path

    def apply(
        self, name: str, scheme: str, file: str = "good.onnx", port: int | None = None, **model: Any
    ) -> None:
        """Apply a ModelDeployment of a store; its Secret bears the store's name."""
        source = self.sources[scheme]
        env = [{"name": f"SLIPWAY_RUNTIME_{key.upper()}", "value": value}
               for key, value in source.settings(port).items()]  # fmt: skip
        blocks = {"credentials": {"secretName": scheme}, "caBundle": CA, **model}
        self.models.apply(
            name,
            uri=source.uri(file, port),
            model={k: v for k, v in blocks.items() if v},
            runtime={"env": env},
        )

    def secret(self, name: str, values: Secret) -> None:
        """Make a Secret."""
        data = {k: base64.b64encode(v.encode()).decode() for k, v in values.items()}
        metadata = {"name": name, "namespace": self.models.namespace}
        self.models.api.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
        )

    def told(self, name: str) -> Manifest | None:
        """The verdict on a model, once there is one."""
        found = condition(self.models.get(name), "ModelSupplied")
        return found if found and found["reason"] not in _WAITING else None


@pytest.fixture(scope="module")
def stage(
    place: Place, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Start the stores on the address that pods reach, and give each a model and a Secret."""
    host = cluster.host_ip
    authority = Authority(tmp_path_factory.mktemp("authority"))
    shown, folder = authority.certificate(host), tmp_path_factory.mktemp("volume")
    with place() as models, ExitStack() as running:
        sources: dict[str, Source] = {
            "https": running.enter_context(web(host, shown)),
            "s3": running.enter_context(minio(host, tmp_path_factory.mktemp("s3"), authority)),
            "gs": running.enter_context(gcs(host, tmp_path_factory.mktemp("gs"), authority)),
            "oci": running.enter_context(registry(host, tmp_path_factory.mktemp("oci"), authority)),
            "hf": running.enter_context(hub_double(host, shown, host, shown)),
        }
        models.publish("authority", authority.file.read_bytes(), "ca.crt")
        made = Stage(models, sources, folder)
        for scheme, source in sources.items():
            source.put("good.onnx", multiplier(SCHEMES.index(scheme) + 2))
            made.secret(scheme, source.secret())
        yield made


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_is_served_from_a_store_and_no_pod_tells_its_secret(
    stage: Stage, scheme: str
) -> None:
    stage.apply(scheme, scheme)
    stage.models.until("Ready", scheme, timeout_s=120)
    model = multiplier(SCHEMES.index(scheme) + 2)
    answer = stage.models.infer(request(_ROWS), scheme).raise_for_status().json()
    assert answer["outputs"][0]["data"] == direct(model, _ROWS)["y"].ravel().tolist()
    for value in _secrets(stage.sources[scheme].secret()):
        assert value not in _everything_told(stage, scheme)


@pytest.mark.parametrize("scheme", ["s3", "https"])
def test_c12_a_model_of_two_files_is_served(stage: Stage, scheme: str) -> None:
    """From a bucket's folder, and from a web server's archive."""
    source = stage.sources[scheme]
    source.put_folder("two", in_two_files(multiplier(11)))
    uri, name = source.folder_uri("two"), f"{scheme}-folder"
    stage.models.apply(name, uri=uri, model={"credentials": {"secretName": scheme}, "caBundle": CA})
    stage.models.until("Ready", name, timeout_s=120)
    answer = stage.models.infer(request(_ROWS), name).raise_for_status().json()
    assert answer["outputs"][0]["data"] == direct(multiplier(11), _ROWS)["y"].ravel().tolist()


@pytest.mark.parametrize("scheme", ["s3", "https"])
def test_a_text_is_the_request(stage: Stage, scheme: str) -> None:
    """Model and tokenizer come as a bucket's folder, or in a web server's archive."""
    source, name = stage.sources[scheme], f"{scheme}-texts"
    files = {"model.onnx": texts.classifier().SerializeToString()}
    source.put_folder("texts", {**files, "tokenizer.json": texts.trained().encode()})
    stage.models.apply(
        name,
        uri=source.folder_uri("texts"),
        model={"credentials": {"secretName": scheme}, "caBundle": CA},
        pipeline=texts.PIPELINE,
    )
    found = stage.models.until("Ready", name, timeout_s=120)
    assert found["status"]["signature"]["inputs"] == [
        {"name": "text", "datatype": "BYTES", "shape": [-1]}
    ]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [5], "data": texts.SENTENCES}
    answer = stage.models.infer({"inputs": [tensor]}, name)
    wanted = [pytest.approx(texts.reference(text), abs=1e-5) for text in texts.SENTENCES]
    assert texts.answered(answer) == wanted


def _secrets(secret: Secret) -> Iterator[str]:
    for key, value in secret.items():
        if key == ".dockerconfigjson":
            yield from (str(e["password"]) for e in json.loads(value)["auths"].values())
        elif key in ("password", "token", "AWS_SECRET_ACCESS_KEY"):
            yield value


def _everything_told(stage: Stage, name: str) -> str:
    """The resource, its pods, its Job, its events, and all that their containers have logged."""
    models = stage.models
    objects = [models.get(name), *models.api.children(models.namespace)]
    objects += models.api.find("Pod", models.namespace)
    logs = [
        models.kubectl("logs", pod["metadata"]["name"], "--all-containers")
        for pod in models.pods(name)
    ]
    return "\n".join(
        [yaml.safe_dump(objects), models.kubectl("get", "events", "-o", "yaml"), *logs]
    )


@pytest.mark.parametrize(
    ("name", "blocks", "reason", "remedy"),
    [
        pytest.param("denied", {"credentials": {"secretName": "wrong"}}, "AccessDenied",
                     "check the credentials in Secret 'wrong'", id="wrong credentials"),
        pytest.param("absent", {"file": "other.onnx"}, "NotFound", "check the URI",
                     id="a missing object"),
        pytest.param("changed", {"digest": WRONG}, "DigestMismatch", "give the new digest",
                     id="another digest"),
        pytest.param("unknown", {"caBundle": None}, "Untrusted", "model.caBundle",
                     id="an authority that nobody knows"),
        pytest.param("waiting", {"credentials": {"secretName": "later"}}, "NotFound",
                     "Secret 'later' does not exist", id="a Secret that does not exist"),
    ],
)  # fmt: skip
def test_the_cause_is_told_soon(
    stage: Stage, name: str, blocks: dict[str, Any], reason: str, remedy: str
) -> None:
    """One after the other: each has the machine to itself."""
    if name == "denied":
        stage.secret("wrong", stage.sources["s3"].wrong_secret())
    stage.apply(name, "s3", **blocks)
    begun = time.monotonic()
    found = eventually(lambda: stage.told(name), "the cause is told", timeout_s=60)
    took_s = time.monotonic() - begun
    print(f"\n{name}: {found['reason']} after {took_s:.1f} s")
    assert found["reason"] == reason, found
    assert remedy in found["message"]
    assert took_s < _TOLD_WITHIN_S


def test_a_secret_that_comes_later_is_found(stage: Stage) -> None:
    stage.secret("later", stage.sources["s3"].secret())
    stage.models.until("Ready", "waiting", timeout_s=120)


def test_c14_a_line_that_breaks_costs_nothing_but_time(stage: Stage) -> None:
    """Through a relay that cuts connections in the middle of the model; the Secret leads there."""
    source = stage.sources["s3"]
    source.put("large.onnx", padded(multiplier(7), 200_000))
    with relay(source.address, cuts=2, after_bytes=50_000) as line:
        stage.secret("relayed", source.secret(line.port))
        stage.apply("cut", "s3", "large.onnx", line.port, credentials={"secretName": "relayed"})
        stage.models.until("Ready", "cut", timeout_s=120)
        assert line.connections > 2


def test_a_signed_artifact_is_served_and_another_is_told_soon(stage: Stage) -> None:
    oci, key = stage.sources["oci"], generate_private_key(SECP256R1())
    assert isinstance(oci, Registry)
    stage.models.publish("signers", public(key), "cosign.pub")
    verify = {"cosignKey": {"configMap": {"name": "signers", "key": "cosign.pub"}}}
    for name, factor in (("unsigned", 12), ("signed", 13)):
        digest = oci.push(name, [oci.layer(name, "model.onnx", multiplier(factor))])
        if name == "signed":
            content = document(digest)
            signed(oci, name, digest, (content, signature(key, content)))
        stage.apply(name, "oci", f"{name}.onnx", verify=verify)
        begun = time.monotonic()
        found = eventually(partial(stage.told, name), "the cause is told", timeout_s=60)
        took_s = time.monotonic() - begun
        print(f"\n{name}: {found['reason']} after {took_s:.1f} s")
        assert took_s < _TOLD_WITHIN_S
        assert found["reason"] == ("Verified" if name == "signed" else "SignatureMismatch"), found
    stage.models.until("Ready", "signed", timeout_s=120)


def test_c28_pods_start_from_the_cache_while_the_store_is_away(
    stage: Stage, tmp_path: Path
) -> None:
    store = stage.sources["https"]
    assert isinstance(store, Web)
    store.put("cached.onnx", multiplier(14))
    tmp_path.chmod(0o777)
    _make_claim(stage, "cache", tmp_path)
    stage.apply("cached", "https", "cached.onnx", cache={"persistentVolumeClaim": "cache"})
    stage.models.until("Ready", "cached", timeout_s=120)
    digest = stage.models.get("cached")["status"]["model"]["digest"]
    assert (tmp_path / digest.replace(":", "-")).read_bytes() == multiplier(14)
    del store.files["/cached.onnx"]
    pod = stage.models.pods("cached")[0]["metadata"]
    stage.models.api.delete("Pod", stage.models.namespace, pod["name"])
    eventually(
        lambda: pod["uid"] not in {p["metadata"]["uid"] for p in stage.models.pods("cached")},
        "the pod is gone",
        timeout_s=120,
    )
    stage.models.until("Ready", "cached", timeout_s=120)
    answer = stage.models.infer(request(_ROWS), "cached").raise_for_status().json()
    assert answer["outputs"][0]["data"] == direct(multiplier(14), _ROWS)["y"].ravel().tolist()


@pytest.mark.parametrize("scheme", ["https", "oci"])
def test_an_object_that_is_overwritten_is_rolled_out(stage: Stage, scheme: str) -> None:
    """The spec stays; bytes that are no model leave what serves alone."""
    store, name = stage.sources[scheme], f"{scheme}-polled"
    store.put("moving.onnx", multiplier(21))
    stage.apply(name, scheme, "moving.onnx", poll={"every": "30s"})
    first = stage.models.until("Ready", name, timeout_s=120)
    store.put("moving.onnx", multiplier(22))
    begun = time.monotonic()
    second = eventually(
        lambda: _rolled_out(stage, name, first["status"]["stable"]["hash"]),
        "the other bytes serve", timeout_s=240,
    )  # fmt: skip
    print(f"\n{name}: other bytes serve after {time.monotonic() - begun:.1f} s")
    assert second["spec"] == first["spec"]
    assert second["status"]["history"][0]["digest"] == first["status"]["model"]["digest"]
    answer = stage.models.infer(request(_ROWS), name).raise_for_status().json()
    assert answer["outputs"][0]["data"] == direct(multiplier(22), _ROWS)["y"].ravel().tolist()
    store.put("moving.onnx", b"no model")
    failed = stage.models.until("Stalled", name, timeout_s=240)["status"]
    assert failed["rollout"]["reason"] in ("InvalidModel", "Unsupported"), failed
    assert failed["stable"]["hash"] == second["status"]["stable"]["hash"]
    answer = stage.models.infer(request(_ROWS), name).raise_for_status().json()
    assert answer["outputs"][0]["data"] == direct(multiplier(22), _ROWS)["y"].ravel().tolist()


def _rolled_out(stage: Stage, name: str, before: str) -> Manifest | None:
    """The resource, once another revision than before serves."""
    found = stage.models.get(name)
    status = found["status"]
    is_other = status["stable"]["hash"] != before and "candidate" not in status
    return found if is_other and is_true(found, "Ready") else None


def test_a_model_comes_from_a_claim(stage: Stage) -> None:
    """Of a volume that lies on this machine, which is the node."""
    stage.folder.chmod(0o755)
    (stage.folder / "good.onnx").write_bytes(multiplier(9))
    (stage.folder / "good.onnx").chmod(0o644)
    stage.models.apply("claim", uri="pvc://models/good.onnx")
    found = eventually(lambda: stage.told("claim"), "the claim is missed", timeout_s=60)
    assert (found["reason"], "PersistentVolumeClaim 'models' does not" in found["message"]) == (
        "NotFound", True,
    )  # fmt: skip
    _make_claim(stage, "models", stage.folder)
    stage.models.until("Ready", "claim", timeout_s=120)
    answer = stage.models.infer(request(_ROWS), "claim").raise_for_status().json()
    assert answer["outputs"][0]["data"] == direct(multiplier(9), _ROWS)["y"].ravel().tolist()


def _make_claim(stage: Stage, name: str, folder: Path) -> None:
    size, modes = {"storage": "1Gi"}, ["ReadWriteMany"]
    volume = f"{stage.models.namespace}-{name}"
    stage.models.api.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": size,
                "accessModes": modes,
                "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Delete",
                "hostPath": {"path": str(folder)},
            },
        }
    )
    stage.models.api.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": stage.models.namespace},
            "spec": {
                "accessModes": modes,
                "storageClassName": "",
                "volumeName": volume,
                "resources": {"requests": size},
            },
        }
    )
