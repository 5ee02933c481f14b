"""The loop that sends a candidate the requests of its preflight, and tells how it answered.

Lives here: reading the samples, sending them over the admin port, where nothing is counted, and
asking again while nobody answers.
Stays out: comparing (`verdict/golden.py`), and what follows (`plan/machine.py`).

Nothing is remembered beyond the end of this process: what was not told is asked again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import ValidationError

from slipway_operator.api import v1alpha1
from slipway_operator.engine.bounded import Answer, BoundedClient, NoAnswer, at
from slipway_operator.engine.cache import Cache, CacheKey, ObjectKey
from slipway_operator.engine.turns import Manifest, Turns
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.errors import ApiError, NotFound
from slipway_operator.kube.kinds import CONFIG_MAP, Kind
from slipway_operator.plan import conditions as c
from slipway_operator.plan.evidence import identity
from slipway_operator.plan.names import ADMIN_PORT, revision_name
from slipway_operator.plan.policy import Preflight, policy_of
from slipway_operator.plan.preflight import Trial
from slipway_operator.plan.progress import Progress, State, read
from slipway_operator.plan.revision import read as recorded
from slipway_operator.verdict.golden import (
    NAME,
    Comparison,
    Outputs,
    Sample,
    answer_of,
    samples_of,
)
from slipway_operator.verdict.outcome import Finding, Verdict

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
_PATIENCE_S: Final = 10.0
"""How long a preflight that cannot be made is tried before anybody hears of it."""
_AGAIN_S: Final = 5.0
"""Between two attempts."""
_REQUEST_S: Final = 30.0
_LONGEST_S: Final = 600.0
"""Of an attempt: a thousand samples and ten thousand requests for warming up may be too many."""
_ANSWER_BYTES: Final = 8 << 20
_SHOWN: Final = 200
_REFUSALS: Final = frozenset({400, 413, 415, 422, 500})
"""Statuses that speak against the model; any other than 200 speaks of its circumstances."""
_JSON: Final = {"Content-Type": "application/json"}


class Reader(Protocol):
    """The request of the API server that is made."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A preflight to be made."""

    rollout: str
    wish: Preflight
    stable: str
    candidate: str


class _Unmade(Exception):
    """It cannot be made now."""


class _Refused(Exception):
    """The model does not answer as it has to."""


