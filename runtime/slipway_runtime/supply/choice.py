"""Which file of a folder is the model: one rule, so that every pod chooses the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from slipway_runtime.errors import Unsupported, shown

_SUFFIX: Final = ".onnx"
_USUAL: Final = "model.onnx"
_NAMED: Final = 10


def chosen_model(names: Iterable[str]) -> str:
    """Choose the only `*.onnx` that lies highest, or the `model.onnx` among several.

    >>> chosen_model(["onnx/model.onnx", "onnx/model_q8.onnx", "README.md"])
    'onnx/model.onnx'

    Raises:
        Unsupported: there is none, or more than one could be meant; the text names them.
    """
    everything = sorted(names)
    found = [name for name in everything if name.endswith(_SUFFIX)]
    if not found:
        raise Unsupported(
            f"model.uri: the folder has {_listed(everything)}, expected a file *{_SUFFIX}; "
            "convert the model to ONNX, or name another folder"
        )
    height = min(name.count("/") for name in found)
    highest = [name for name in found if name.count("/") == height]
    usual = [name for name in highest if name.rpartition("/")[2] == _USUAL]
    for candidates in (usual, highest):
        if len(candidates) == 1:
            return candidates[0]
    raise Unsupported(
        f"model.uri: {_listed(highest)} could all be the model, expected one file *{_SUFFIX}, or "
        f"one called {_USUAL}; name the folder of one of them"
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(shown(name) for name in names[:_NAMED]) or "no files") + more
