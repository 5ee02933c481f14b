"""What the load tools print, as numbers.

Lives here: reading wrk's summary and h2load's output. Pure; text in, values out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_REQUESTS: Final = re.compile(
    r"requests: (?P<total>\d+) total, .*?(?P<done>\d+) done, (?P<succeeded>\d+) succeeded, "
    r"(?P<failed>\d+) failed, (?P<errored>\d+) errored, (?P<timeout>\d+) timeout"
)
_STATUS: Final = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_FINISHED: Final = re.compile(r"finished in (?P<time>[\d.]+)(?P<unit>us|ms|s|m),")
_DATA: Final = re.compile(r"traffic: .* \((?P<bytes>\d+)\) data")


@dataclass(frozen=True, slots=True)
class Load:
    """How one server answered one load.

    `errors` counts by kind: status, socket, timeout, and for gRPC answers without a message.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return self.requests / self.seconds


def percentile(sorted_values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50)
    2.0
    """
    if not sorted_values:
        return math.nan
    return sorted_values[max(0, math.ceil(len(sorted_values) * percent / 100) - 1)]


def read_wrk(output: str) -> Load:
    """Read the line of JSON that `load.lua` prints when wrk is done.

    Raises:
        ValueError: there is no such line.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError(f"wrk: got no summary, expected a line of JSON: {output[-200:]!r}")
    found = json.loads(lines[-1])
    errors = {"status": found["status"], "timeout": found["timeout"]}
    errors["socket"] = found["connect"] + found["read"] + found["write"]
    return Load(
        requests=found["requests"],
        seconds=found["duration_us"] / 1e6,
        p50_ms=found["p50_us"] / 1e3,
        p99_ms=found["p99_us"] / 1e3,
        errors=_counted(errors),
    )


def read_h2load(output: str, log: str, *, message_bytes: int, in_flight: int) -> Load:
    """Read h2load's summary, and the latencies of its log.

    A failed gRPC call is an HTTP 200 whose trailer says so, which h2load does not look at. But it
    has no message: where fewer bytes of data came than requests were answered, calls failed.

    Args:
        output: what h2load printed.
        log: its `--log-file`: start, status and duration in microseconds, one request a line.
        message_bytes: size of a right answer, with gRPC's prefix of 5 bytes.
        in_flight: answers that may be cut off by the end of the measurement.

    Raises:
        ValueError: the output is not h2load's summary.
    """
    matches = [pattern.search(output) for pattern in (_REQUESTS, _STATUS, _FINISHED, _DATA)]
    requests, status, finished, data = matches
    if requests is None or status is None or finished is None or data is None:
        raise ValueError(f"h2load: got no summary, expected one: {output[-200:]!r}")
    done = int(requests["done"])
    with_message = int(data["bytes"]) / message_bytes
    silent = max(0, math.floor(done - with_message - in_flight))
    errors = {
        "status": done - int(status[1]),
        "socket": int(requests["errored"]),
        "timeout": int(requests["timeout"]),
        "grpc": silent,
    }
    latencies = sorted(int(line.split()[2]) / 1e3 for line in log.splitlines() if line)
    return Load(
        requests=int(requests["succeeded"]),
        seconds=float(finished["time"]) * _UNITS[finished["unit"]],
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        errors=_counted(errors),
    )


def _counted(errors: dict[str, int]) -> dict[str, int]:
    return {kind: count for kind, count in errors.items() if count > 0}
