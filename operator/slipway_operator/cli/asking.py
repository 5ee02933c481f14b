"""`slipway promote`, `abort`, …: write one annotation, and tell what the operator made of it."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from slipway_operator.cli.cluster import Cluster
from slipway_operator.kube.errors import Throttled, Unavailable
from slipway_operator.picture.verbs import Outcome, outcome, request
from slipway_operator.plan.action import Verb

_LOOK_S: Final = 0.3


async def ask(
    cluster: Cluster, name: str, verb: Verb, argument: str, *, wait_s: float | None
) -> Outcome:
    """Ask for an action.

    Args:
        cluster: where.
        name: of the ModelDeployment.
        verb: what is asked.
        argument: of a rollback.
        wait_s: how long the operator may take to take note; None: do not wait.

    Raises:
        Refused: it can have no meaning now; nothing was written.
    """
    wanted = request(verb, argument, await cluster.model(name), secrets.token_hex(4))
    await cluster.ask(name, wanted.text)
    if wait_s is None:
        return Outcome(True, f"{name}: asked: {wanted.text}")
    try:
        async with asyncio.timeout(wait_s):
            return await _answered(cluster, name, wanted.text)
    except TimeoutError:
        return Outcome(
            False,
            f"{name}: no operator has taken note of {wanted.text!r} within {wait_s:.0f} seconds; is"
            " one running, and does it look after this namespace? The annotation stays, and counts"
            " when one comes",
        )


async def _answered(cluster: Cluster, name: str, text: str) -> Outcome:
    while True:
        try:
            if found := outcome(text, await cluster.model(name)):
                return found
        except (Unavailable, Throttled):
            pass  # it was written; the next look may succeed
        await asyncio.sleep(_LOOK_S)
