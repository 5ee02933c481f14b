"""The loop that reads the Jobs of checks out of their ConfigMaps, while they may be needed.

They belong to users and carry no label of ours, so nothing watches them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from slipway_operator.engine.attempt import attempt_of
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.turns import Manifest, Turns
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.errors import ApiError, NotFound
from slipway_operator.kube.kinds import CONFIG_MAP, Kind
from slipway_operator.plan.policy import CheckType, TemplateKey
from slipway_operator.plan.template import Template, template_of

LOOK_S: Final = 1.0
_AGAIN_S: Final = 15.0
"""Between two readings of one rollout's."""

Known = Mapping[TemplateKey, Template]


class Reader(Protocol):
    """The request of the API server that is made."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""


class Templates(Turns):
    """Keeps what is told of Jobs true."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[ObjectKey],
        reader: Reader,
        is_leading: Callable[[], bool],
    ) -> None:
        super().__init__(cache, queue, is_leading)
        self._reader = reader
        self._read_at: dict[ObjectKey, tuple[float, frozenset[TemplateKey]]] = {}
        self.told: dict[ObjectKey, Known] = {}
        """What the next pass of each ModelDeployment is to know."""

    def forget(self) -> None:
        """Begin anew."""
        self._read_at.clear()
        self.told.clear()

    async def look(self, clock: Callable[[], float]) -> None:
        """Read what is due."""
        wanted = dict(self._wanted())
        for gone in self._read_at.keys() - wanted.keys():
            del self._read_at[gone]
            self.told.pop(gone, None)
        due = [key for key, needed in wanted.items() if self._is_due(key, needed, clock())]
        await asyncio.gather(*(self._read(key, wanted[key], clock) for key in due))

    def _wanted(self) -> list[tuple[ObjectKey, frozenset[TemplateKey]]]:
        found = []
        for key in self._cache.rolling():
            attempt = attempt_of(self._mdep(key))
            checks = attempt.policy.of_type(CheckType.JOB) if attempt else []
            if needed := frozenset(c.template for c in checks if c.template):
                found.append((key, needed))
        return found

    def _is_due(self, key: ObjectKey, needed: frozenset[TemplateKey], now: float) -> bool:
        at, known = self._read_at.get(key, (float("-inf"), frozenset()))
        return known != needed or now - at >= _AGAIN_S

    async def _read(
        self, key: ObjectKey, needed: frozenset[TemplateKey], clock: Callable[[], float]
    ) -> None:
        found = {where: await self._template(key.namespace, where) for where in needed}
        self._read_at[key] = clock(), needed
        if self.told.get(key) != found:
            self.told[key] = found
            self._queue.add(key)

    async def _template(self, namespace: str, where: TemplateKey) -> Template:
        what = f"ConfigMap {where.name!r}"
        try:
            found = await self._reader.get(CONFIG_MAP, namespace, where.name)
        except NotFound:
            return Template(problem=f"{what} does not exist in namespace {namespace!r}")
        except ApiError as error:
            return Template(problem=f"{what} cannot be read: {error.message}")
        text = (found.get("data") or {}).get(where.key)
        if not isinstance(text, str):
            return Template(problem=f"{what} has no key {where.key!r} in its data")
        read = template_of(text)
        if read.problem:
            return Template(problem=f"{what}, key {where.key!r}: {read.problem}")
        return read
