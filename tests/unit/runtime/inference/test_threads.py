"""Slow calls beside the loop."""

from pathlib import Path

import pytest

from slipway_runtime.inference.threads import in_thread


async def test_a_slow_call_leaves_the_loop_alone() -> None:
    assert await in_thread(lambda: 42) == 42


async def test_the_error_of_a_slow_call_is_raised() -> None:
    def broken() -> int:
        raise ValueError(Path("x"))

    with pytest.raises(ValueError, match="x"):
        await in_thread(broken)
