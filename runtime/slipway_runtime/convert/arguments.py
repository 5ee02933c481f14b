"""The options of the verbs `convert` and `optimize`.

Standard library only: they are described before anybody knows whether the dependencies are there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final, get_args

from slipway_runtime.vocabulary import FORMATS, GraphOptimization, Pruning, Quantization

_TOLERANCE: Final = 1e-4
_TIMEOUT_S: Final = 900.0


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `convert`."""
    parser.add_argument("source", type=Path, metavar="MODEL", help="a file, or a SavedModel folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="gets the ONNX model"
    )
    parser.add_argument(
        "--format",
        choices=("Auto", *FORMATS[1:]),
        default="Auto",
        help="what MODEL is; Auto tells it by its content (%(default)s)",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="load Python pickles, which run what their author wrote",
    )
    parser.add_argument(
        "--inputs",
        nargs="+",
        default=(),
        metavar="NAME:DATATYPE:SHAPE",
        help="for files that do not say it; x:FP32:-1,64",
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="also compare on these: V2 JSON, .npy, .npz"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=_TOLERANCE,
        help="largest allowed difference, relative above 1 (%(default)s)",
    )
    parser.add_argument(
        "--timeout", type=float, default=_TIMEOUT_S, metavar="SECONDS", help="(%(default)s)"
    )
    _add_report(parser)


def add_optimize(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `optimize`."""
    parser.add_argument("source", type=Path, metavar="MODEL.onnx")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="gets the result"
    )
    parser.add_argument(
        "--graph",
        choices=get_args(GraphOptimization),
        default="All",
        help="what ONNX Runtime does to the graph at every load, done once (%(default)s)",
    )
    parser.add_argument(
        "--quantization",
        choices=get_args(Quantization),
        default="None",
        help="how weights are stored; StaticInt8 needs --samples (%(default)s)",
    )
    parser.add_argument(
        "--pruning",
        choices=get_args(Pruning),
        default="None",
        help="Magnitude sets the smallest weights to zero, for smaller archives (%(default)s)",
    )
    parser.add_argument(
        "--sparsity", type=int, metavar="PERCENT", help="with --pruning: weights that become zero"
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="real rows: V2 JSON, .npy, .npz"
    )
    parser.add_argument(
        "--min-agreement",
        type=float,
        default=99.0,
        metavar="PERCENT",
        help="labels that must not change (%(default)s)",
    )
    _add_report(parser)


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", type=Path, metavar="FILE", help="gets the report as JSON")
