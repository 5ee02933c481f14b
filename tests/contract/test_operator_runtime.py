"""The contract between the two halves, from both sides: they share no code, so this holds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from slipway_operator.api.v1alpha1 import Spec, parse_spec
from slipway_operator.plan import conditions
from slipway_operator.plan.names import ADMIN_PORT, GRPC_PORT, HTTP_PORT, Owner
from slipway_operator.plan.revision import Revision, SupplyResult
from slipway_operator.plan.security import FOLDER, JWKS_FILE, authentication_of
from slipway_operator.plan.serving import serving_document
from slipway_operator.plan.sources import sources
from slipway_operator.plan.workload import (
    EXIT_TERMINAL,
    RuntimeDefaults,
    deployment,
    pod_template,
    poll_job,
    supply_job,
)
from slipway_runtime.__main__ import build_parser
from slipway_runtime.authentication.policy import read_policy
from slipway_runtime.config import ServingConfig, parse_config
from slipway_runtime.settings import Settings
from slipway_runtime.supply import termination
from tests.unit.repository.files import REPOSITORY

HERE: Final = Path(__file__).parent
SERVING: Final = json.loads((HERE / "serving.schema.json").read_text())
TERMINATION: Final = json.loads((HERE / "termination.schema.json").read_text())
OWNER: Final = Owner("digits", "team", "uid-1")
DEFAULTS: Final = RuntimeDefaults(
    "runtime:1", insecure_registries="localhost:5000", converter_image="converter:1"
)
DIGEST: Final = "sha256:" + "ab" * 32
MINIMAL: Final[dict[str, Any]] = {"model": {"uri": "configmap://digits/model.onnx"}}
FULL: Final[dict[str, Any]] = {
    "model": {
        "uri": "oci://registry.example/models/digits:2",
        "digest": DIGEST,
        "format": "ONNX",
        "version": "2026-11-20",
        "credentials": {"secretName": "registry-login"},
        "caBundle": {"configMap": {"name": "ca", "key": "ca.crt"}},
        "proxy": {"https": "http://proxy.example:3128", "noProxy": ".svc"},
    },
    "serving": {
        "batching": {"mode": "On", "maxBatchSize": 16, "maxDelay": "5ms"},
        "executionProvider": "CPU",
        "protocols": ["REST"],
        "queue": {"maxLength": 64},
        "requestTimeout": "1h30m",
        "maxRequestBytes": "64Mi",
        "maxJSONBytes": 1048576,
        "threads": "2",
        "warmup": {"requests": 1},
    },
    "runtime": {"drain": "10s"},
}
FOREIGN: Final[dict[str, Any]] = {
    "model": {
        "uri": "https://models.example/digits.pt",
        "format": "TorchScript",
        "credentials": {"secretName": "login"},
        "caBundle": {"configMap": {"name": "ca", "key": "ca.crt"}},
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}],
    },
}
PICKLE: Final[dict[str, Any]] = {
    "model": {"uri": "pvc://models/digits.pkl", "format": "Sklearn", "allowPickle": True},
    "runtime": {"env": [{"name": "SLIPWAY_RUNTIME_CONVERT_TIMEOUT_S", "value": "60"}]},
}
OPTIMISED: Final[dict[str, Any]] = {
    "model": {
        "uri": "https://models.example/digits.onnx",
        "format": "ONNX",
        "samples": {"configMap": {"name": "rows", "key": "samples.json"}},
        "optimization": {
            "graph": "Extended",
            "quantization": "StaticInt8",
            "pruning": "Magnitude",
            "sparsityPercent": 30,
            "minAgreementPercent": 98,
        },
    },
}
SPECS: Final = [
    pytest.param(MINIMAL, id="minimal"),
    pytest.param(FULL, id="every field"),
    pytest.param(FOREIGN, id="converted"),
    pytest.param(PICKLE, id="a pickle"),
    pytest.param(OPTIMISED, id="optimised"),
]


def revision(spec: dict[str, Any], *, resolved: bool) -> Revision:
    blocks = {k: v for k, v in spec.items() if k in ("model", "serving", "runtime")}
    template = pod_template(OWNER, "0123456789", parsed(spec), DEFAULTS)
    source = f"oci://registry.example/models/digits@{DIGEST}"
    result = SupplyResult(DIGEST, "ONNX", 1, {}, source) if resolved else None
    return Revision("0123456789", 3, blocks, template, result)


def parsed(spec: dict[str, Any]) -> Spec:
    return parse_spec(spec)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("resolved", [pytest.param(True, id="pods"), pytest.param(False, id="job")])
def test_the_runtime_reads_what_the_operator_writes(spec: dict[str, Any], resolved: bool) -> None:
    document = serving_document(OWNER, revision(spec, resolved=resolved))
    jsonschema.validate(document, SERVING)
    read = ServingConfig.model_validate(document)
    assert (read.name, read.revision, read.revision_number) == ("digits", "0123456789", 3)
    assert read.digest == (DIGEST if resolved else None)
    assert (read.source is not None) == resolved


def test_every_field_of_serving_is_known_to_both_halves() -> None:
    from slipway_operator.api.v1alpha1 import Model, Serving

    for block, name in ((Model, "ModelBlock"), (Serving, "ServingBlock")):
        ours = {f.alias for f in block.model_fields.values()}
        live = {path.partition(".")[2] for path in LIVE} if block is Model else set()
        assert ours - live == set(SERVING["$defs"][name]["properties"])


CRD: Final = yaml.safe_load((REPOSITORY / "crds/slipway.dev_modeldeployments.yaml").read_text())
SHARED: Final = ("model", "serving")
OTHERWISE: Final = {
    "model.uri": {"minLength", "maxLength"},  # the grammar: CEL here, supply/uri.py there
    "model.inputs": {"type", "maxItems"},  # its items are a definition of their own there
    "model.digest": set[str](),  # a pattern there, in CEL here, for the sake of its message
    "serving.maxRequestBytes": set[str](),  # a quantity: int-or-string is written differently
    "serving.maxJSONBytes": set[str](),
    "serving.threads": set[str](),
}
"""Fields whose bounds are not written alike; those named are compared nevertheless."""
LIVE: Final = {"model.poll"}
"""Fields that belong to no revision, and that no runtime is told."""
BOUNDS: Final = {
    "enum", "items", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum",
    "pattern", "type",
}  # fmt: skip


def leaves(ours: Any, theirs: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Every field that both schemas have, with its two schemas."""
    while "$ref" in theirs or ("anyOf" in theirs and any("$ref" in o for o in theirs["anyOf"])):
        option = next(o for o in (theirs, *theirs.get("anyOf", ())) if "$ref" in o)
        theirs = SERVING["$defs"][option["$ref"].rsplit("/", 1)[1]]
    kinds = [option for option in theirs.get("anyOf", ()) if option != {"type": "null"}]
    if len(kinds) == 1:
        theirs = kinds[0]
    if "properties" not in ours:
        yield path, ours, theirs
        return
    asked = {k: v for k, v in ours["properties"].items() if f"{path}.{k}" not in LIVE}
    assert set(asked) == set(theirs["properties"]), path
    for name, field in asked.items():
        yield from leaves(field, theirs["properties"][name], f"{path}.{name}")


