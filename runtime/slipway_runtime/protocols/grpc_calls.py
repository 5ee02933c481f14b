"""gRPC calls: from the chunks of an HTTP/2 stream to messages, and from answers to chunks.

What a client may make us hold is counted before it comes: a message is announced with its size, so
it is refused before its second byte. A call whose message does not come is ended after a while, the
oldest first where there are very many: a client that opens calls and is silent harms itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, TypeAlias

from slipway_runtime.errors import (
    BodyTimeout,
    InferenceFailed,
    InvalidRequest,
    MisframedMessage,
    QueueFull,
    RequestTooLarge,
    ServingError,
    Unauthenticated,
)
from slipway_runtime.http2.frames import Code
from slipway_runtime.http2.heads import RequestHead
from slipway_runtime.http2.streams import Stream
from slipway_runtime.protocols import grpc_framing as framing
from slipway_runtime.protocols.body import BodyBudget
from slipway_runtime.protocols.compression import inflate, inflated_limit
from slipway_runtime.protocols.grpc_framing import PREFIX_BYTES
from slipway_runtime.protocols.grpc_status import Status
from slipway_runtime.protocols.wire import clipped_message, code_of

log: Final = logging.getLogger(__name__)

MAX_SILENT_CALLS: Final = 16_384
MAX_STREAMING_CALLS: Final = 1_024
_MIN_RATE: Final = 1_024
"""Bytes a second, on average, that a message must come with after its head start."""
_ENOUGH_WAITING_BYTES: Final = 256 * 1024
_OK: Final = framing.trailers(Status.OK)
_UNIMPLEMENTED: Final = framing.trailers(Status.UNIMPLEMENTED)


class Context:
    """What a call knows beside its messages."""

    __slots__ = ("_expires_s", "head")

    def __init__(self, head: RequestHead, timeout_s: float | None) -> None:
        self.head: Final = head
        self._expires_s: Final = None if timeout_s is None else monotonic() + timeout_s

    def remaining_s(self) -> float | None:
        """How long the client still waits; None for as long as it takes."""
        return None if self._expires_s is None else self._expires_s - monotonic()


One: TypeAlias = Callable[[bytes, Context], Awaitable[bytes]]
Many: TypeAlias = Callable[[AsyncIterator[bytes], Context], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Unary:
    """A method that takes one message and answers one."""

    answer: One


@dataclass(frozen=True, slots=True)
class Streaming:
    """A method that takes and answers any number of messages."""

    answers: Many


Method: TypeAlias = Unary | Streaming


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What a message may take: bytes, seconds; and what all of them may."""

    max_message_bytes: int
    message_timeout_s: float
    budget: BodyBudget
    """Of requests, which REST shares."""
    answers: BodyBudget
    """Of answers that their clients do not take: they must not keep requests out."""
    max_calls: int
    """Calls whose message is complete and that have no answer yet."""
    trailer: Callable[[], bytes]
    """Sent with every answer: further fields, as they stand in the block."""


