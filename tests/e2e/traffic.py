"""A client inside the cluster that never stops asking, and what became of its requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from demo import client
from tests.e2e.models import Models
from tests.kubeapi import eventually

_POD: Final = "traffic"
_PYTHON: Final = "/opt/slipway/bin/python"
_ENOUGH: Final = 60
"""Requests after the last change before it is judged."""


class Traffic:
    """Half of the requests keep their connection, the others open one each (`demo/client.py`)."""

    def __init__(self, models: Models, image: str, name: str, body: dict[str, Any]) -> None:
        self._models = models
        with open(client.__file__, "rb") as source:
            models.publish(_POD, source.read(), "client.py")
        environment = {
            "MODEL_URL": f"http://{name}.{models.namespace}.svc/v2/models/{name}/infer",
            "REQUEST_BODIES": json.dumps([body]),
            "SECONDS": "600",
        }
        models.run_pod(_POD, image, [_PYTHON, "/files/client.py"], _POD, environment)
        self.until_sent(_ENOUGH)

    def totals(self) -> dict[str, int]:
        """What the client has counted so far; it tells once a second."""
        path = f"{self._models.api.path('Pod', self._models.namespace, _POD)}/log"
        answer = self._models.api.http.get(path, params={"tailLines": "1"})
        counted: dict[str, int] = json.loads(answer.text) if answer.text else {}
        return {"sent": 0, "failed": 0, **counted}

    def until_sent(self, more: int) -> dict[str, int]:
        """Wait for as many further requests; tell the totals then."""
        goal = self.totals()["sent"] + more
        return eventually(
            lambda: now if (now := self.totals())["sent"] >= goal else None,
            f"the client has sent {goal} requests",
            timeout_s=30,
            describe=self.totals,
        )

    def until_answered(self, version: str, more: int) -> None:
        """Wait for as many further answers of one version."""
        key = f"version {version}"
        goal = self.totals().get(key, 0) + more
        eventually(
            lambda: self.totals().get(key, 0) >= goal,
            f"{version} has answered {goal} requests",
            timeout_s=30,
            describe=self.totals,
        )

    @contextmanager
    def unbroken(self) -> Iterator[None]:
        """Let no request fail inside the block, nor in those that follow it."""
        before = _failures(self.totals())
        yield
        after = _failures(self.until_sent(_ENOUGH))
        new = {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0)}
        assert new == {}


def _failures(totals: dict[str, int]) -> dict[str, int]:
    return {k: n for k, n in totals.items() if k.startswith(("error", "status"))}
