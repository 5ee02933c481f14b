"""Real servers for real clients, and the clients' programs that talk to them."""

from __future__ import annotations

import ctypes
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto

from tests.clients.arrays import array_of, dtype_of, plain
from tests.clients.environments import interpreter
from tests.unit.repository.files import REPOSITORY
from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, environment, serving

DEADLINE_S = 100

NAN, INFINITY = float("nan"), float("inf")
NOT_FINITE = (NAN, INFINITY, -INFINITY)
ELEMENTS: Mapping[str, list[Any]] = {
    "BOOL": [True, False, True],
    "UINT8": [0, 1, 2**8 - 1],
    "UINT16": [0, 1, 2**16 - 1],
    "UINT32": [0, 1, 2**32 - 1],
    "UINT64": [0, 2**53 + 1, 2**64 - 1],
    "INT8": [-(2**7), 0, 2**7 - 1],
    "INT16": [-(2**15), 0, 2**15 - 1],
    "INT32": [-(2**31), 0, 2**31 - 1],
    "INT64": [-(2**63), 2**53 + 1, 2**63 - 1],
    "FP32": [NAN, -INFINITY, 0.10000000149011612],
    "FP64": [INFINITY, 5e-324, 0.1],
    "BYTES": ["", "é\u20ac", 'a "b"\n'],
}
"""Elements that are easily lost on the way, of every datatype that goes in every form."""

SERVER = {
    "name": "slipway",
    "version": "0.1.0",
    "extensions": [
        "binary_tensor_data",
        "classification",
        "parameters",
        "statistics",
        "model_configuration",
    ],
}
"""What the server tells of itself; its repository is closed."""

PROPERTIES = {
    "onnx.ir_version": "9",
    "onnx.producer_name": "tests",
    "onnx.opset_import": "17",
    "slipway.dev/digest": models.digest(models.affine()),
}
"""What the file of `affine` says of itself."""

MODELS = {
    "affine": models.affine,
    "echoes": lambda: models.identity(*ELEMENTS),
    # Clients send these in binary only, and ONNX Runtime has no BF16 beside strings.
    "half": lambda: models.identity("FP16"),
    "bfloat": lambda: models.identity("BF16"),
    "joined": models.joined,
    "counting": models.counting,
}


@contextmanager
def served(folder: Path, *names: str) -> Iterator[Servers]:
    """A server per model, ready."""
    with ExitStack() as stack:
        started: dict[str, Serving] = {}
        for name in names:
            path = models.saved(MODELS[name](), folder / f"{name}.onnx")
            started[name] = stack.enter_context(serving(path, host="127.0.0.1"))
        for server in started.values():
            server.wait_for("ready")
        yield Servers(folder, started)


class Servers:
    """Servers by the name of their model."""

    def __init__(self, folder: Path, started: Mapping[str, Serving]) -> None:
        self.folder = folder
        self.started = started
        self._sessions: dict[str, Any] = {}

    @property
    def addresses(self) -> dict[str, dict[str, str]]:
        """Where a client finds each."""
        return {
            name: {"http": server.url.removeprefix("http://"), "grpc": server.grpc}
            for name, server in self.started.items()
        }

    def ask(
        self, client: str, program: str, steps: Mapping[str, Any], *arguments: str
    ) -> dict[str, Any]:
        """Run a client's program in the client's environment; return what it saw, by step."""
        module = f"tests.clients.programs.{program}"
        task = {"servers": self.addresses, "steps": steps}
        done = subprocess.run(
            [interpreter(client), "-m", module, *arguments],
            input=json.dumps(task),
            cwd=REPOSITORY,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-5000:]
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def computed(self, name: str, *tensors: Mapping[str, Any]) -> dict[str, Any]:
        """What ONNX Runtime makes of tensors: shape and data of each output."""
        session = self._session(name)
        names = [output.name for output in session.get_outputs()]
        run = _run_bfloat if tensors[0]["datatype"] == "BF16" else _run
        return dict(zip(names, map(plain, run(session, names, tensors)), strict=True))

    def _session(self, name: str) -> Any:
        if name not in self._sessions:
            self._sessions[name] = onnxruntime.InferenceSession(self.folder / f"{name}.onnx")
        return self._sessions[name]


def _run(session: Any, names: list[str], tensors: Sequence[Mapping[str, Any]]) -> Any:
    return session.run(names, {tensor["name"]: _fed(tensor) for tensor in tensors})


def _fed(tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """ONNX Runtime takes text as str; of bytes it would take their representation."""
    if tensor["datatype"] == "BYTES":
        return np.array(tensor["data"], np.object_).reshape(tensor["shape"])
    return array_of(tensor)


def _run_bfloat(session: Any, names: list[str], tensors: Sequence[Mapping[str, Any]]) -> Any:
    """ONNX Runtime neither takes nor gives numpy's arrays of BF16."""
    make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
    feeds = {
        tensor["name"]: make(array_of(tensor).view(np.uint16), TensorProto.BFLOAT16)
        for tensor in tensors
    }
    for value in session.run_with_ort_values(names, feeds):
        content = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
        yield np.frombuffer(content, dtype_of("BF16")).reshape(value.shape())


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    """A tensor as the programs take it."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


HALF = tensor("in_FP16", "FP16", [5], [-0.0, 65504.0, 2.0**-24, NAN, -INFINITY])
BFLOAT = tensor("in_BF16", "BF16", [5], [-0.0, 3.3895313892515355e38, 2.0**-126, NAN, -INFINITY])


def echoed(*, is_finite: bool = False) -> list[dict[str, Any]]:
    """Inputs of the model `echoes`, which takes all of them; finite ones for clients' sake."""
    return [
        tensor(
            f"in_{datatype}",
            datatype,
            [3],
            [1.5 if is_finite and element in NOT_FINITE else element for element in elements],
        )
        for datatype, elements in ELEMENTS.items()
    ]


def same(seen: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check outputs: the same names in the same order, shapes and values; NaN is NaN."""
    assert list(seen) == list(expected)
    for name, output in expected.items():
        assert seen[name]["shape"] == output["shape"], name
        np.testing.assert_array_equal(seen[name]["data"], output["data"], err_msg=name)
