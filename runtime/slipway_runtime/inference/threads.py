"""Slow calls beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from time import sleep
from typing import Final, TypeVar, cast

Result = TypeVar("Result")

_NAME: Final = "load"
_BREATH_S: Final = 0.00005
"""Long enough that a thread which waits for the interpreter is woken, and has it."""


async def in_thread(call: Callable[[], Result]) -> Result:
    """Run one slow call beside the loop, in a thread that cannot hold the process back.

    Loading a model cannot be interrupted; a signal that comes meanwhile must end us all the same,
    and the pools of the standard library wait for their threads at exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(cast(Result, result))
        else:
            future.set_exception(error)

    def work() -> None:
        try:
            result, error = call(), None
        except Exception as err:  # noqa: BLE001  # raised again where the result is awaited
            result, error = None, err
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name=_NAME, daemon=True).start()
    return await future


def give_way() -> None:
    """Let the event loop have its turn, between two pieces of long work in a thread."""
    if threading.current_thread() is not threading.main_thread():
        sleep(_BREATH_S)


def is_under_way() -> bool:
    """Whether a slow call goes on that nobody may be waiting for any more."""
    return any(thread.name == _NAME for thread in threading.enumerate())