def shared() -> Iterator[tuple[str, Any, Any]]:
    spec = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for block in SHARED:
        yield from leaves(spec["properties"][block], SERVING["properties"][block], block)


@pytest.mark.parametrize(
    ("path", "ours", "theirs"), [pytest.param(*found, id=found[0]) for found in shared()]
)
def test_both_halves_have_the_same_bounds(path: str, ours: Any, theirs: Any) -> None:
    """What the API server accepts, the pod accepts: a pod that refuses it would never be ready."""
    compared = OTHERWISE.get(path, BOUNDS)
    assert {k: v for k, v in ours.items() if k in compared} == {
        k: v for k, v in theirs.items() if k in compared
    }


GAIN: Final = {
    "sizeBytesBefore": 36_000,
    "latencyMicrosecondsBefore": 80,
    "latencyMicrosecondsAfter": 60,
}
CONVERSION: Final = {
    "sourceDigest": DIGEST,
    "framework": "scikit-learn 1.9.1",
    "parity": {"rows": 1280, "maxAbsDiff": "2.4e-06", "labelAgreementPercent": 100},
}


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="ONNX"),
        pytest.param({"format": "Sklearn", "conversion": CONVERSION}, id="converted"),
        pytest.param({"conversion": {**CONVERSION, "optimization": GAIN}}, id="optimised"),
    ],
)
def test_the_operator_reads_what_the_supply_step_tells(more: dict[str, Any]) -> None:
    tensor = {"name": "X", "datatype": "FP32", "shape": [-1, 64]}
    result = {
        "digest": DIGEST,
        "format": "ONNX",
        "sizeBytes": 4416,
        "signature": {"inputs": [tensor], "outputs": [tensor], "truncated": True},
        "source": f"oci://registry.example/models/digits@{DIGEST}",
        "labelsDigest": DIGEST,
        **more,
    }
    jsonschema.validate({"result": result}, TERMINATION)
    read = SupplyResult.parse(result)
    assert read is not None
    assert read.manifest() == result


def test_every_reason_of_the_supply_step_is_documented_by_the_operator() -> None:
    reasons = TERMINATION["$defs"]["SupplyFailure"]["properties"]["reason"]["enum"]
    assert set(reasons) <= set(conditions.REASONS)


def test_both_halves_mean_the_same_by_an_exit_status() -> None:
    assert termination.EXIT_TERMINAL == EXIT_TERMINAL


