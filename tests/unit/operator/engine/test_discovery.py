"""Kinds of other projects come and go."""

from __future__ import annotations

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.discovery import Discovery
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.errors import Unavailable
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, OPTIONAL, Kind
from tests.builders import mdep
from tests.unit.operator.engine.clock import run

ALL = frozenset(k.kind for k in OPTIONAL)


class Asker:
    """An API server that has some kinds, or does not answer."""

    def __init__(self) -> None:
        self.served: set[str] = set()
        self.failures = 0

    async def serves(self, kind: Kind) -> bool:
        """Answer."""
        if self.failures:
            self.failures -= 1
            raise Unavailable(0, "NoAnswer", "refused")
        return kind.kind in self.served


def test_a_kind_that_appears_is_news_for_every_model_once() -> None:
    async def main() -> None:
        cache, queue, asker = Cache(), WorkQueue[ObjectKey](), Asker()
        cache.put(MODEL_DEPLOYMENT, mdep())
        discovery = Discovery(cache, queue, asker)
        await discovery.first()
        assert cache.missing_kinds == ALL
        assert len(queue) == 0
        asker.served = {"ScaledObject"}
        await discovery.look()
        assert cache.missing_kinds == ALL - {"ScaledObject"}
        queue.done(await queue.get())
        await discovery.look()
        assert len(queue) == 0

    run(main())


def test_no_answer_is_not_a_missing_kind() -> None:
    async def main() -> None:
        cache, asker = Cache(), Asker()
        asker.served, asker.failures = set(ALL), 3
        await Discovery(cache, WorkQueue[ObjectKey](), asker).first()
        assert cache.missing_kinds == frozenset()

    run(main())
