"""TorchScript, by a program in whatever interpreter has PyTorch.

PyTorch is as large as all the others together and wants its own numpy: it is not imported here,
but in `torch_program.py`, which needs nothing but PyTorch and numpy. What goes in and comes out
are files of arrays.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import numpy as np
import onnx

from slipway_runtime.convert.original import Array, Feeds, Original
from slipway_runtime.convert.tabular import declared
from slipway_runtime.convert.task import Task
from slipway_runtime.errors import InvalidConfig, InvalidModel, Unsupported, clipped

_PROGRAM: Final = Path(__file__).with_name("torch_program.py")
_OPSET: Final = 16
"""The last that PyTorch 1.13, Debian 12's, knows."""


def load(source: Path, task: Task) -> Original:
    """Describe a traced or scripted module.

    Raises:
        InvalidConfig: the spec does not say its inputs, which the file does not either.
    """
    if not task.inputs:
        raise InvalidConfig(
            "model.inputs: missing, and TorchScript does not store datatypes and shapes; "
            "give model.inputs (--inputs x:FP32:-1,3,224,224)"
        )
    program = _Program(source, task)
    inputs = declared(task.inputs)
    example = {c.name: np.zeros([1 if s == -1 else s for s in c.shape], c.dtype) for c in inputs}
    framework, count = program.described(example)
    return Original(
        framework=framework,
        inputs=inputs,
        outputs=("output",) if count == 1 else tuple(f"output_{i}" for i in range(count)),
        predict=program.predict,
        export=lambda: program.export(example, count),
    )


class _Program:
    """Calls of `torch_program.py`; each starts it anew, it has nothing to remember."""

    def __init__(self, source: Path, task: Task) -> None:
        self._source: Final = source
        self._python: Final = (
            sys.executable if importlib.util.find_spec("torch") else task.torch_python
        )
        self._names: Final = [each.name for each in task.inputs]
        self._free: Final = {
            each.name: [place for place, size in enumerate(each.shape) if size == -1]
            for each in task.inputs
        }

    def described(self, example: Feeds) -> tuple[str, int]:
        """Name and version of the library, and the number of outputs."""
        folder = self._call("predict", example)
        told = json.loads((folder / "told.json").read_text("utf-8"))
        return f"PyTorch {told['torch']}", int(told["outputs"])

    def predict(self, feeds: Feeds) -> list[Array]:
        """Ask the original."""
        answers = np.load(self._call("predict", feeds) / "outputs.npz", allow_pickle=False)
        return [answers[f"output_{i}"] for i in range(len(answers.files))]

    def export(self, example: Feeds, outputs: int) -> Any:
        """Let PyTorch write ONNX."""
        return onnx.load(str(self._call("export", example, outputs) / "model.onnx"))

    def _call(self, verb: str, feeds: Feeds, outputs: int = 0) -> Path:
        folder = Path(mkdtemp(prefix="torch-"))
        arrays: dict[str, Any] = {name: feeds[name] for name in self._names}
        np.savez(folder / "inputs.npz", **arrays)
        asked = {"names": self._names, "free": self._free, "opset": _OPSET, "outputs": outputs}
        (folder / "asked.json").write_text(json.dumps(asked), "utf-8")
        command = [self._python, "-P", str(_PROGRAM), verb, str(self._source), str(folder)]
        _run(command)
        return folder


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603  # our own program
            list(command), capture_output=True, text=True, check=False
        )
    except OSError as err:
        raise _no_torch() from err
    if done.returncode:
        last = clipped(" ".join(done.stderr.splitlines()[-4:]), 500)
        if "No module named 'torch'" in done.stderr:
            raise _no_torch()
        raise InvalidModel(f"model: PyTorch cannot load, run or export it ({last})")


def _no_torch() -> Unsupported:
    return Unsupported(
        "model: TorchScript needs PyTorch, which is not here; give the operator the image "
        "slipway-converter-torch (chart value converterImage), or install PyTorch (Debian: "
        "apt-get install python3-torch)"
    )