class Preflights(Turns):
    """Keeps what is told of preflights true."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[ObjectKey],
        reader: Reader,
        client: BoundedClient,
        is_leading: Callable[[], bool],
        port: int = ADMIN_PORT,
    ) -> None:
        super().__init__(cache, queue, is_leading, port)
        self._reader, self._client = reader, client
        self._running: dict[ObjectKey, tuple[_Wanted, asyncio.Task[None]]] = {}
        self.told: dict[ObjectKey, Trial] = {}
        """What the next pass of each ModelDeployment is to know."""

    def forget(self) -> None:
        """End all of them."""
        for key in list(self._running):
            self._end(key)

    async def look(self, clock: Callable[[], float]) -> None:
        """Begin those that are asked for, and end those that are not any more."""
        wanted = dict(self._wanted())
        for key, (want, _) in list(self._running.items()):
            if wanted.get(key) != want:
                self._end(key)
        for key, want in wanted.items():
            if key not in self._running:
                self._running[key] = want, asyncio.create_task(self._make(key, want, clock))

    def _end(self, key: ObjectKey) -> None:
        _, task = self._running.pop(key)
        task.cancel()
        self.told.pop(key, None)

    def _wanted(self) -> list[tuple[ObjectKey, _Wanted]]:
        found = []
        for key in self._cache.rolling():
            mdep = self._mdep(key)
            progress = read(mdep.get("status") or {})
            if progress is None or not _is_awaited(progress):
                continue
            if (want := _want(mdep, progress)) is not None:
                found.append((key, want))
        return found

    async def _make(self, key: ObjectKey, want: _Wanted, clock: Callable[[], float]) -> None:
        """Try until it has been made; the outermost edge of this task."""
        began = clock()
        while True:
            try:
                finding = await self._attempt(key, want)
            except Exception as error:  # an answer nobody imagined: the others must go on
                log.exception("preflight crashed", extra={"key": str(key)})
                finding = Finding(NAME, Verdict.NO_DATA, f"it failed: {type(error).__name__}")
            is_known = finding.verdict is not Verdict.NO_DATA
            if is_known or clock() - began >= _PATIENCE_S:
                self._tell(key, Trial(want.rollout, want.wish, finding))
            if is_known:
                return
            await asyncio.sleep(_AGAIN_S)

    def _tell(self, key: ObjectKey, trial: Trial) -> None:
        if self.told.get(key) != trial:
            self.told[key] = trial
            self._queue.add(key)

    async def _attempt(self, key: ObjectKey, want: _Wanted) -> Finding:
        try:
            async with asyncio.timeout(_LONGEST_S):
                return await self._made(key, want)
        except _Unmade as error:
            return Finding(NAME, Verdict.NO_DATA, str(error))
        except TimeoutError:
            text = f"it took longer than {_LONGEST_S:g} s"
            return Finding(NAME, Verdict.NO_DATA, text)

    async def _made(self, key: ObjectKey, want: _Wanted) -> Finding:
        samples = await self._samples(key, want)
        pods = self._places(key, want.candidate)
        if not pods:
            raise _Unmade("no pod of the candidate is ready")
        text = ""
        try:
            if want.wish.golden is not None:
                known = await self._compared(key, want, samples, pods[0])
                found = known.finding(want.wish.golden)
                if found.verdict is not Verdict.PASS:
                    return found
                text = found.message
            await asyncio.gather(*(self._warm(key, want, samples, pod) for pod in pods))
        except _Refused as error:
            return Finding(NAME, Verdict.FAIL, str(error))
        if want.wish.warmup_requests:
            warm = f"{want.wish.warmup_requests} requests warmed each of {len(pods)} pods"
            text = f"{text}; {warm}" if text else warm
        return Finding(NAME, Verdict.PASS, text or "nothing was asked for")

    async def _samples(self, key: ObjectKey, want: _Wanted) -> tuple[Sample, ...]:
        name, entry = self._source(key, want)
        what = f"model.samples: ConfigMap {name!r}"
        try:
            found = await self._reader.get(CONFIG_MAP, key.namespace, name)
        except NotFound as error:
            raise _Unmade(f"{what} does not exist in namespace {key.namespace!r}") from error
        except ApiError as error:
            raise _Unmade(f"{what} cannot be read: {error.message}") from error
        text = (found.get("data") or {}).get(entry)
        if text is None:
            raise _Unmade(f"{what} has no key {entry!r} in its data")
        try:
            return samples_of(text)
        except ValueError as error:
            raise _Unmade(f"{what}, key {entry!r}: {error}") from error

    def _source(self, key: ObjectKey, want: _Wanted) -> tuple[str, str]:
        """Name and key of the samples that the candidate was made with."""
        name = revision_name(key.name, want.candidate)
        record = self._cache.get(CacheKey("ControllerRevision", key.namespace, name))
        revision = recorded(record) if record else None
        match revision.spec if revision else None:
            case {"model": {"samples": {"configMap": {"name": str(name), "key": str(entry)}}}}:
                return name, entry
        raise _Unmade(f"revision {want.candidate} has no model.samples")

    async def _compared(
        self, key: ObjectKey, want: _Wanted, samples: Sequence[Sample], pod: str
    ) -> Comparison:
        beside = None
        if want.wish.is_beside_stable:
            beside = next(iter(self._places(key, want.stable)), None)
            if beside is None:
                raise _Unmade("no pod of the stable revision is ready to compare with")
        known = Comparison()
        for number, sample in enumerate(samples, start=1):
            what = f"sample {number}"
            got = await self._outputs(key, pod, sample, what)
            expected = sample.expected
            if beside is not None:
                expected = await self._reference(key, beside, sample, what)
            known = await asyncio.to_thread(known.answered, number, got, expected)
            if known.defect:
                break
        return known

    def _places(self, key: ObjectKey, revision: str) -> list[str]:
        """Where the pods of a revision can be asked."""
        return [at(p["status"]["podIP"], self._port) for p in self._serving(key, revision)]

    async def _reference(self, key: ObjectKey, pod: str, sample: Sample, what: str) -> Outputs:
        try:
            return await self._outputs(key, pod, sample, what)
        except _Refused as error:
            raise _Unmade(f"the stable revision does not answer it: {error}") from error

    async def _warm(
        self, key: ObjectKey, want: _Wanted, samples: Sequence[Sample], pod: str
    ) -> None:
        for number in range(want.wish.warmup_requests):
            place = number % len(samples)
            await self._outputs(key, pod, samples[place], f"sample {place + 1}")

    async def _outputs(self, key: ObjectKey, pod: str, sample: Sample, what: str) -> Outputs:
        """Ask a pod.

        Raises:
            _Refused: it does not answer this request.
            _Unmade: it does not answer at all.
        """
        answer = await self._asked(f"{pod}/v2/models/{key.name}/infer", sample.request)
        if answer.status in _REFUSALS:
            said = answer.body.decode(errors="replace")[:_SHOWN]
            raise _Refused(f"{what}: status {answer.status}: {said!r}")
        if answer.status != 200:
            raise _Unmade(f"{what}: a pod answered with status {answer.status}, expected 200")
        try:
            return await asyncio.to_thread(answer_of, answer.body)
        except ValueError as error:
            raise _Refused(f"{what}: {error}") from error

    async def _asked(self, url: str, request: Any) -> Answer:
        try:
            return await self._client.ask(
                url, json.dumps(request).encode(), headers=_JSON,
                timeout_s=_REQUEST_S, max_bytes=_ANSWER_BYTES,
            )  # fmt: skip
        except NoAnswer as error:
            raise _Unmade(str(error)) from error


def _is_awaited(progress: Progress) -> bool:
    """A pause for want of a preflight ends when it can be made after all."""
    is_paused = progress.state is State.PAUSED and progress.reason == c.PREFLIGHT_UNAVAILABLE
    return is_paused or (progress.state is State.PREFLIGHT and not progress.preflight)


def _want(mdep: Manifest, progress: Progress) -> _Wanted | None:
    try:
        policy = policy_of(v1alpha1.parse_spec(mdep["spec"]))
    except ValidationError:  # told by the status already
        return None
    if policy.preflight is None:
        return None
    stable = str((mdep["status"].get("stable") or {}).get("hash") or "")
    rollout = identity(progress.candidate, progress.attempt)
    return _Wanted(rollout, policy.preflight, stable, progress.candidate)
