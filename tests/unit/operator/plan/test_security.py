"""Who may ask: what is laid over the pods of every revision, and what is told until it is there."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

import pytest
from pydantic import ValidationError

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan.names import Manifest, Owner
from slipway_operator.plan.plan import Plan, plan
from slipway_operator.plan.revision import revision_hash
from slipway_operator.plan.security import FLAG, VOLUME, authentication_of, secured, unsecured
from slipway_operator.plan.workload import deployment, pod_template
from tests.builders import DEFAULTS, OTHER_URI, Scene, mdep, revision_of, spec_of
from tests.unit.operator.plan.world import World

OWNER: Final = Owner.of(mdep())
KEYS: Final = {"authentication": {"type": "APIKeys", "secretName": "keys"}}
OTHERS: Final = {"authentication": {"type": "APIKeys", "secretName": "other-keys"}}
TOKENS: Final = {
    "authentication": {
        "type": "JWT", "issuer": "https://issuer.test", "audience": "digits",
        "jwks": {"configMap": {"name": "issuer", "key": "jwks"}}, "healthEndpoints": "Required",
    }
}  # fmt: skip
NONE: Final = {"authentication": {"type": "None"}}
OPEN_SPEC: Final = spec_of(replicas=2)
SPEC: Final = spec_of(replicas=2, security=KEYS)


def rendered(security: dict[str, Any]) -> Manifest:
    """The pod of a Deployment."""
    spec = spec_of(security=security)
    asked = authentication_of(parse_spec(spec))
    pod: Manifest = deployment(OWNER, revision_of(OWNER, spec), 1, 60, asked)["spec"]["template"]
    return pod


def serve_of(template: Manifest) -> Manifest:
    found: Manifest = template["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("security", [KEYS, TOKENS, NONE, {}])
def test_b68_it_is_no_part_of_a_revision(security: dict[str, Any]) -> None:
    spec = spec_of(security=security)
    assert revision_hash(spec) == revision_hash(spec_of())
    recorded = [pod_template(OWNER, "abc", parse_spec(s), DEFAULTS) for s in (spec, spec_of())]
    assert recorded[0] == recorded[1]


@pytest.mark.parametrize("security", [NONE, {}])
def test_b68_without_it_a_pod_is_what_it_was(security: dict[str, Any]) -> None:
    """An upgrade of the operator must not restart any pod."""
    revision = revision_of(OWNER, spec_of())
    assert rendered(security) == deployment(OWNER, revision, 1)["spec"]["template"]


@pytest.mark.parametrize(
    ("security", "source", "told"),
    [
        pytest.param(
            KEYS, {"secret": {"secretName": "keys", "defaultMode": 0o400}}, {"type": "APIKeys"},
            id="keys",
        ),
        pytest.param(
            TOKENS,
            {"configMap": {"name": "issuer", "items": [{"key": "jwks", "path": "jwks.json"}]}},
            {
                "type": "JWT", "issuer": "https://issuer.test", "audience": "digits",
                "healthEndpoints": "Required",
            },
            id="tokens",
        ),
    ],
)  # fmt: skip
def test_b68_only_the_serving_container_gets_the_keys(
    security: dict[str, Any], source: Manifest, told: Manifest
) -> None:
    template = rendered(security)
    pod, serve = template["spec"], serve_of(template)
    assert pod["volumes"][-1] == {"name": VOLUME, **source}
    assert serve["args"][-2] == FLAG
    assert json.loads(serve["args"][-1]) == told
    assert serve["volumeMounts"][-1] == {
        "name": VOLUME, "mountPath": "/var/run/slipway/authentication", "readOnly": True,
    }  # fmt: skip
    assert VOLUME not in json.dumps(pod["initContainers"])
    assert serve["env"] == serve_of(rendered({}))["env"], "no variable of the user's can undo it"


@pytest.mark.parametrize("first", [KEYS, TOKENS, NONE])
@pytest.mark.parametrize("second", [OTHERS, TOKENS, NONE])
def test_b68_what_is_laid_over_comes_off_again(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    recorded = pod_template(OWNER, "abc", parse_spec(spec_of()), DEFAULTS)
    before = copy.deepcopy(recorded)
    one = secured(recorded, authentication_of(parse_spec(spec_of(security=first))))
    asked = authentication_of(parse_spec(spec_of(security=second)))
    assert unsecured(one) == recorded == before
    assert secured(one, asked) == secured(recorded, asked)


def decided(scene: Scene) -> Plan:
    return plan(scene.snapshot())


def conditions(found: Plan) -> dict[str, tuple[str, str, str]]:
    entries = (found.status or {})["conditions"]
    return {e["type"]: (e["status"], e["reason"], e["message"]) for e in entries}


def open_scene(**more: Any) -> Scene:
    """A model that served everybody, whose spec asks for keys now."""
    return Scene(SPEC, generation=2).serving(OPEN_SPEC, replicas=2, **more)


def guarded_scene(updated: int, *, replicas: int = 2, ready: int = 2) -> Scene:
    """The Deployment asks for keys; so many of its pods do."""
    scene = open_scene()
    name = scene.name_of(SPEC)
    revision = revision_of(scene.owner, SPEC, promoted_at="2026-11-20T08:00:00Z")
    asked = authentication_of(parse_spec(SPEC))
    status = {
        "observedGeneration": 1, "replicas": replicas, "updatedReplicas": updated,
        "availableReplicas": ready,
    }  # fmt: skip
    live = deployment(scene.owner, revision, 2, authentication=asked)
    assert live["metadata"]["name"] == name
    return scene.live(live, status)


def test_b68_until_pods_are_replaced_the_status_claims_no_shelter() -> None:
    found = decided(open_scene())
    told = conditions(found)
    assert told["AuthenticationEnforced"] == (
        "False", "AuthenticationPending",
        "0 of 2 pods ask for credentials of type APIKeys; until they are replaced, the others"
        " answer as before",
    )  # fmt: skip
    assert told["Ready"][:2] == ("False", "AuthenticationPending")
    assert told["Available"][0] == "True"
    assert told["Reconciling"][0] == "True"
    changed = next(m for m in found.apply if m["kind"] == "Deployment")
    assert VOLUME in json.dumps(changed["spec"]["template"])
    assert changed["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert (found.status or {})["rollout"]["state"] == "Idle", "and no rollout begins"


@pytest.mark.parametrize(
    ("updated", "replicas", "expected"),
    [
        pytest.param(1, 3, ("False", "AuthenticationPending"), id="one is replaced"),
        pytest.param(2, 3, ("False", "AuthenticationPending"), id="an old one is still there"),
        pytest.param(2, 2, ("True", "CredentialsRequired"), id="all are"),
        pytest.param(0, 0, ("True", "CredentialsRequired"), id="there is none"),
    ],
)
def test_b68_it_is_enforced_when_no_pod_of_before_is_left(
    updated: int, replicas: int, expected: tuple[str, str]
) -> None:
    told = conditions(decided(guarded_scene(updated, replicas=replicas)))
    assert told["AuthenticationEnforced"][:2] == expected


def test_b68_a_status_that_is_late_counts_for_nothing() -> None:
    scene = guarded_scene(2)
    live = scene.children["Deployment", scene.name_of(SPEC)]
    live["metadata"]["generation"] = 2
    assert conditions(decided(scene))["AuthenticationEnforced"][0] == "False"


def test_b68_pods_of_another_revision_count_too() -> None:
    """A revision that drains still has traffic, and may be an open one."""
    scene = guarded_scene(2)
    scene.recorded(spec_of(OTHER_URI), number=7).deployed(spec_of(OTHER_URI), number=7)
    told = conditions(decided(scene))["AuthenticationEnforced"]
    assert told[0] == "False"
    assert told[2].startswith("2 of 3 pods ask")


def test_b68_switching_it_off_is_told_until_it_is_so() -> None:
    scene = guarded_scene(2)
    scene.mdep["spec"] = {**OPEN_SPEC, "security": NONE}
    told = conditions(decided(scene))
    assert told["AuthenticationEnforced"][:2] == ("False", "AuthenticationPending")
    assert "0 of 2 pods ask for no credentials any more" in told["AuthenticationEnforced"][2]
    assert "AuthenticationEnforced" not in conditions(
        decided(Scene(OPEN_SPEC).serving(OPEN_SPEC, replicas=2))
    )


@pytest.mark.parametrize(
    ("spec", "cause", "expected"),
    [
        pytest.param(
            SPEC, 'MountVolume.SetUp failed for volume "authentication" : secret "keys" not found',
            "security.authentication.secretName: Secret 'keys' does not exist in namespace 't1';"
            " create it",
            id="no Secret",
        ),
        pytest.param(
            spec_of(replicas=2, security=TOKENS),
            'MountVolume.SetUp failed for volume "authentication" : configmap references'
            " non-existent config key: jwks",
            "security.authentication.jwks: ConfigMap 'issuer' has no key 'jwks'; add it, or name"
            " another",
            id="no key of a ConfigMap",
        ),
        pytest.param(SPEC, "something else", "something else", id="another cause"),
    ],
)  # fmt: skip
def test_b68_a_missing_secret_is_named(spec: Manifest, cause: str, expected: str) -> None:
    scene = Scene(spec, generation=2).serving(OPEN_SPEC, replicas=2)
    scene.pod(spec, {"waiting": {"reason": "ContainerCreating"}}, phase="Pending")
    scene.mount_failures["pod-1"] = cause
    told = conditions(decided(scene))
    assert told["Ready"][1] == "AuthenticationPending"
    assert told["Ready"][2].endswith(f"; pod pod-1: MountFailed: {expected}")


def test_b68_a_pod_that_refuses_its_keys_stalls_with_its_words() -> None:
    scene = guarded_scene(1, replicas=3)
    words = {"failure": {"message": "authentication: there is no key, so nobody could ask"}}
    ended = {"terminated": {"exitCode": 2, "message": json.dumps(words)}}
    scene.pod(SPEC, {"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended, restartCount=3)
    told = conditions(decided(scene))
    assert told["Stalled"][:2] == ("True", "CrashLoopBackOff")
    assert "there is no key, so nobody could ask" in told["Stalled"][2]
    assert told["Available"][0] == "True", "the pods of before go on"


def test_b68_through_a_whole_life_no_revision_is_made() -> None:
    world = World(OPEN_SPEC)
    world.settle()
    first = world.stable
    for security in (KEYS, OTHERS, TOKENS, NONE, {}):
        world.change({**OPEN_SPEC, "security": security})
        world.settle()
        assert world.stable == first == world.selected()
        assert len(world.deployments()) == 1
        is_asked = bool(security) and security != NONE
        assert (VOLUME in json.dumps(world.deployments())) == is_asked
        expected = ("True", "CredentialsRequired") if is_asked else ("", "")
        assert world.condition("AuthenticationEnforced") == expected
        assert world.condition("Ready") == ("True", "Serving")


def test_b68_a_new_version_asks_from_its_first_pod() -> None:
    world = World(SPEC)
    world.settle()
    world.change({**spec_of(OTHER_URI, replicas=2), "security": KEYS})
    world.settle()
    assert all(VOLUME in json.dumps(live) for live in world.deployments())
    assert world.condition("AuthenticationEnforced") == ("True", "CredentialsRequired")


def test_b68_a_rebuilt_record_holds_what_was_recorded() -> None:
    world = World(SPEC)
    world.settle()
    name = f"digits-{world.stable}"
    before = copy.deepcopy(world.objects["ControllerRevision", name]["data"])
    world.remove("ControllerRevision", name)
    world.settle()
    after = world.objects["ControllerRevision", name]["data"]
    assert VOLUME not in json.dumps(after)
    assert after["podTemplate"] == before["podTemplate"]


@pytest.mark.parametrize(
    "authentication",
    [{}, {"type": "mTLS"}, {"type": "APIKeys", "keys": []}, {"type": "JWT", "jwks": {"url": "x"}}],
)
def test_b68_what_is_not_known_is_refused(authentication: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse_spec(spec_of(security={"authentication": authentication}))
