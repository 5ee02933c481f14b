"""Tell a model's format by its content; nothing is loaded, and nothing of a pickle is run.

Lives here: the names of the formats, as `spec.model.format` has them, and what tells them apart.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from slipway_runtime.errors import InvalidModel, NotFound, PickleNotAllowed, Unsupported, shown
from slipway_runtime.supply.digest import looks_like
from slipway_runtime.vocabulary import FORMATS, Format

_HEAD_BYTES: Final = 4096
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05]")
_XGBOOST_JSON: Final = re.compile(rb'\{\s*"(learner|version)"\s*:')
_COMPRESSED: Final[dict[bytes, Callable[[BinaryIO], bytes]]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file).read(_HEAD_BYTES),
    b"BZh": lambda file: bz2.BZ2File(file).read(_HEAD_BYTES),
    b"\xfd7zXZ": lambda file: lzma.LZMADecompressor().decompress(file.read(), _HEAD_BYTES),
    b"\x78": lambda file: zlib.decompressobj().decompress(file.read(_HEAD_BYTES), _HEAD_BYTES),
}
"""What joblib compresses with, by the first bytes."""


def recognise(model: Path) -> Format:
    """Tell the format of a file or folder.

    Raises:
        NotFound: there is nothing.
        InvalidModel: it is empty.
        Unsupported: it is none that is known here; says what it looks like, and what to do.
    """
    if model.is_dir():
        return _folder(model)
    head = _head(model)
    if not head:
        raise InvalidModel(f"model: {shown(model.name)} is empty, expected a model")
    found = _by_signature(head) or _by_archive(model, head) or _by_text(head)
    if found is None and is_pickle(model):
        found = "Sklearn"
    if found is None and _is_onnx(head):
        found = "ONNX"
    if found is None:
        guess = looks_like(head) or "nothing that is known here"
        raise Unsupported(
            f"model: {shown(model.name)} looks like {guess}, expected one of {', '.join(FORMATS)}; "
            "name it with model.format (--format) if it is one of them"
        )
    return found


def is_pickle(model: Path) -> bool:
    """Whether loading this file would run what is written in it; compressed ones are looked into.

    Protocols 0 and 1 have no mark of their own: those are pickles where nothing else is known.
    """
    head = _head(model)
    for prefix, unpacked in _COMPRESSED.items():
        if head.startswith(prefix):
            try:
                with model.open("rb") as file:
                    head = unpacked(file)
            except (OSError, EOFError, zlib.error, lzma.LZMAError):
                return False
            break
    return _PICKLE.match(head) is not None


def refuse_pickle(model: Path, format_: Format, *, allowed: bool) -> None:
    """Stop before a pickle is loaded that nobody has allowed.

    Everything that is given as scikit-learn's and is no archive of skops is loaded as a pickle.

    Raises:
        PickleNotAllowed: it is a pickle.
    """
    if allowed or format_ != "Sklearn" or zipfile.is_zipfile(model):
        return
    raise PickleNotAllowed(
        f"model.allowPickle: false, but {shown(model.name)} is a Python pickle, which runs what "
        "its author wrote when it is loaded; set model.allowPickle: true (--allow-pickle) where "
        "you trust the author, or save the model with skops.io.dump"
    )


def _head(model: Path) -> bytes:
    try:
        with model.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as err:
        raise NotFound(f"model: {shown(str(model))} cannot be read ({err.strerror})") from err


def _folder(model: Path) -> Format:
    if (model / "saved_model.pb").is_file():
        return "TensorFlow"
    raise Unsupported(
        f"model: folder {shown(model.name)} has no 'saved_model.pb', expected a TensorFlow "
        "SavedModel; other formats are one file"
    )


def _by_signature(head: bytes) -> Format | None:
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "Keras"
    if head[4:8] == b"TFL3":
        return "TFLite"
    # UBJSON: an object, or one whose keys are counted, with the keys of XGBoost.
    if head.startswith((b"{L", b"{i", b"{$")) and (b"learner" in head or b"version" in head):
        return "XGBoost"
    return None


def _by_archive(model: Path, head: bytes) -> Format | None:
    """Look at the names in a ZIP archive; nothing is extracted."""
    if not head.startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(model) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as err:
        raise InvalidModel(f"model: {shown(model.name)} is a broken ZIP archive ({err})") from err
    if "schema.json" in names:
        return "Sklearn"  # skops
    if "config.json" in names and "metadata.json" in names:
        return "Keras"
    if any(name.endswith("/constants.pkl") for name in names):
        return "TorchScript"
    if any(name.endswith("/data.pkl") for name in names):
        raise Unsupported(
            f"model: {shown(model.name)} was written by torch.save, which stores no program; "
            "expected TorchScript: torch.jit.script(model.eval()).save(path)"
        )
    return None


def _by_text(head: bytes) -> Format | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"tree\n", b"tree\r\n")):
        return "LightGBM"
    if start.startswith(b"<") and b"<PMML" in head:
        return "PMML"
    if _XGBOOST_JSON.match(start):
        return "XGBoost"
    return None


def _is_onnx(head: bytes) -> bool:
    """A protobuf that begins as every exporter writes it: with the version of the IR, below 64."""
    return len(head) > 2 and head[0] == 0x08 and 1 <= head[1] < 64
