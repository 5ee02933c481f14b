"""Run or export TorchScript: `torch_program.py predict|export MODEL FOLDER`.

A program, not a module: it runs in an interpreter that has PyTorch and nothing of ours. FOLDER has
`asked.json` and `inputs.npz`, and gets `outputs.npz` and `told.json`, or `model.onnx`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Do one of the two."""
    import torch

    verb, source, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    asked = json.loads((folder / "asked.json").read_text("utf-8"))
    arrays = np.load(folder / "inputs.npz", allow_pickle=False)
    inputs = tuple(torch.from_numpy(arrays[name]) for name in asked["names"])
    torch.set_num_threads(1)
    module = torch.jit.load(source, map_location="cpu").eval()
    with torch.no_grad():
        if verb == "predict":
            predict(module, inputs, folder)
        else:
            export(module, inputs, asked, folder)


def predict(module: Any, inputs: tuple[Any, ...], folder: Path) -> None:
    """Answer, and say how many outputs there are."""
    import torch

    answer = module(*inputs)
    many = answer if isinstance(answer, tuple | list) else [answer]
    np.savez(folder / "outputs.npz", **{f"output_{i}": t.numpy() for i, t in enumerate(many)})
    told = {"torch": torch.__version__, "outputs": len(many)}
    (folder / "told.json").write_text(json.dumps(told), "utf-8")


def export(module: Any, inputs: tuple[Any, ...], asked: dict[str, Any], folder: Path) -> None:
    """Write ONNX, whose free dimensions are those of the inputs, and the batch of the outputs."""
    import torch

    outputs = [f"output_{i}" for i in range(asked["outputs"])]
    free = {name: {int(p): f"{name}_{p}" for p in places} for name, places in asked["free"].items()}
    if any(0 in places for places in free.values()):
        free.update({name: {0: "batch"} for name in outputs})
    torch.onnx.export(
        module,
        inputs,
        str(folder / "model.onnx"),
        input_names=asked["names"],
        output_names=outputs,
        dynamic_axes=free,
        opset_version=asked["opset"],
    )


if __name__ == "__main__":
    main()
