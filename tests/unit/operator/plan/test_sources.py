"""What the fetching container sees, and what is said when it is not there."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_operator.api.pipeline import Pipeline
from slipway_operator.api.v1alpha1 import Model
from slipway_operator.plan.sources import missing, mounts, sources

BUNDLE = {"configMap": {"name": "ca", "key": "ca.crt"}}


def claim(name: str) -> dict[str, Any]:
    volume = {"claimName": name, "readOnly": True}
    return {"name": "source", "persistentVolumeClaim": volume}


def key(kind: str, /, **source: str) -> dict[str, Any]:
    items = [{"key": "k", "path": "ca.crt"}]
    return {"name": "ca", kind: {**source, "items": items}}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param({"uri": "https://h/m"}, [], id="nothing to mount"),
        pytest.param(
            {"uri": "pvc://models/m.onnx"}, [(claim("models"), "/source")], id="a claim, read-only"
        ),
        pytest.param(
            {"uri": "s3://b/k", "credentials": {"secretName": "login"}},
            [({"name": "credentials", "secret": {"secretName": "login", "defaultMode": 0o400}},
              "/var/run/slipway/credentials")],
            id="a Secret that only its owner reads",
        ),
        pytest.param(
            {"uri": "https://h/m", "caBundle": {"secret": {"name": "ca", "key": "k"}}},
            [(key("secret", secretName="ca"), "/var/run/slipway/ca")],
            id="one key of a Secret",
        ),
        pytest.param(
            {"uri": "https://h/m", "caBundle": {"configMap": {"name": "ca", "key": "k"}}},
            [(key("configMap", name="ca"), "/var/run/slipway/ca")],
            id="one key of a ConfigMap",
        ),
    ],
)  # fmt: skip
def test_what_is_mounted(model: dict[str, Any], expected: list[Any]) -> None:
    assert list(sources(Model.model_validate(model), resolving=False)) == expected


def test_only_the_cache_is_written() -> None:
    model = {"uri": "pvc://models/m", "cache": {"persistentVolumeClaim": "cache"}}
    assert list(mounts(Model.model_validate(model), resolving=True)) == [
        {"name": "source", "mountPath": "/source", "readOnly": True},
        {"name": "cache", "mountPath": "/cache"},
    ]


def test_only_the_step_that_resolves_needs_the_key() -> None:
    """Pods fetch by the digest that was signed, and start though the key is gone."""
    model = Model.model_validate(
        {"uri": "oci://h/r", "verify": {"cosignKey": {"secret": {"name": "k", "key": "pub"}}}}
    )
    assert list(sources(model, resolving=False)) == []
    items = [{"key": "pub", "path": "cosign.pub"}]
    volume = {"name": "cosign", "secret": {"secretName": "k", "items": items}}
    assert list(sources(model, resolving=True)) == [(volume, "/var/run/slipway/cosign")]


@pytest.mark.parametrize(
    ("model", "cause", "expected"),
    [
        pytest.param(
            {"credentials": {"secretName": "login"}},
            'MountVolume.SetUp failed for volume "credentials" : secret "login" not found',
            "model.credentials: Secret 'login' does not exist in namespace 'team'; create it",
            id="no Secret",
        ),
        pytest.param(
            {"caBundle": BUNDLE},
            'MountVolume.SetUp failed for volume "ca" : configmap "ca" not found',
            "model.caBundle: ConfigMap 'ca' does not exist in namespace 'team'; create it",
            id="no ConfigMap",
        ),
        pytest.param(
            {"caBundle": BUNDLE},
            'MountVolume.SetUp failed for volume "ca" : configmap references non-existent config'
            " key: ca.crt",
            "model.caBundle: ConfigMap 'ca' has no key 'ca.crt'; add it, or name another",
            id="no such key",
        ),
        pytest.param(
            {"verify": {"cosignKey": BUNDLE}},
            'MountVolume.SetUp failed for volume "cosign" : configmap "ca" not found',
            "model.verify: ConfigMap 'ca' does not exist in namespace 'team'; create it",
            id="no key",
        ),
        pytest.param(
            {"cache": {"persistentVolumeClaim": "models"}},
            '0/1 nodes are available: persistentvolumeclaim "models" not found.',
            "model.cache: PersistentVolumeClaim 'models' does not exist in namespace 'team'; create"
            " it",
            id="no cache",
        ),
        pytest.param(
            {"uri": "pvc://models/m"},
            '0/1 nodes are available: persistentvolumeclaim "models" not found.',
            "model.uri: PersistentVolumeClaim 'models' does not exist in namespace 'team'; create"
            " it",
            id="no claim",
        ),
        pytest.param(
            {"credentials": {"secretName": "login"}}, 'secret "other" not found', None,
            id="somebody else's Secret",
        ),
    ],
)  # fmt: skip
def test_what_a_pod_waits_for(model: dict[str, Any], cause: str, expected: str | None) -> None:
    assert missing({"model": {"uri": "https://h/m", **model}}, cause, "team") == expected


LABELS = {
    "postprocess": [
        {"softmax": {}},
        {"labels": {"configMap": {"name": "classes", "key": "labels.txt"}}},
        {"labels": {"configMap": {"name": "classes", "key": "labels.txt"}, "output": "other"}},
    ]
}


@pytest.mark.parametrize("resolving", [True, False])
def test_labels_are_mounted_once_wherever_the_model_is_put_together(resolving: bool) -> None:
    model, pipeline = Model(uri="https://h/m"), Pipeline.model_validate(LABELS)
    items = [{"key": "labels.txt", "path": "classes/labels.txt"}]
    volume = {
        "name": "labels",
        "projected": {"sources": [{"configMap": {"name": "classes", "items": items}}]},
    }
    found = list(sources(model, resolving=resolving, pipeline=pipeline))
    assert found == [(volume, "/var/run/slipway/labels")]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (
            'MountVolume.SetUp failed for volume "labels" : configmap "classes" not found',
            "ConfigMap 'classes' does not exist in namespace 'team'; create it",
        ),
        (
            'MountVolume.SetUp failed for volume "labels" : configmap references non-existent'
            " config key: labels.txt",
            "ConfigMap 'classes' has no key 'labels.txt'; add it, or name another",
        ),
    ],
)
def test_labels_that_are_missing_are_named(cause: str, expected: str) -> None:
    spec = {"model": {"uri": "https://h/m"}, "pipeline": LABELS}
    assert missing(spec, cause, "team") == f"pipeline.postprocess[1].labels: {expected}"