class Calls:
    """All calls of a server."""

    def __init__(self, limits: CallLimits) -> None:
        self.limits: Final = limits
        self.receiving: Final[OrderedDict[Call, float]] = OrderedDict()
        """Calls whose message is not complete, and when it must be; the oldest first."""
        self.tasks: Final[set[asyncio.Task[None]]] = set()
        self.streaming = 0
        self.inflating: Final = ThreadPoolExecutor(1, "inflate-grpc")

    def ok(self) -> bytes:
        """What ends an answer that went well."""
        return _OK + self.limits.trailer()

    def tick(self) -> None:
        """End the calls whose message takes too long; called once a second."""
        now_s = monotonic()
        late = [call for call, due_s in self.receiving.items() if due_s < now_s]
        limit_s = self.limits.message_timeout_s
        for call in late:
            call.fail(BodyTimeout(f"message: not complete within {limit_s:g}s"))

    def expect(self, call: Call, size: int = 0) -> None:
        """A message is due."""
        due_s = monotonic() + self.limits.message_timeout_s + size / _MIN_RATE
        self.receiving[call] = due_s
        if len(self.receiving) > MAX_SILENT_CALLS:
            oldest, _ = self.receiving.popitem(last=False)
            oldest.fail(QueueFull("too many calls wait for their message; retry later"))

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Answer a call beside the others."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class Call:
    """One call, from its head to its status."""

    __slots__ = ("_held", "calls", "context", "reserved", "stream", "task")

    def __init__(self, calls: Calls, stream: Stream, context: Context) -> None:
        self.calls: Final = calls
        self.stream: Final = stream
        self.context: Final = context
        self.reserved = 0
        self._held = 0
        self.task: asyncio.Task[None] | None = None
        stream.on_closed = self.release

    def gone(self) -> None:
        """The client has given up."""
        self.calls.receiving.pop(self, None)
        if self.task is not None:
            self.task.cancel()

    def fail(self, error: ServingError) -> None:
        """Answer with an error."""
        self.calls.receiving.pop(self, None)
        # Who serves what is for those who may ask.
        more = b"" if isinstance(error, Unauthenticated) else self.calls.limits.trailer()
        block = framing.trailers(code_of(error), clipped_message(str(error)), more)
        self.stream.finish(block if self.stream.is_started else framing.HEAD + block)
        if self.task is not None:
            self.task.cancel()

    def broke(self, err: Exception, message: str) -> None:
        """End the task that runs with what it raised; a bug is logged under the message."""
        self.task = None  # it ends by itself
        if not isinstance(err, ServingError):
            log.error(message, exc_info=err)
            err = InferenceFailed(f"internal error ({type(err).__name__})")
        self.fail(err)

    def reserve(self, size: int) -> None:
        """Count bytes that are held for this call.

        Raises:
            QueueFull: others hold too much.
        """
        self.calls.limits.budget.take(size, self.reserved)
        self.reserved += size

    def release(self) -> None:
        """Count nothing for this call any more."""
        self.calls.limits.budget.give(self.reserved)
        self.calls.limits.answers.give(self._held)
        self.reserved = self._held = 0

    def hold(self, size: int) -> None:
        """Count an answer that the client does not take at once, in place of its request.

        Raises:
            QueueFull: other answers wait for their clients.
        """
        self.release()
        if size > self.stream.room:
            self.calls.limits.answers.take(size)
            self._held = size

    def checked_size(self, size: int) -> int:
        """A message's announced size, if it may be so large."""
        most = self.calls.limits.max_message_bytes
        if size > most:
            raise RequestTooLarge(
                f"message: {size} bytes, expected at most {most}; serving.maxRequestBytes "
                "sets the limit"
            )
        return size

    async def inflated(self, payload: bytes) -> bytes:
        """Decompress a message, beside the loop: a few kilobytes become megabytes.

        Raises:
            MisframedMessage: it is flagged as compressed, and the call's head does not say how.
            RequestTooLarge: it becomes larger than allowed.
            InvalidRequest: it is damaged, cut, or followed by something else.
        """
        found = framing.coding(self.context.head)
        if found is None:
            raise MisframedMessage("message: flagged as compressed, but grpc-encoding names no way")
        most, loop = self.calls.limits.max_message_bytes, asyncio.get_running_loop()
        return await loop.run_in_executor(self.calls.inflating, inflate, payload, found, most)

    def held_bytes(self, is_compressed: bool, size: int) -> int:
        """Bytes that a message may become."""
        if not is_compressed:
            return size
        return inflated_limit(size, self.calls.limits.max_message_bytes)


class ForeignCall(Call):
    """A request that is none of gRPC: read to its end, and told so."""

    __slots__ = ()

    def __init__(self, calls: Calls, stream: Stream, context: Context) -> None:
        super().__init__(calls, stream, context)
        calls.expect(self)

    def received(self, chunk: bytes) -> None:
        """Read on."""
        self.stream.credit(len(chunk))

    def ended(self) -> None:
        """Answer in HTTP's words."""
        self.calls.receiving.pop(self, None)
        self.stream.answer(framing.NOT_GRPC, framing.NOT_GRPC_BODY, _UNIMPLEMENTED)


class UnaryCall(Call):
    """One message, one answer."""

    __slots__ = ("_answer", "_chunks", "_is_compressed", "_is_failed", "_size", "_total")

    def __init__(self, calls: Calls, stream: Stream, context: Context, answer: One) -> None:
        super().__init__(calls, stream, context)
        self._answer: Final = answer
        self._chunks: list[bytes] = []
        self._size = 0
        self._total: int | None = None
        self._is_compressed = False
        calls.expect(self)

    def received(self, chunk: bytes) -> None:
        """Collect the message."""
        self.stream.credit(len(chunk))
        self._chunks.append(chunk)
        self._size += len(chunk)
        try:
            if self._total is None and self._size >= PREFIX_BYTES:
                self._begin()
            if self._total is not None and self._size > self._total:
                raise InvalidRequest("message: expected one, got more")
        except ServingError as err:
            self._chunks.clear()
            self.fail(err)

    def ended(self) -> None:
        """Answer it."""
        calls = self.calls
        if self._size != self._total:
            self.fail(InvalidRequest(f"message: {self._size} bytes of it came, and then the end"))
            return
        calls.receiving.pop(self, None)
        if len(calls.tasks) >= calls.limits.max_calls:
            self.fail(QueueFull(f"more than {calls.limits.max_calls} calls wait; retry later"))
            return
        self.task = calls.run(self._run())

    def _begin(self) -> None:
        first = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._is_compressed, size = framing.read_prefix(first)
        self._total = PREFIX_BYTES + self.checked_size(size)
        self.reserve(self.held_bytes(self._is_compressed, size))
        if self._size < self._total:
            self.calls.expect(self, size)

    async def _run(self) -> None:
        try:
            answer = framing.message(await self._answer(await self._message(), self.context))
            self.hold(len(answer))
        except Exception as err:  # noqa: BLE001  # told, and logged where it is a bug
            self.broke(err, "gRPC call failed")
        else:
            self.stream.answer(framing.HEAD, answer, self.calls.ok())

    async def _message(self) -> bytes:
        """The message, which from now on belongs to who asks."""
        whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        raw = whole[PREFIX_BYTES:]
        return await self.inflated(raw) if self._is_compressed else raw


