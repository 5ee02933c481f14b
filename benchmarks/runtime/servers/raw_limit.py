"""What ONNX Runtime does alone, in a loop without a server.

Usage: `python raw_limit.py SECONDS FILE.npz MODEL-bN…`; the file holds one row for each input,
`MODEL/INPUT`. Prints one JSON object: for each case, inferences a second and a CPU second.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import onnx_models


def rate(session: Any, feeds: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Runs a second and a CPU second, after a third of the time for warming up."""
    for length in (seconds / 3, seconds):
        begun, cpu, runs = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - begun < length:
            session.run(None, feeds)
            runs += 1
        wall, used = time.perf_counter() - begun, time.process_time() - cpu
    return runs / wall, runs / used


def main(seconds: float, path: str, cases: list[str]) -> None:
    """Time every case."""
    rows = np.load(path)
    found = {}
    for case in cases:
        model, _, batch = case.partition("-b")
        session = onnx_models.session(model)
        names = [entry.name for entry in session.get_inputs()]
        feeds = {name: np.repeat(rows[f"{model}/{name}"], int(batch), axis=0) for name in names}
        found[case] = [each * int(batch) for each in rate(session, feeds, seconds)]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2], sys.argv[3:])