@pytest.mark.parametrize("spec", SPECS)
def test_the_runtime_knows_every_argument_and_setting(spec: dict[str, Any]) -> None:
    known = {f"SLIPWAY_RUNTIME_{name.upper()}" for name in Settings.model_fields}
    known.add("SLIPWAY_RUNTIME_CONFIG_JSON")
    job = supply_job(OWNER, revision(spec, resolved=False), DEFAULTS, parsed(spec))
    template = revision(spec, resolved=True).pod_template["spec"]
    pods = [job["spec"]["template"]["spec"], template]
    for container in [c for p in pods for c in (*p.get("initContainers", ()), *p["containers"])]:
        build_parser().parse_args(container["args"])
        names = {e["name"] for e in container.get("env", ())}
        assert names <= known


@pytest.mark.parametrize("spec", SPECS)
def test_the_runtime_knows_how_to_look_again(spec: dict[str, Any]) -> None:
    document = {**serving_document(OWNER, revision(spec, resolved=False)), "model": spec["model"]}
    known = {"--known-digest": DIGEST, "--known-mark": DIGEST}
    more: dict[str, Any] = {"spec_hash": "0" * 10, "known": known}
    job = poll_job(OWNER, parsed(spec), document, DEFAULTS, **more)
    [container] = job["spec"]["template"]["spec"]["containers"]
    flags = build_parser().parse_args(container["args"])
    assert (flags.look, flags.known_digest, flags.known_mark) == (True, DIGEST, DIGEST)
    [told] = [e["value"] for e in container["env"] if e["name"] == "SLIPWAY_RUNTIME_CONFIG_JSON"]
    assert parse_config(json.loads(told)).model.uri == spec["model"]["uri"]
    look = termination.Look(digest=DIGEST, mark=DIGEST)
    jsonschema.validate(json.loads(termination.success_text(look)), TERMINATION)


def test_what_only_the_fetching_step_sees_lies_where_it_looks() -> None:
    flags = vars(build_parser().parse_args(["fetch", "--into", "models"]))
    model = {**FULL["model"], "uri": "configmap://digits/model.onnx"}
    spec = parsed({"model": model, "pipeline": LABELS})
    found = sources(spec.model, resolving=True, pipeline=spec.pipeline)
    assert [folder for _, folder in found] == [
        str(flags["source_dir"]), str(flags["credentials_dir"]), str(flags["ca_file"].parent),
        str(flags["labels_dir"]),
    ]  # fmt: skip


def test_what_takes_a_converted_model_over_has_the_labels_and_no_credentials() -> None:
    spec = {"model": {**FULL["model"], "format": "Keras"}, "pipeline": LABELS}
    pod = pod_template(OWNER, "0" * 10, parsed(spec), DEFAULTS)["spec"]
    mounted = {c["name"]: {m["name"] for m in c["volumeMounts"]} for c in pod["initContainers"]}
    assert {name: "labels" in volumes for name, volumes in mounted.items()} == {
        "fetch": True, "convert": False, "admit": True,
    }  # fmt: skip
    assert "credentials" not in mounted["admit"]


LABELS: Final = {
    "postprocess": [{"labels": {"configMap": {"name": "classes", "key": "labels.txt"}}}],
}


SECURITY: Final = [
    pytest.param({"type": "APIKeys", "secretName": "keys"}, id="keys"),
    pytest.param(
        {
            "type": "JWT", "issuer": "https://issuer.test", "audience": "digits",
            "jwks": {"secret": {"name": "issuer", "key": "k"}}, "healthEndpoints": "Required",
        },
        id="tokens",
    ),
]  # fmt: skip


@pytest.mark.parametrize("block", SECURITY)
def test_b68_the_runtime_knows_whom_the_operator_lets_ask(block: dict[str, Any]) -> None:
    asked = authentication_of(parsed({**MINIMAL, "security": {"authentication": block}}))
    made = deployment(OWNER, revision(MINIMAL, resolved=True), 1, authentication=asked)
    pod = made["spec"]["template"]["spec"]
    args = build_parser().parse_args(pod["containers"][0]["args"])
    policy = read_policy(args.authentication)
    assert policy.type == block["type"]
    assert policy.health_endpoints == block.get("healthEndpoints", "Exempt")
    assert (policy.issuer, policy.audience) == (block.get("issuer"), block.get("audience"))
    assert str(args.authentication_dir) == FOLDER
    source = pod["volumes"][-1]["secret"]
    assert [item["path"] for item in source.get("items", ())] == [JWKS_FILE] * ("jwks" in block)


def test_ports_are_the_runtimes_defaults() -> None:
    fields = Settings.model_fields
    defaults = tuple(fields[f"{name}_port"].default for name in ("http", "grpc", "admin"))
    assert defaults == (HTTP_PORT, GRPC_PORT, ADMIN_PORT)