class StreamingCall(Call):
    """Any number of messages, any number of answers."""

    __slots__ = (
        "_answered", "_answers", "_arrived", "_buffer", "_drained", "_is_ended", "_uncredited"
    )  # fmt: skip

    def __init__(self, calls: Calls, stream: Stream, context: Context, answers: Many) -> None:
        super().__init__(calls, stream, context)
        self._answers: Final = answers
        self._buffer = bytearray()
        self._arrived: Final = asyncio.Event()
        self._drained: Final = asyncio.Event()
        self._answered = 0
        self._uncredited = 0
        self._is_ended = False
        calls.streaming += 1
        stream.on_drained = self._drained.set
        self.task = calls.run(self._run())

    def received(self, chunk: bytes) -> None:
        """Keep what has come until it is asked for; the stream's window bounds it."""
        try:
            self.reserve(len(chunk))
        except ServingError as err:
            self.fail(err)
            return
        self._buffer += chunk
        self._uncredited += len(chunk)
        self._arrived.set()

    def ended(self) -> None:
        """No more messages."""
        self._is_ended = True
        self._arrived.set()

    async def _messages(self) -> AsyncIterator[bytes]:
        while await self._has_next():
            yield await self._next()
            self._forget()

    async def _has_next(self) -> bool:
        """Wait for a whole message; False after the last."""
        wanted: int | None = None
        while wanted is None or len(self._buffer) < wanted:
            if wanted is None and len(self._buffer) >= PREFIX_BYTES:
                _, size = framing.read_prefix(self._buffer)
                wanted = PREFIX_BYTES + self.checked_size(size)
            elif self._is_ended:
                if self._buffer:
                    raise InvalidRequest("message: cut off")
                return False
            else:
                await self._more(wanted or PREFIX_BYTES)
        self.calls.receiving.pop(self, None)
        return True

    async def _next(self) -> bytes:
        """The message that has come."""
        is_compressed, size = framing.read_prefix(self._buffer)
        raw = bytes(self._buffer[PREFIX_BYTES : PREFIX_BYTES + size])
        del self._buffer[: PREFIX_BYTES + size]
        most = self.held_bytes(is_compressed, size)
        self.reserve(most - size)
        self._answered = PREFIX_BYTES + most
        return await self.inflated(raw) if is_compressed else raw

    def release(self) -> None:
        """Count nothing for this call any more."""
        super().release()
        self._answered = 0

    def _forget(self) -> None:
        """Count the message no more: it has been answered."""
        self.calls.limits.budget.give(self._answered)
        self.reserved -= self._answered
        self._answered = 0

    async def _more(self, wanted: int) -> None:
        """Let more come: somebody waits for it."""
        self.stream.credit(self._uncredited)
        self._uncredited = 0
        if self._buffer and self not in self.calls.receiving:
            self.calls.expect(self, wanted)
        self._arrived.clear()
        await self._arrived.wait()

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self.context.remaining_s()):
                await self._answer_all()
        except TimeoutError:
            self.task = None
            self.stream.reset(Code.CANCEL)  # the client has stopped waiting
        except Exception as err:  # noqa: BLE001  # told, and logged where it is a bug
            self.broke(err, "gRPC stream failed")
        else:
            self.stream.finish(self.calls.ok())
        finally:
            self.calls.streaming -= 1
            self.calls.receiving.pop(self, None)
            self.release()

    async def _answer_all(self) -> None:
        self.stream.start(framing.HEAD)
        async for answer in self._answers(self._messages(), self.context):
            self._forget()
            self.stream.send(framing.message(answer))
            # A client that does not read is not computed for.
            while self.stream.waiting_bytes > _ENOUGH_WAITING_BYTES:
                self._drained.clear()
                await self._drained.wait()
