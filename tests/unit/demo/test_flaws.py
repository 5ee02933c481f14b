"""Bad versions take and give what the sound one does, and are bad where they are meant to be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from benchmarks.rollout.versions import COLUMNS, VERSIONS, sound
from demo import flaws

ROWS = np.random.default_rng(0).random((200, COLUMNS), np.float32)


def session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def scores(model: bytes, rows: Any = ROWS) -> Any:
    return session(model).run(None, {"x": rows})[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_has_the_sound_ones_signature_and_runs_on_zeros(version: str) -> None:
    found, expected = session(VERSIONS[version]()), session(sound(1))
    for nodes in ("get_inputs", "get_outputs"):
        told = [[(n.name, n.type, n.shape) for n in getattr(s, nodes)()] for s in (found, expected)]
        assert told[0] == told[1]
    assert found.run(None, {"x": np.zeros((1, COLUMNS), np.float32)})[0].shape == (1, 10)


def test_a_failing_version_fails_its_share_and_is_right_for_the_others() -> None:
    found, expected = session(VERSIONS["fails-20"]()), scores(sound(13))
    failures = []
    for place, row in enumerate(ROWS):
        try:
            (answer,) = found.run(None, {"x": row[None]})
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's kinds share no base class
            failures.append(str(error))
        else:
            np.testing.assert_allclose(answer[0], expected[place], rtol=1e-5)
    assert all("division by zero" in text for text in failures)
    assert len(failures) == np.sum(ROWS[:, 0] > 0.8)


def test_a_slower_version_computes_longer_and_gives_the_same() -> None:
    np.testing.assert_allclose(scores(VERSIONS["slow"]()), scores(sound(15)), rtol=1e-5)
    assert _turns(VERSIONS["slow"]()) == 5 * _turns(VERSIONS["v1"]())


def _turns(model: bytes) -> int:
    graph = onnx.load_from_string(model).graph
    (loop,) = (node for node in graph.node if node.op_type == "Loop")
    (count,) = (i for i in graph.initializer if i.name == loop.input[0])
    return int(numpy_helper.to_array(count))


def test_a_confused_version_predicts_another_class_for_every_row() -> None:
    classes = scores(VERSIONS["wrong"]()).argmax(axis=1)
    assert not np.any(classes == scores(sound(10)).argmax(axis=1))


def test_a_hungry_version_fills_memory_only_above_its_limit() -> None:
    model = flaws.hungry(sound(1), column=0, above=0.5, size_bytes=512 << 20)
    np.testing.assert_allclose(
        scores(model, ROWS[ROWS[:, 0] <= 0.5]), scores(sound(1), ROWS[ROWS[:, 0] <= 0.5])
    )
    assert _peak_mb(0.0) + 200 < _peak_mb(1.0)


def _peak_mb(first: float) -> float:
    """Peak memory of a process that asks a hungry model once."""
    program = (
        "import numpy as np, onnxruntime; from demo import flaws;"
        "from benchmarks.rollout.versions import sound;"
        "m = flaws.hungry(sound(1), column=0, above=0.5, size_bytes=512 << 20);"
        "s = onnxruntime.InferenceSession(m, providers=['CPUExecutionProvider']);"
        f"s.run(None, {{'x': np.full((1, {COLUMNS}), {first}, np.float32)}});"
        # Not getrusage: its peak begins with that of the process which forked.
        "print(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024
