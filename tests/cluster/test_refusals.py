"""What the API server refuses by itself, in words that name the field and the remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.models import Models
from tests.cluster.operators import ROOT
from tests.kubeapi import Api, Manifest, Refused

GOOD = "https://models.example/1.onnx"
KEY = {"configMap": {"name": "signers", "key": "cosign.pub"}}


@pytest.mark.parametrize(
    "uri",
    [
        "s3://models/",
        "s3://models/v1/",
        "gs://models/v1/",
        "hf://team/digits/",
        "hf://team/digits@v1.0/onnx/",
        "pvc://models/",
        "oci://registry.example:5000/models/digits:2/",
        f"oci://registry.example/digits@sha256:{'0' * 64}/",
        "https://models.example/digits.tar.gz",
    ],
)
def test_a_folder_and_an_archive_are_taken(models: Models, uri: str) -> None:
    verify = {"verify": {"cosignKey": KEY}} if uri.startswith("oci") else {}
    model = {"uri": uri, **verify, "cache": {"persistentVolumeClaim": "models"}}
    models.api.create(_manifest(models.namespace, {"model": model}))


ROWS = {"configMap": {"name": "rows", "key": "samples.json"}}


def _optimised(samples: dict[str, Any] | None = None, **optimization: Any) -> dict[str, Any]:
    more = {"samples": samples} if samples else {}
    return {"model": {"uri": GOOD, **more, "optimization": optimization}}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(_optimised(graph="Basic"), id="graph"),
        pytest.param(_optimised(quantization="DynamicInt8", minAgreementPercent=95), id="dynamic"),
        pytest.param(_optimised(quantization="StaticInt8", samples=ROWS), id="static"),
        pytest.param(_optimised(pruning="Magnitude", sparsityPercent=30), id="pruned"),
        pytest.param(_optimised(graph="All", quantization="None", pruning="None"), id="nothing"),
    ],
)
def test_an_optimisation_is_taken(models: Models, spec: dict[str, Any]) -> None:
    models.api.create(_manifest(models.namespace, spec))


def _asking(**authentication: Any) -> dict[str, Any]:
    return {"security": {"authentication": authentication}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"modle": {}}, "modle", id="unknown block"),
        pytest.param({"model": {"uri": GOOD, "url": GOOD}}, "url", id="unknown field"),
        pytest.param({"model": {}}, "spec.model.uri: Required", id="A1 no uri"),
        pytest.param({"model": {"uri": ""}}, "spec.model.uri", id="A2 empty"),
        pytest.param({"model": {"uri": f"https://h/{'m' * 5000}"}}, "spec.model.uri", id="A2 long"),
        pytest.param({"model": {"uri": "https://h/m\nn"}}, "white space", id="A2 newline"),
        pytest.param({"model": {"uri": "https://h/m\0"}}, "white space", id="A2 NUL"),
        pytest.param({"model": {"uri": "ftp://host/m"}}, "expected https://", id="A2 ftp"),
        pytest.param({"model": {"uri": "just words"}}, "expected https://", id="A2 no scheme"),
        pytest.param({"model": {"uri": "file:///m.onnx"}}, "only on a laptop", id="A2 file"),
        pytest.param({"model": {"uri": "configmap://a"}}, "configmap://NAME/KEY", id="no key"),
        pytest.param({"model": {"uri": "oci://host"}}, "HOST/REPOSITORY", id="no repository"),
        pytest.param({"model": {"uri": "s3://models"}}, "s3://BUCKET/KEY", id="no key in a bucket"),
        pytest.param(
            _optimised(quantization="StaticInt8"),
            "StaticInt8 calibrates with model.samples; set it",
            id="nothing to calibrate",
        ),
        pytest.param(
            {
                **_optimised(quantization="StaticInt8", samples=ROWS),
                "pipeline": {"preprocess": [{"cast": {"to": "FP32"}}]},
            },
            "use DynamicInt8",
            id="samples of another form",
        ),
        pytest.param(_optimised(pruning="Magnitude"), "sparsityPercent go together", id="how much"),
        pytest.param(_optimised(sparsityPercent=50), "sparsityPercent go together", id="of what"),
        pytest.param(
            _optimised(pruning="Magnitude", sparsityPercent=100),
            "sparsityPercent",
            id="all weights",
        ),
        pytest.param(_optimised(quantization="Int4"), "quantization", id="no such form"),
        pytest.param(_optimised(minAgreementPercent=101), "minAgreementPercent", id="above all"),
        pytest.param({"model": {"uri": "s3://m1/../x"}}, "'.' and '..'", id="C23 a step up"),
        pytest.param({"model": {"uri": "hf://team/digits"}}, "hf://ORG/REPO", id="no path"),
        pytest.param(
            {"model": {"uri": GOOD, "verify": {"cosignKey": KEY}}}, "give an oci://", id="unsigned"
        ),
        pytest.param(
            {"model": {"uri": "oci://h/r", "verify": {"cosignKey": {}}}},
            "one of configMap and secret",
            id="no key to verify with",
        ),
        pytest.param(
            {"model": {"uri": GOOD, "cache": {}}}, "persistentVolumeClaim", id="a cache nowhere"
        ),
        pytest.param({"model": {"uri": "https://u:p@h/m"}}, "password", id="A2 credentials"),
        pytest.param({"model": {"uri": GOOD, "digest": "abc"}}, "64 lower-case", id="digest"),
        pytest.param({"model": {"uri": GOOD, "format": "Pickle"}}, "ONNX", id="format"),
        pytest.param(
            {"model": {"uri": GOOD, "version": "a b"}}, "spec.model.version", id="version"
        ),
        pytest.param({"replicas": -1}, "spec.replicas", id="A3 negative"),
        pytest.param({"replicas": 2**31}, "spec.replicas", id="A3 too many"),
        pytest.param({"replicas": "3"}, "numeric", id="A3 text"),
        pytest.param({"replicas": 1.5}, "spec.replicas", id="A3 fraction"),
        pytest.param({"runtime": {"hostNetwork": True}}, "hostNetwork", id="A8 hostNetwork"),
        pytest.param(
            {"runtime": {"securityContext": {"privileged": True}}},
            "securityContext",
            id="A8 privileged",
        ),
        pytest.param(
            {"runtime": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}},
            "volumes",
            id="A8 hostPath",
        ),
        pytest.param(
            {"runtime": {"resources": {"limits": {"cpu": "2x"}}}}, "cpu", id="A9 not a quantity"
        ),
        pytest.param(
            {"runtime": {"podAnnotations": {"slipway.dev/x": "x"}}},
            "other keys",
            id="A7 our annotation",
        ),
        pytest.param({"serving": {"threads": 0}}, "1 to 256", id="threads"),
        pytest.param({"serving": {"threads": "all"}}, "1 to 256", id="threads as text"),
        pytest.param({"serving": {"requestTimeout": "30"}}, "requestTimeout", id="no unit"),
        pytest.param({"serving": {"requestTimeout": "0s"}}, "up to 24h", id="no time"),
        pytest.param({"serving": {"requestTimeout": "25h"}}, "up to 24h", id="too long"),
        pytest.param({"serving": {"maxRequestBytes": "2Gi"}}, "below 2Gi", id="large bodies"),
        pytest.param({"serving": {"maxJSONBytes": 0}}, "below 2Gi", id="no bodies"),
        pytest.param({"serving": {"protocols": []}}, "protocols", id="no protocol"),
        pytest.param({"serving": {"protocols": ["SOAP"]}}, '"REST", "GRPC"', id="protocol"),
        pytest.param({"serving": {"protocols": ["REST"] * 2}}, "duplicate", id="one twice"),
        pytest.param({"runtime": {"drain": "2h"}}, "at most 1h", id="drain"),
        pytest.param({"runtime": {"image": "a b"}}, "spec.runtime.image", id="image"),
        pytest.param(
            {"runtime": {"resources": {"limits": {"memory": "lots"}}}}, "memory", id="A9 quantity"
        ),
        pytest.param(
            {"runtime": {"podLabels": {"slipway.dev/model": "x"}}}, "other keys", id="A7 our label"
        ),
        pytest.param(
            {"exposure": {"service": {"nodePorts": {"http": 30080}}}}, "needs type", id="node port"
        ),
        pytest.param(
            {"exposure": {"service": {"loadBalancerClass": "x"}}}, "needs type", id="class"
        ),
        pytest.param(
            {"autoscaling": {"minReplicas": 11}}, "raise maxReplicas", id="A10 minReplicas"
        ),
        pytest.param(
            {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
            "raise maxReplicas",
            id="A10 bounds",
        ),
        pytest.param({"autoscaling": {"minReplicas": 0}}, "needs autoscaling.keda", id="to zero"),
        pytest.param(
            {"autoscaling": {"keda": {"triggers": []}}}, "spec.autoscaling.keda", id="no trigger"
        ),
        pytest.param(
            {"autoscaling": {"keda": {"triggers": [{}], "pollingInterval": "0s"}}},
            "expected 1s to 1h",
            id="polling interval",
        ),
        pytest.param(
            {"autoscaling": {"keda": {"triggers": [{}]}, "metrics": [{}]}},
            "autoscaling.keda.triggers",
            id="metrics beside keda",
        ),
        pytest.param(
            {"autoscaling": {"latencyObjective": {"target": "0s"}}}, "expected 1ms", id="target"
        ),
        pytest.param(
            {"autoscaling": {"latencyObjective": {"target": "1s", "percentile": 100}}},
            "percentile",
            id="percentile",
        ),
        pytest.param(
            {"autoscaling": {"external": True, "maxReplicas": 3}},
            "somebody else decides",
            id="external and more",
        ),
        pytest.param(_asking(), "security.authentication.type", id="B68 no type"),
        pytest.param(_asking(type="mTLS"), '"APIKeys", "JWT"', id="B68 an unknown type"),
        pytest.param(_asking(type="APIKeys"), "secretName: expected with", id="B68 no Secret"),
        pytest.param(
            _asking(type="None", secretName="keys"), "and only with it", id="B68 keys for nobody"
        ),
        pytest.param(
            _asking(type="APIKeys", secretName="keys", issuer="x"),
            "expected with type JWT",
            id="B68 an issuer of keys",
        ),
        pytest.param(
            _asking(type="JWT", issuer="x", audience="y"), "all of them", id="B68 no key set"
        ),
        pytest.param(
            _asking(type="JWT", issuer="x", audience="y", jwks={}),
            "one of configMap and secret",
            id="B68 an empty key set",
        ),
        pytest.param(
            _asking(type="JWT", issuer="x", audience="y", jwks={"url": "https://x"}),
            "url",
            id="B68 a key set by URL",
        ),
    ],
)
def test_a_bad_field_is_named(models: Models, spec: dict[str, Any], expected: str) -> None:
    manifest = _manifest(models.namespace, {"model": {"uri": GOOD}, **spec})
    with pytest.raises(Refused) as refused:
        models.api.apply(manifest)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("m" * 41, "at most 40 characters", id="A4 too long"),
        pytest.param("1m", "starting with a letter", id="A4 digit first"),
        pytest.param("a.b", "starting with a letter", id="A5 dot"),
    ],
)
def test_a_bad_name_is_refused(models: Models, name: str, expected: str) -> None:
    manifest = _manifest(models.namespace, {"model": {"uri": GOOD}}, name)
    with pytest.raises(Refused) as refused:
        models.api.apply(manifest)
    assert expected in str(refused.value)


def test_a1_a_spec_without_anything_is_refused(models: Models) -> None:
    with pytest.raises(Refused, match=r"spec\.model: Required"):
        models.api.apply(_manifest(models.namespace, {}))


def test_a2_a_refusal_never_repeats_a_password(models: Models) -> None:
    manifest = _manifest(models.namespace, {"model": {"uri": "https://me:hunter2@h/m"}})
    with pytest.raises(Refused) as refused:
        models.api.apply(manifest)
    assert "hunter2" not in str(refused.value)


def test_a3_null_is_the_default(models: Models) -> None:
    spec = {"model": {"uri": GOOD}, "replicas": None}
    assert models.api.create(_manifest(models.namespace, spec))["spec"]["replicas"] == 1


def test_a67_there_is_one_version_and_no_conversion(api: Api) -> None:
    crd = api.get("CustomResourceDefinition", None, "modeldeployments.slipway.dev")
    assert crd is not None
    versions = [(v["name"], v["served"], v["storage"]) for v in crd["spec"]["versions"]]
    assert versions == [("v1alpha1", True, True)]
    assert crd["status"]["storedVersions"] == ["v1alpha1"]
    assert crd["spec"]["conversion"] == {"strategy": "None"}


def test_a54_a_megabyte_of_annotations_is_refused(models: Models) -> None:
    manifest = _manifest(models.namespace, {"model": {"uri": GOOD}})
    manifest["metadata"]["annotations"] = {"team.example/notes": "x" * 1_000_000}
    with pytest.raises(Refused, match="annotations: Too long"):
        models.api.apply(manifest)


def test_a_name_of_forty_characters_is_accepted(models: Models) -> None:
    models.apply("m" * 40)


@pytest.mark.parametrize(
    "serving",
    [
        pytest.param({"requestTimeout": "24h", "protocols": ["GRPC", "REST"]}, id="the longest"),
        pytest.param({"maxRequestBytes": 2147483647, "maxJSONBytes": "1"}, id="numbers"),
        pytest.param({"maxRequestBytes": "1.5Gi", "protocols": ["GRPC"]}, id="a fraction"),
    ],
)
def test_what_both_halves_take_is_taken(models: Models, serving: dict[str, Any]) -> None:
    models.apply(serving=serving)


@pytest.mark.parametrize("threads", ["Auto", "4", 4])
def test_threads_are_a_number_or_auto(models: Models, threads: int | str) -> None:
    models.apply(serving={"threads": threads})


def test_what_the_user_wrote_is_stored_unchanged(models: Models) -> None:
    spec = {
        "model": {"uri": GOOD},
        "runtime": {"resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}},
    }
    stored = models.api.apply(_manifest(models.namespace, spec))
    assert stored["spec"] == {**spec, "replicas": 1, "suspend": False}


def test_kubectl_explain_reads_like_documentation(models: Models) -> None:
    explained = models.kubectl("explain", "mdep.spec.model")
    assert explained.returncode == 0, explained.stderr
    text = " ".join(explained.stdout.split())
    for sentence in (
        "model says which model is served, where its bytes come from and how they are checked.",
        'A complete example: model: {uri: "oci://registry.example.com/models/digits:2"',
        "uri says where the model's bytes are. Required.",
        "digest is the SHA-256 of the model file",
    ):
        assert sentence in text


def test_every_example_is_accepted(api: Api, kubeconfig: Path, namespace: str) -> None:
    program = Path(sys.executable).parent / "kubectl"
    command = [
        str(program), f"--kubeconfig={kubeconfig}", "-n", namespace, "apply", "--server-side",
        "--dry-run=server", "--validate=strict", "-f", str(ROOT / "examples"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _manifest(namespace: str, spec: dict[str, Any], name: str = "m") -> Manifest:
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
