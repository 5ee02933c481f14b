"""An API server in memory, which can refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from slipway_operator.api.managers import FIELD_MANAGER
from slipway_operator.kube.errors import ApiError, Conflict, NotFound
from slipway_operator.kube.kinds import Kind

Manifest = dict[str, Any]


class Store:
    """An API server in memory, which can refuse."""

    def __init__(self) -> None:
        self.fence: Callable[[], None] = lambda: None
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.reads: list[tuple[str, str]] = []
        self.writes: list[tuple[str, str, str]] = []
        self.judgements: list[tuple[str, str]] = []
        self.refuse: Callable[[str, str], ApiError | None] = lambda verb, kind: None
        self.before_write: Callable[[], None] = lambda: None
        self._version = 100

    def _enter(self, verb: str, manifest: Manifest) -> tuple[str, str]:
        self.fence()  # as the client does, at the last moment
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if error := self.refuse(verb, kind):
            raise error
        self.writes.append((verb, kind, name))
        self.before_write()
        self._version += 1
        return kind, name

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        self.reads.append((kind.kind, name))
        if (kind.kind, name) not in self.objects:
            raise NotFound(404, "NotFound", name)
        return copy.deepcopy(self.objects[kind.kind, name])

    async def apply(self, manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
        self._check_preconditions(manifest["kind"], manifest["metadata"])
        key = self._enter("apply", manifest)
        known = self.objects.get(key, {"metadata": {"uid": f"uid-{self._version}"}})
        stored = copy.deepcopy(manifest)
        uid = known["metadata"]["uid"]
        stored["metadata"] |= {"uid": uid, "resourceVersion": str(self._version)}
        self.objects[key] = stored
        return copy.deepcopy(stored)

    def _check_preconditions(self, kind: str, meta: Manifest) -> None:
        """Refuse to make an object that is known by its uid, and to change one of another state."""
        known = self.objects.get((kind, meta["name"]))
        held = known["metadata"] if known else {}
        if meta.get("uid") not in (None, held.get("uid")):
            raise Conflict(409, "Conflict", "uid mismatch")
        if known and meta.get("resourceVersion") not in (None, held.get("resourceVersion")):
            raise Conflict(409, "Conflict", "modified")

    async def judged(self, manifest: Manifest) -> Manifest:
        self.fence()
        self.judgements.append((manifest["kind"], manifest["metadata"]["name"]))
        if error := self.refuse("judge", manifest["kind"]):
            raise error
        return manifest

    async def apply_status(self, manifest: Manifest) -> Manifest:
        key = self._enter("status", manifest)
        stored = self.objects[key]
        if stored["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "modified")
        stored["status"] = copy.deepcopy(manifest["status"])
        stored["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(stored)

    async def merge(self, manifest: Manifest) -> Manifest:
        """Change the metadata of an object."""
        key = self._enter("merge", manifest)
        stored = self.objects[key]
        stored["metadata"] |= {**manifest["metadata"], "resourceVersion": str(self._version)}
        return copy.deepcopy(stored)

    async def delete(self, manifest: Manifest) -> None:
        key = self._enter("delete", manifest)
        if key not in self.objects:
            raise NotFound(404, "NotFound", key[1])
        del self.objects[key]
