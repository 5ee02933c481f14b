"""One model that is loaded and warm, and everything that belongs to it.

It is replaced as a whole: whoever asks holds one `LoadedModel` from reading the request to writing
the answer, so that signature, run and revision are always of the same file. `uses` counts who holds
it; a model that was replaced is closed when the last of them has its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from slipway_runtime.inference.batcher import Batcher
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.probe import Verdict
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import Signature, rows
from slipway_runtime.inference.timing import Timing
from slipway_runtime.monitoring.outputs import OutputCounter
from slipway_runtime.provenance import Conversion


@dataclass(frozen=True, slots=True)
class Origin:
    """Which bytes a model was loaded from."""

    revision: str
    """Ten hexadecimal digits, as answers and status tell them."""
    digest: str | None


Prepare = Callable[[Mapping[str, Tensor]], Awaitable[Mapping[str, Tensor]]]


class Uses:
    """Counts requests that hold a model; belongs to the event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._ended: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """One more holds it."""
        self._count += 1

    def end(self) -> None:
        """One has its answer."""
        self._count -= 1
        if self._ended is not None:
            self._settle(self._ended)

    def ended(self) -> asyncio.Future[None]:
        """Done once nobody holds the model; to be asked when nobody is given it any more."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
            self._settle(self._ended)
        return self._ended

    def _settle(self, ended: asyncio.Future[None]) -> None:
        if not self._count and not ended.done():
            ended.set_result(None)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """What one file has become; belongs to the loop its batcher was made on."""

    origin: Origin
    signature: Signature
    verdict: Verdict
    batcher: Batcher
    outputs: OutputCounter | None
    request_timeout_s: float
    prepare: Prepare | None = None
    """Makes what the graph takes of what clients send; None where that is the same."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """What the file says of itself; see `properties.py`."""
    conversion: Conversion | None = None
    """Where a model comes from that Slipway has converted."""
    uses: Uses = field(default_factory=Uses)

    def __enter__(self) -> Self:
        """Keep it from being closed until the block ends."""
        self.uses.begin()
        return self

    def __exit__(self, *failure: object) -> None:
        self.uses.end()

    async def infer(
        self,
        request: InferenceRequest,
        *,
        timeout_s: float | None = None,
        timing: Timing | None = None,
    ) -> InferenceResponse:
        """Answer one request; its tensors fit this model's signature.

        Args:
            request: what was decoded with `signature`.
            timeout_s: time that the client still has; None for as long as the spec allows.
            timing: is told how long it waited and computed; None where nobody asks.

        Raises:
            ServingError: why it cannot be answered.
        """
        limit_s = self.request_timeout_s
        inputs = await self.prepare(request.inputs) if self.prepare else request.inputs
        results = await self.batcher.run(
            inputs,
            [spec.name for spec in request.outputs],
            self._rows(request.inputs),
            timeout_s=limit_s if timeout_s is None else min(timeout_s, limit_s),
            timing=timing,
        )
        outputs = tuple(zip(request.outputs, results, strict=True))
        if self.outputs:
            self.outputs.observe(outputs)
        return InferenceResponse(outputs, request.id)

    def batching(self) -> dict[str, Any]:
        """How requests share runs, for people."""
        return {
            "maxBatchSize": self.batcher.policy.max_rows,
            "reason": self.verdict.reason,
            "gain": self.verdict.gain,
        }

    def _rows(self, inputs: Mapping[str, Tensor]) -> int:
        first = next(iter(self.signature.inputs), None)
        return 1 if first is None else rows(first, inputs[first.name].shape)
