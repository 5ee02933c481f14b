"""Words of the spec that the configuration, the converters and the command line all take.

Standard library only, and nothing else is imported: every pod and every `--help` reads them.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Format = Literal[
    "ONNX",
    "Sklearn",
    "XGBoost",
    "LightGBM",
    "Keras",
    "TensorFlow",
    "TFLite",
    "TorchScript",
    "PMML",
]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)

GraphOptimization = Literal["None", "Basic", "Extended", "All"]
FUSING: Final[frozenset[GraphOptimization]] = frozenset({"Extended", "All"})
"""Levels at which nodes are replaced by others that compute the same."""
Quantization = Literal["None", "DynamicInt8", "StaticInt8", "Float16"]
Pruning = Literal["None", "Magnitude"]
