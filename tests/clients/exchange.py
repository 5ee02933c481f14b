"""What a test tells a client program, and what the program tells back: JSON, both ways.

Lives here: the program's side. It runs in the client's environment, so that it knows nothing but
the standard library.
In: `{"servers": {name: {"http": "host:port", "grpc": "host:port"}}, "steps": {id: step}}`, where a
step is `{"call": name, …}` with the call's arguments. Out: `{id: {"value": …}}`, or
`{id: {"refused": …}}` where the client raised what it raises when a server refuses.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

Servers = Mapping[str, Mapping[str, str]]
Call = Callable[..., Any]
"""Takes a step's arguments; what it returns, or what that gives when awaited, is JSON."""
Session = Callable[[Servers], AbstractAsyncContextManager[Mapping[str, Call]]]
"""Connects to the servers, inside of a running loop, names its calls, and closes at the end."""


def play(session: Session, refusals: Mapping[type[Exception], Callable[[Any], Any]]) -> None:
    """Read the steps, make the calls in order, and write what came of each.

    Args:
        session: told above.
        refusals: the client's exceptions, and what each says. Others end the program: they are
            the client's inability to read the answer.
    """
    task = json.load(sys.stdin)
    seen = asyncio.run(_played(session, refusals, task))
    json.dump(seen, sys.stdout)


async def _played(
    session: Session,
    refusals: Mapping[type[Exception], Callable[[Any], Any]],
    task: Mapping[str, Any],
) -> dict[str, Any]:
    async with session(task["servers"]) as calls:
        return {
            name: await _seen(name, calls, step, refusals) for name, step in task["steps"].items()
        }


async def _seen(
    name: str,
    calls: Mapping[str, Call],
    step: dict[str, Any],
    refusals: Mapping[type[Exception], Callable[[Any], Any]],
) -> dict[str, Any]:
    call = calls[step.pop("call")]
    try:
        return {"value": await settled(call(**step))}
    except tuple(refusals) as err:
        said = next(say for kind, say in refusals.items() if isinstance(err, kind))
        return {"refused": said(err)}
    except Exception as err:
        err.add_note(f"in the step {name!r}")
        raise


async def settled(value: Any) -> Any:
    """What a call gives, of a client that is asynchronous as of one that is not."""
    return await value if inspect.isawaitable(value) else value
