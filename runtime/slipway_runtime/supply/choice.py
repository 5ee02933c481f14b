"""Which part of a folder is the model: one rule, so that every pod chooses the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from slipway_runtime.errors import Unsupported, shown

_SUFFIX: Final = ".onnx"
_USUAL: Final = "model.onnx"
_SAVED: Final = "saved_model.pb"
_NAMED: Final = 10


def chosen_model(names: Iterable[str], format_: str = "Auto") -> str:
    """Choose a file, or the folder of TensorFlow's SavedModel; `""` is the whole folder.

    Of the files `*.onnx` that lie highest it is the only one, or the one called `model.onnx`. Where
    there is none, or TensorFlow is asked for, it is the highest folder with a `saved_model.pb`.

    >>> chosen_model(["onnx/model.onnx", "onnx/model_q8.onnx", "README.md"])
    'onnx/model.onnx'
    >>> chosen_model(["digits/saved_model.pb", "digits/variables/variables.index"])
    'digits'

    Raises:
        Unsupported: there is none, or more than one could be meant; the text names them.
    """
    everything = sorted(names)
    onnx = [name for name in everything if name.endswith(_SUFFIX)]
    saved = [name for name in everything if name.rpartition("/")[2] == _SAVED]
    if format_ == "TensorFlow" or (format_ == "Auto" and saved and not onnx):
        return _only(_highest(saved), everything, _SAVED).rpartition("/")[0]
    wanted = f"*{_SUFFIX} or {_SAVED}" if format_ == "Auto" and not onnx else f"*{_SUFFIX}"
    return _only(_highest(onnx), everything, wanted, usual=_USUAL)


def _highest(names: list[str]) -> list[str]:
    height = min((name.count("/") for name in names), default=0)
    return [name for name in names if name.count("/") == height]


def _only(found: list[str], everything: list[str], wanted: str, usual: str = "") -> str:
    if not found:
        raise Unsupported(
            f"model.uri: the folder has {_listed(everything)}, expected a file {wanted}; "
            "convert the model to ONNX, or name another folder"
        )
    called = [name for name in found if name.rpartition("/")[2] == usual]
    for candidates in (called, found):
        if len(candidates) == 1:
            return candidates[0]
    or_called = f", or one called {usual}" if usual else ""
    raise Unsupported(
        f"model.uri: {_listed(found)} could all be the model, expected one file {wanted}"
        f"{or_called}; name the folder of one of them"
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(shown(name) for name in names[:_NAMED]) or "no files") + more
