"""Reading the counters of a serving pod, straight from its admin port; no Prometheus is needed.

A pod runs an image of the user's choice: its answer is bounded in bytes and time, is followed
nowhere else, and what cannot be read is no reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from prometheus_client.parser import text_string_to_metric_families

from slipway_operator.engine.bounded import MAX_BYTES, BoundedClient, NoAnswer, at
from slipway_operator.plan.evidence import Sample
from slipway_operator.plan.metering import Reading

TIMEOUT_S: Final = 2.0
_LARGEST: Final = 1e15
"""Of a counter. An image of the user's own may say anything, and sums have to stay numbers."""
_LARGEST_EDGE: Final = 1e6
_MOST_OUTPUTS: Final = 64
_Parsed = TypeVar("_Parsed")


class NoReading(Exception):
    """A pod did not answer with its counters."""


class Scraper:
    """Reads pods, a bounded number of them at a time."""

    def __init__(self, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BYTES) -> None:
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._client = BoundedClient()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def read(self, host: str, port: int) -> Reading:
        """Read what one pod computes.

        Raises:
            NoReading: it does not answer in time, or with something else.
        """
        return await self._read(host, port, parsed)

    async def sample(self, host: str, port: int) -> Sample:
        """Read what one pod answers.

        Raises:
            NoReading: it does not answer in time, or with something else.
        """
        return await self._read(host, port, sampled)

    async def _read(self, host: str, port: int, parse: Callable[[str], _Parsed]) -> _Parsed:
        url = f"{at(host, port)}/metrics"
        try:
            answer = await self._client.ask(
                url, timeout_s=self._timeout_s, max_bytes=self._max_bytes
            )
            if answer.status != 200:
                raise NoReading(f"{url}: status {answer.status}, expected 200")
            return parse(answer.body.decode())
        except NoAnswer as error:
            raise NoReading(str(error)) from error
        except ValueError as error:
            raise NoReading(f"{url}: {type(error).__name__}: {error}") from error


def parsed(text: str) -> Reading:
    """Read the counters out of Prometheus' text format; the names are those of `docs/metrics.md`.

    Raises:
        ValueError: it is not that format, or a counter is missing.
    """
    sums: dict[str, float] = {}
    buckets: dict[float, float] = {}
    for name, labels, value in _samples(text):
        if not 0 <= value <= _LARGEST:  # nor is NaN
            raise ValueError(f"{name}: got {value}, expected 0 to {_LARGEST:g}")
        if name == "slipway_execution_duration_seconds_bucket":
            edge = _edge(labels.get("le", ""))
            buckets[edge] = buckets.get(edge, 0.0) + value
        elif name != "slipway_requests_total" or not _is_clients_mistake(labels.get("code", "")):
            sums[name] = sums.get(name, 0.0) + value
    try:
        return Reading(
            requests=sums.get("slipway_requests_total", 0.0),  # without a request there is none
            inferences=sums["slipway_queue_duration_seconds_count"],
            queue_s=sums["slipway_queue_duration_seconds_sum"],
            executions=sums["slipway_execution_duration_seconds_count"],
            execution_s=sums["slipway_execution_duration_seconds_sum"],
            busy_s=sums["slipway_busy_seconds_total"],
            answered=sums.get("slipway_request_duration_seconds_count", 0.0),
            request_s=sums.get("slipway_request_duration_seconds_sum", 0.0),
            execution_buckets=tuple(sorted(buckets.items())),
        )
    except KeyError as missing:
        raise ValueError(f"no sample of {missing}") from None


def sampled(text: str) -> Sample:
    """Read what the pod's clients have got; a pod that was never asked has got nothing to tell.

    Raises:
        ValueError: it is not that format.
    """
    good = bad = 0.0
    answers: dict[float, float] = {}
    outputs: dict[str, float] = {}
    for name, labels, value in _samples(text):
        if not 0 <= value <= _LARGEST:  # nor is NaN
            raise ValueError(f"{name}: got {value}, expected 0 to {_LARGEST:g}")
        match name:
            case "slipway_requests_total":
                code = labels.get("code", "")
                bad += value if code.startswith("5") else 0.0
                good += 0.0 if code.startswith("5") or _is_clients_mistake(code) else value
            case "slipway_request_duration_seconds_bucket":
                edge = _edge(labels.get("le", ""))
                answers[edge] = answers.get(edge, 0.0) + value
            case "slipway_output_total" if len(outputs) < _MOST_OUTPUTS:
                bucket = f"{labels.get('output', '')}/{labels.get('bucket', '')}"
                outputs[bucket] = outputs.get(bucket, 0.0) + value
    return Sample(good, bad, answers, outputs)


def _edge(text: str) -> float:
    edge = float(text)
    if edge == float("inf") or 0 <= edge <= _LARGEST_EDGE:
        return edge
    raise ValueError(f"bucket: got le={text!r}, expected seconds up to {_LARGEST_EDGE:g}, or +Inf")


def _samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    try:
        families = list(text_string_to_metric_families(text))
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not Prometheus' text format: {error!r}") from error
    for family in families:
        if family.name.startswith("slipway_"):
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value


def _is_clients_mistake(code: str) -> bool:
    """A request that never reached the model; 429 did not for want of capacity."""
    return code.startswith("4") and code != "429"
