"""The cluster, as far as the command reads it: one ModelDeployment, and what belongs to it.

Everything is read with the rights of whoever asks. What may not be read leaves a gap that is told.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from slipway_operator.kube.client import KubeClient, TokenBucket
from slipway_operator.kube.connection import connect
from slipway_operator.kube.errors import ApiError, Denied, NotFound
from slipway_operator.kube.kinds import (
    CONTROLLER_REVISION,
    EVENT,
    MODEL_DEPLOYMENT,
    POD,
    Kind,
)
from slipway_operator.plan.action import ACTION
from slipway_operator.plan.names import MODEL, SUPPLY_FOR

Manifest = dict[str, Any]

MANAGER: Final = "slipway-cli"
"""Field manager of the annotation."""
_MOST_NEAR: Final = 5


class NoSuchModel(Exception):
    """There is no ModelDeployment of that name; the text names those that come near."""


@dataclass(frozen=True, slots=True)
class Around:
    """What belongs to a ModelDeployment."""

    pods: list[Manifest]
    events: list[Manifest]
    gaps: list[str]


class Cluster:
    """One namespace of a cluster."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self._kube, self.namespace = kube, namespace

    async def __aenter__(self) -> Cluster:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._kube.close()

    async def model(self, name: str) -> Manifest:
        """Read a ModelDeployment.

        Raises:
            NoSuchModel: there is none of that name.
            ApiError: the API server refuses, or does not answer.
        """
        try:
            found = await self._kube.get(MODEL_DEPLOYMENT, self.namespace, name)
        except NotFound as missing:
            raise NoSuchModel(await self._near(name, missing)) from missing
        return {"apiVersion": MODEL_DEPLOYMENT.api_version, "kind": MODEL_DEPLOYMENT.kind, **found}

    async def _near(self, name: str, missing: NotFound) -> str:
        text = f"there is no ModelDeployment {name!r} in namespace {self.namespace!r}"
        try:
            if not await self._kube.serves(MODEL_DEPLOYMENT):
                return "the cluster has no ModelDeployments: Slipway is not installed in it"
            here = await self._kube.list_all(MODEL_DEPLOYMENT, self.namespace)
        except ApiError:
            return f"{text}: {missing.message}"
        names = sorted(m["metadata"]["name"] for m in here.items)
        near = difflib.get_close_matches(name, names, _MOST_NEAR, 0.5)
        if near:
            return f"{text}; did you mean {', '.join(map(repr, near))}?"
        if elsewhere := await self._elsewhere(name):
            return f"{text}; there is one in {', '.join(map(repr, elsewhere))}: add -n"
        shown = ", ".join(names[:_MOST_NEAR]) + (", …" if len(names) > _MOST_NEAR else "")
        return f"{text}; it has {shown or 'none at all'}"

    async def _elsewhere(self, name: str) -> list[str]:
        kind = replace(MODEL_DEPLOYMENT, field_selector=f"metadata.name={name}")
        try:
            found = await self._kube.list_all(kind)
        except ApiError:  # whoever asks may look into one namespace alone
            return []
        return sorted(m["metadata"]["namespace"] for m in found.items)[:_MOST_NEAR]

    async def around(self, name: str) -> Around:
        """Read pods and Events of a ModelDeployment."""
        gaps: list[str] = []
        about = f"involvedObject.kind={MODEL_DEPLOYMENT.kind},involvedObject.name={name}"
        pods = [
            *await self._all(replace(POD, label_selector=f"{MODEL}={name}"), gaps),
            *await self._all(replace(POD, label_selector=f"{SUPPLY_FOR}={name}"), gaps),
        ]
        events = await self._all(replace(EVENT, field_selector=about), gaps)
        return Around(pods, events, list(dict.fromkeys(gaps)))

    async def records(self, name: str) -> list[Manifest]:
        """Read the records of all revisions."""
        kind = replace(CONTROLLER_REVISION, label_selector=f"{MODEL}={name}")
        return (await self._kube.list_all(kind, self.namespace)).items

    async def _all(self, kind: Kind, gaps: list[str]) -> list[Manifest]:
        try:
            return (await self._kube.list_all(kind, self.namespace)).items
        except Denied as denied:
            gaps.append(f"no {kind.plural}: {denied.message}")
            return []

    async def ask(self, name: str, text: str) -> Manifest:
        """Write an action, and nothing else."""
        notes: Mapping[str, str] = {ACTION: text}
        return await self._kube.annotate(MODEL_DEPLOYMENT, self.namespace, name, notes, MANAGER)


async def reach(namespace: str | None, kubeconfig: str | None, context: str | None) -> Cluster:
    """Connect as kubectl would.

    Raises:
        NotConnected: there is no cluster to connect to.
    """
    connection = await connect(kubeconfig, context)
    chosen = namespace or connection.namespace or "default"
    return Cluster(KubeClient(connection, TokenBucket(50, 100)), chosen)
