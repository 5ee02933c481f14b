"""A copy of a ModelDeployment is as settled as the original, under a name of its own."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.operator.copies import copied
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.kube.apply import covers, marked
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, by_name
from slipway_operator.plan.children import key
from slipway_operator.plan.plan import plan
from slipway_operator.plan.workload import RuntimeDefaults
from tests.builders import NOW, Scene, spec_of
from tests.cluster.operators import RUNTIME_IMAGE

SPEC = spec_of("https://models.test/m.onnx", runtime={"image": RUNTIME_IMAGE})
OLD, NEW = ObjectKey("t1", "digits"), ObjectKey("another", "twin")


def _original() -> list[dict[str, Any]]:
    """One that serves; its uids say nothing of names, as real ones."""
    scene = Scene(SPEC).serving(SPEC)
    objects = [scene.mdep, *scene.children.values()]
    text = json.dumps(objects)
    for number, one in enumerate(objects):
        text = text.replace(f'"{one["metadata"]["uid"]}"', f'"{number:08}-aaaa"')
    read: list[dict[str, Any]] = json.loads(text)
    return read


def test_a_copy_needs_no_write() -> None:
    cache = Cache()
    copies = copied(_original(), OLD, NEW)
    for version, copy in enumerate(copies, 1):
        copy["metadata"]["resourceVersion"] = str(version)
        cache.put(by_name(copy["kind"]), copy)
    snapshot = cache.snapshot(NEW, NOW, RuntimeDefaults(RUNTIME_IMAGE))
    assert snapshot is not None
    wanted = plan(snapshot).apply
    assert len(wanted) > 4
    assert [key(m) for m in wanted if not covers(snapshot.child(*key(m)), marked(m))] == []


def test_a_copy_shares_no_uid_and_no_name_with_the_original() -> None:
    original = _original()
    copies = copied(original, OLD, NEW)
    text = json.dumps(copies)
    assert not [one for one in original if one["metadata"]["uid"] in text]
    assert OLD.name not in text.replace(SPEC["model"]["uri"], "")
    (owner,) = {r["uid"] for c in copies for r in c["metadata"].get("ownerReferences", ())}
    (model,) = [c for c in copies if c["kind"] == MODEL_DEPLOYMENT.kind]
    assert model["metadata"]["uid"] == owner


def test_no_two_services_have_one_address() -> None:
    services = [c for c in copied(_original(), OLD, NEW) if c["kind"] == "Service"]
    assert {s["spec"]["clusterIP"] for s in services} == {"None"}
