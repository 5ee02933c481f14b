"""Models of other formats: which steps a pod has, what each sees, and when they are due."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan.conversion import is_converting
from slipway_operator.plan.names import CONVERTING_TEMPLATE, Manifest
from slipway_operator.plan.plan import Plan, plan
from slipway_operator.plan.revision import Revision, SupplyResult, record
from slipway_operator.plan.sources import missing
from slipway_operator.plan.workload import EXIT_TERMINAL, convertible, pod_template, supply_job
from tests.builders import DEFAULTS, Scene, digest_of, revision_of, spec_of

AUTO: Final = spec_of("https://models.test/digits.joblib")
SPEC: Final[dict[str, Any]] = {
    "model": {
        "uri": "https://models.test/digits.joblib",
        "format": "Sklearn",
        "allowPickle": True,
        "credentials": {"secretName": "login"},
        "caBundle": {"configMap": {"name": "ca", "key": "ca.crt"}},
    },
    "runtime": {
        "env": [
            {"name": "SLIPWAY_RUNTIME_HF_ENDPOINT", "value": "https://hub.test"},
            {"name": "SLIPWAY_RUNTIME_CONVERT_TIMEOUT_S", "value": "60"},
        ]
    },
}
ONNX: Final = digest_of("converted")
SOURCE: Final = digest_of("original")
CONVERSION: Final[dict[str, Any]] = {
    "sourceDigest": SOURCE,
    "framework": "scikit-learn 1.9.1",
    "parity": {"rows": 1280, "maxAbsDiff": "2.4e-06", "labelAgreementPercent": 100},
}
STEPS: Final = ["fetch", "convert", "admit"]


def foreign(format_: str = "Sklearn") -> str:
    """The message of a step that has found another format."""
    failure = {"reason": "Unsupported", "terminal": True, "message": "no ONNX", "format": format_}
    return json.dumps({"failure": failure})


def converted(source: str = SOURCE) -> str:
    """The message of the last step of a conversion."""
    result = {
        "digest": ONNX,
        "format": "Sklearn",
        "sizeBytes": 4743,
        "conversion": {**CONVERSION, "sourceDigest": source},
    }
    return json.dumps({"result": result})


def found(planned: Plan, kind: str) -> Manifest | None:
    """What is applied of a kind."""
    return next((m for m in planned.apply if m["kind"] == kind), None)


def condition(planned: Plan) -> Manifest:
    """What the status says of being stuck."""
    (stalled,) = [c for c in (planned.status or {})["conditions"] if c["type"] == "Stalled"]
    return dict(stalled)


def names(pod: Manifest) -> list[str]:
    """Names of all containers, in the order of their start."""
    return [c["name"] for c in (*pod.get("initContainers", ()), *pod["containers"])]


def pods() -> list[Any]:
    scene = Scene(SPEC)
    revision = revision_of(scene.owner, SPEC, resolved=False)
    job = found(plan(scene.snapshot()), "Job")
    assert job is not None
    return [
        pytest.param(job["spec"]["template"]["spec"], id="Job"),
        pytest.param(revision.template["spec"], id="Deployment"),
    ]


def mounted(pod: Manifest, step: str) -> dict[str, bool]:
    """Volumes of a container, and whether it may write to them."""
    containers = {c["name"]: c for c in (*pod["initContainers"], *pod["containers"])}
    return {m["name"]: not m.get("readOnly", False) for m in containers[step]["volumeMounts"]}


@pytest.mark.parametrize("pod", pods())
def test_credentials_are_where_it_is_fetched_and_code_is_where_nothing_else_is(
    pod: Manifest,
) -> None:
    assert names(pod)[:3] == STEPS
    assert {"credentials", "ca", "original"} <= mounted(pod, "fetch").keys()
    convert = mounted(pod, "convert")
    convert.pop("config", None)
    assert convert == {"original": False, "converted": True, "scratch": True}
    admit = mounted(pod, "admit")
    assert (admit["original"], admit["converted"], admit["models"]) == (False, False, True)
    assert not admit.keys() & {"credentials", "ca", "scratch"}
    assert not mounted(pod, "fetch").keys() & {"converted", "models"}


@pytest.mark.parametrize("pod", pods())
def test_only_the_converting_step_has_the_large_image_and_only_its_own_settings(
    pod: Manifest,
) -> None:
    containers = {c["name"]: c for c in (*pod["initContainers"], *pod["containers"])}
    images = {name: c["image"] for name, c in containers.items()}
    assert images.pop("convert") == DEFAULTS.converter_image
    assert set(images.values()) == {DEFAULTS.image}
    told = {e["name"] for e in containers["convert"]["env"]} - {"SLIPWAY_RUNTIME_CONFIG_JSON"}
    assert told == {"SLIPWAY_RUNTIME_CONVERT_TIMEOUT_S"}


def test_a_format_that_is_named_is_converted_at_once() -> None:
    job = found(plan(Scene(SPEC).snapshot()), "Job")
    assert job is not None
    assert names(job["spec"]["template"]["spec"]) == STEPS


def test_a_format_that_is_recognised_replaces_the_job_by_one_that_converts() -> None:
    """The record knows it first: the Job that found it out may be gone after a crash."""
    scene = Scene(AUTO).recorded(AUTO, resolved=False).job(AUTO, ended="Failed")
    scene.supply_ended(AUTO, EXIT_TERMINAL, foreign())
    first = plan(scene.snapshot())
    written = found(first, "ControllerRevision")
    assert written is not None
    assert CONVERTING_TEMPLATE in written["metadata"]["annotations"]
    assert [d["kind"] for d in first.delete] == ["Job"]
    assert found(first, "Job") is None
    again = plan(scene.live(written).snapshot())
    assert [d["kind"] for d in again.delete] == ["Job"]
    scene.pods.clear()
    job = found(plan(scene.without("Job", scene.name_of(AUTO)).snapshot()), "Job")
    assert job is not None
    assert names(job["spec"]["template"]["spec"]) == STEPS


def converting(scene: Scene) -> Revision:
    """The revision of `AUTO`, whose model is known to be of another format."""
    return convertible(revision_of(scene.owner, AUTO, resolved=False), DEFAULTS)


def _scene(message: str, exit_code: int = 0) -> Scene:
    scene = Scene(AUTO)
    revision = converting(scene)
    scene.live(record(scene.owner, revision))
    job = supply_job(scene.owner, revision, DEFAULTS, parse_spec(dict(AUTO)))
    scene.live(job, {"conditions": []})
    return scene.supply_ended(AUTO, exit_code, message)


def test_pods_get_both_digests_and_the_three_steps() -> None:
    planned = plan(_scene(converted()).snapshot())
    deployment, config = found(planned, "Deployment"), found(planned, "ConfigMap")
    assert deployment is not None
    assert config is not None
    pod = deployment["spec"]["template"]["spec"]
    assert names(pod) == [*STEPS, "serve"]
    document = json.loads(config["data"]["serving.json"])
    assert (document["digest"], document["sourceDigest"]) == (ONNX, SOURCE)


def test_the_record_keeps_what_the_model_was() -> None:
    written = found(plan(_scene(converted()).snapshot()), "ControllerRevision")
    assert written is not None
    stored = json.loads(written["metadata"]["annotations"]["slipway.dev/supply-result"])
    assert stored["conversion"] == CONVERSION


@pytest.mark.parametrize("step", ["fetch", "convert"])
def test_a_step_before_the_last_tells_why_it_failed(step: str) -> None:
    failure = {"reason": "ConversionMismatch", "terminal": True, "message": "other numbers"}
    scene = _scene("")
    status = scene.pods[-1]["status"]
    ended = {"exitCode": EXIT_TERMINAL, "message": json.dumps({"failure": failure})}
    fine = {"terminated": {"exitCode": 0}}
    steps: list[Manifest] = [{"name": s, "state": fine} for s in ("fetch", "convert")]
    steps[("fetch", "convert").index(step)]["state"] = {"terminated": ended}
    status["initContainerStatuses"] = steps
    status["containerStatuses"] = [{"name": "admit", "state": {"waiting": {}}}]
    stalled = condition(plan(scene.snapshot()))
    assert (stalled["status"], stalled["reason"]) == ("True", "ConversionMismatch")
    assert stalled["message"].startswith("other numbers")


def test_the_digest_of_the_spec_is_that_of_the_file_before_its_conversion() -> None:
    spec = {"model": {**SPEC["model"], "digest": SOURCE}}
    scene = Scene(spec).recorded(spec, resolved=False).job(spec)
    scene.supply_ended(spec, 0, converted())
    assert found(plan(scene.snapshot()), "Deployment") is not None
    other = Scene(spec).recorded(spec, resolved=False).job(spec)
    other.supply_ended(spec, 0, converted(source=digest_of("another")))
    assert found(plan(other.snapshot()), "Deployment") is None


def test_without_a_converter_the_verdict_of_the_step_stands() -> None:
    scene = Scene(AUTO).recorded(AUTO, resolved=False).job(AUTO)
    scene.supply_ended(AUTO, EXIT_TERMINAL, foreign())
    without = replace(scene.snapshot(), defaults=replace(DEFAULTS, converter_image=""))
    planned = plan(without)
    stalled = condition(planned)
    assert (stalled["status"], stalled["reason"]) == ("True", "Unsupported")
    assert not planned.delete


def test_an_image_that_converted_stays_with_its_revision() -> None:
    """A later operator has another converter; its Job and pods must go on with the same one."""
    scene = Scene(AUTO)
    later = replace(DEFAULTS, converter_image="registry.test/slipway-converter:2")
    job = supply_job(scene.owner, converting(scene), later, parse_spec(dict(AUTO)))
    images = [c["image"] for c in job["spec"]["template"]["spec"]["initContainers"]]
    assert images == [DEFAULTS.image, DEFAULTS.converter_image]
    assert is_converting(converting(scene).template)


SAMPLES: Final = {"configMap": {"name": "rows", "key": "some.json"}}
INT8: Final = {"quantization": "DynamicInt8"}
STATIC: Final = {"quantization": "StaticInt8"}


def optimised(**model: Any) -> dict[str, Any]:
    """A spec whose model is to become smaller."""
    return {"model": {"uri": "https://models.test/digits.onnx", "optimization": INT8, **model}}


def job_of(spec: Mapping[str, Any]) -> Manifest:
    """The pod of the supply Job."""
    job = found(plan(Scene(spec).snapshot()), "Job")
    assert job is not None
    return dict(job["spec"]["template"]["spec"])


def pod_of(spec: Mapping[str, Any]) -> Manifest:
    """A serving pod."""
    return dict(revision_of(Scene(spec).owner, spec, resolved=False).template["spec"])


def image_of(pod: Manifest, step: str) -> str:
    """The image of a step."""
    return str(next(c["image"] for c in pod["initContainers"] if c["name"] == step))


@pytest.mark.parametrize(
    ("model", "image"),
    [
        pytest.param({"format": "ONNX"}, DEFAULTS.image, id="ONNX needs no large image"),
        pytest.param({}, DEFAULTS.converter_image, id="Auto may turn out to be anything"),
        pytest.param({"format": "XGBoost"}, DEFAULTS.converter_image, id="another format"),
    ],
)
def test_an_optimised_model_takes_the_three_steps(model: dict[str, Any], image: str) -> None:
    spec = optimised(**model)
    for pod in (job_of(spec), pod_of(spec)):
        assert names(pod)[:3] == STEPS
        assert image_of(pod, "convert") == image


def test_without_a_converter_the_runtime_optimises() -> None:
    defaults = replace(DEFAULTS, converter_image="")
    template = pod_template(Scene(AUTO).owner, "0" * 10, parse_spec(optimised()), defaults)
    assert image_of(template["spec"], "convert") == DEFAULTS.image
    plain = pod_template(
        Scene(AUTO).owner, "0" * 10, parse_spec(optimised(format="XGBoost")), defaults
    )
    assert names(plain["spec"]) == ["fetch", "serve"]


@pytest.mark.parametrize(
    "wish",
    [
        {"graph": "Basic"},
        {"quantization": "None", "pruning": "None", "minAgreementPercent": 99},
    ],
)
def test_what_only_a_pod_does_at_load_needs_no_steps(wish: dict[str, Any]) -> None:
    spec = optimised(optimization=wish)
    assert names(pod_of(spec)) == ["fetch", "serve"]
    assert names(job_of(spec)) == ["fetch"]


def samples_of(pod: Manifest, step: str) -> bool:
    """Whether a step has the samples; then the pod has their volume, and the step its file."""
    containers = {c["name"]: c for c in (*pod["initContainers"], *pod["containers"])}
    has_them = "samples" in mounted(pod, step)
    if has_them:
        items = [{"key": "some.json", "path": "samples.json"}]
        volume = {"name": "samples", "configMap": {"name": "rows", "items": items}}
        assert volume in pod["volumes"]
        args = containers[step]["args"]
        assert args[args.index("--samples") + 1] == "/samples/samples.json"
    return has_them


@pytest.mark.parametrize(
    ("spec", "in_job", "in_pod"),
    [
        pytest.param(optimised(samples=SAMPLES), True, False, id="compared on once"),
        pytest.param(
            optimised(samples=SAMPLES, optimization=STATIC), True, True, id="part of the bytes"
        ),
        pytest.param(
            {"model": {**SPEC["model"], "samples": SAMPLES}}, True, False, id="a conversion"
        ),
        pytest.param(
            {
                **optimised(samples=SAMPLES),
                "pipeline": {"preprocess": [{"cast": {"to": "FP32"}}]},
            },
            False, False, id="requests that the pipeline turns into tensors",
        ),
    ],
)  # fmt: skip
def test_samples_go_where_they_are_compared_or_calibrate(
    spec: dict[str, Any], in_job: bool, in_pod: bool
) -> None:
    assert samples_of(job_of(spec), "convert") == in_job
    assert samples_of(pod_of(spec), "convert") == in_pod
    assert "samples" not in mounted(job_of(spec), "fetch")


@pytest.mark.parametrize(
    ("model", "optional"),
    [
        pytest.param({"samples": SAMPLES}, True, id="a pod starts without them"),
        pytest.param({"samples": SAMPLES, "optimization": INT8}, True, id="optimised"),
        pytest.param({"samples": SAMPLES, "optimization": STATIC}, False, id="part of the bytes"),
        pytest.param({"samples": SAMPLES, "optimization": STATIC, "format": "PMML"}, False,
                     id="and of another format"),
        pytest.param({}, None, id="none"),
    ],
)  # fmt: skip
def test_a_pod_is_warmed_up_with_the_samples(model: dict[str, Any], optional: bool | None) -> None:
    pod = pod_of({"model": {"uri": "https://models.test/digits.onnx", **model}})
    volumes = [v["configMap"] for v in pod["volumes"] if v["name"] == "samples"]
    serve = next(c for c in pod["containers"] if c["name"] == "serve")
    mounts = [m for m in serve["volumeMounts"] if m["name"] == "samples"]
    if optional is None:
        assert (volumes, mounts) == ([], [])
        return
    (volume,) = volumes
    assert volume.get("optional", False) is optional
    assert mounts == [{"name": "samples", "mountPath": "/samples", "readOnly": True}]


def test_a_conversion_that_was_recognised_gets_the_samples_in_its_job() -> None:
    spec = spec_of("https://models.test/digits.joblib")
    spec["model"]["samples"] = SAMPLES
    scene = Scene(spec)
    revision = convertible(revision_of(scene.owner, spec, resolved=False), DEFAULTS)
    job = supply_job(scene.owner, revision, DEFAULTS, parse_spec(spec))
    assert samples_of(job["spec"]["template"]["spec"], "convert")
    assert not samples_of(dict(revision.template["spec"]), "convert")


def test_the_status_tells_what_was_gained() -> None:
    optimization = {
        "sizeBytesBefore": 36_000,
        "latencyMicrosecondsBefore": 80,
        "latencyMicrosecondsAfter": 60,
    }
    conversion = {**CONVERSION, "framework": "skl2onnx", "optimization": optimization}
    result = {"digest": ONNX, "format": "ONNX", "sizeBytes": 9_000, "conversion": conversion}
    scene = Scene(AUTO).recorded(AUTO, resolved=False)
    parsed = SupplyResult.parse(result)
    assert parsed is not None
    assert parsed.manifest()["conversion"] == conversion
    revision = replace(revision_of(scene.owner, AUTO, resolved=False), result=parsed)
    status = _status_model(revision)
    assert (status["sizeBytes"], status["optimization"]) == (9_000, optimization)
    assert status["parity"] == {"maxAbsDiff": "2.4e-06", "labelAgreementPercent": 100}


def _status_model(revision: Revision) -> Manifest:
    """`status.model` of a stable revision, as the API server keeps it."""
    from slipway_operator.api.status import SuppliedModel
    from slipway_operator.plan.status import _model

    model: Manifest = _model(revision)["model"]
    SuppliedModel.model_validate(model)
    return model


def test_a_missing_configmap_of_samples_is_named() -> None:
    model = optimised(samples=SAMPLES)
    assert missing(model, 'configmap "rows" not found', "team") == (
        "model.samples: ConfigMap 'rows' does not exist in namespace 'team'; create it"
    )
    assert missing(model, "references non-existent config key: some.json", "team") == (
        "model.samples: ConfigMap 'rows' has no key 'some.json'; add it, or name another"
    )
