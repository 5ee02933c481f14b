"""Rows to compare two models on: generated ones, and the user's own.

Generated rows are of several kinds, because each kind misses something: small and large numbers,
whole numbers, and values around those that the model itself knows (thresholds of trees, means of
scalers). The seed is fixed: the same model is always compared on the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway_runtime.convert.original import Array, Column, Feeds, Original
from slipway_runtime.errors import InvalidConfig, shown

_SEED: Final = 20_261_121
_FREE_SIZE: Final = 8
"""Stands for free dimensions behind the batch's."""
_MISSING_SHARE: Final = 0.1

_Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
_KINDS: Final[tuple[_Draw, ...]] = (
    lambda random, shape: random.normal(size=shape),
    lambda random, shape: random.normal(scale=30.0, size=shape),
    lambda random, shape: random.uniform(size=shape),
    lambda random, shape: random.integers(0, 17, size=shape),
)


def generated(original: Original, rows: int) -> Iterator[Feeds]:
    """Make feeds of up to `rows` rows, one after the other of each kind."""
    random = np.random.default_rng(_SEED)
    for kind in _KINDS:
        yield {c.name: _cast(c, kind(random, _shape(c, rows)), random) for c in original.inputs}
    if len(original.inputs) == 1 and original.landmarks:
        yield {original.inputs[0].name: _around_landmarks(original, rows, random)}
    if original.takes_missing:
        yield {c.name: _with_gaps(c, rows, random) for c in original.inputs}


def given(file: Path, inputs: Sequence[Column]) -> list[Feeds]:
    """Read the user's samples: V2 requests as JSON (one, a list, or one a line), `.npy` or `.npz`.

    Raises:
        InvalidConfig: the file cannot be read, or its tensors are not the model's.
    """
    try:
        found = _arrays(file, inputs) if file.suffix in {".npy", ".npz"} else _requests(file)
        return [_numbered(each, inputs, n) for n, each in enumerate(found, start=1)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as err:
        names = ", ".join(shown(column.name) for column in inputs)
        raise InvalidConfig(
            f"model.samples: {shown(file.name)} cannot be used ({err}), expected V2 requests with "
            f"the inputs {names} as JSON, or arrays as .npy or .npz"
        ) from err


def _arrays(file: Path, inputs: Sequence[Column]) -> list[Mapping[str, Any]]:
    loaded = np.load(file, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return [{inputs[0].name: loaded}]
    return [dict(loaded)]


def _requests(file: Path) -> list[Mapping[str, Any]]:
    text = file.read_text("utf-8")
    try:
        content = json.loads(text)
    except ValueError:
        content = [json.loads(line) for line in text.splitlines() if line.strip()]
    requests = content if isinstance(content, list) else [content]
    return [{t["name"]: _tensor(t) for t in request["inputs"]} for request in requests]


def _tensor(tensor: Mapping[str, Any]) -> Array:
    return np.asarray(tensor["data"]).reshape(tensor["shape"])


def _numbered(found: Mapping[str, Any], inputs: Sequence[Column], number: int) -> Feeds:
    try:
        return _feeds(found, inputs)
    except (ValueError, TypeError) as err:
        raise ValueError(f"sample {number}: {err}") from err


def _feeds(found: Mapping[str, Any], inputs: Sequence[Column]) -> Feeds:
    single = next(iter(found.values())) if len(found) == len(inputs) == 1 else None
    feeds = {}
    missing = [column.name for column in inputs if column.name not in found]
    if missing and single is None:
        raise ValueError(f"it has the inputs {sorted(found)}, and lacks {missing}")
    for column in inputs:
        value = found[column.name] if single is None else single
        feeds[column.name] = _typed(column, np.asarray(value))
    return feeds


def _typed(column: Column, value: Array) -> Array:
    sizes = zip(value.shape, column.shape, strict=False)
    if value.ndim != len(column.shape) or any(want not in (-1, size) for size, want in sizes):
        raise ValueError(
            f"input {column.name!r} has shape {list(value.shape)}, expected {list(column.shape)}"
        )
    return value.astype(column.dtype)


def _shape(column: Column, rows: int) -> tuple[int, ...]:
    batch, *rest = column.shape or (1,)
    sizes = (_FREE_SIZE if size == -1 else size for size in rest)
    return (rows if batch == -1 else batch, *sizes)


def _cast(column: Column, values: Array, random: np.random.Generator) -> Array:
    if column.dtype == np.dtype(object):
        return _words(column, values.shape, random)
    if column.dtype == np.dtype(bool):
        return np.asarray(values > 0.5)
    if column.dtype.kind in "iu":
        info = np.iinfo(column.dtype)
        # Not above one where nothing is known: an index into a table must exist.
        limit = info.max if info.max < 256 else 1
        return np.asarray(np.clip(np.abs(values) * 8, 0, limit), column.dtype)
    return values.astype(column.dtype)


def _words(column: Column, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    words: Array = random.choice(np.asarray(column.choices or ("a", "b"), object), size=shape)
    return words


def _around_landmarks(original: Original, rows: int, random: np.random.Generator) -> Array:
    """Each cell is a value that the model knows for its column, or lies near one."""
    column = original.inputs[0]
    table = np.empty(_shape(column, rows), np.float64)
    for index in range(table.shape[1]):
        known = original.landmarks.get(index, np.zeros(1))
        spread = float(np.std(known)) or 1.0
        noise = random.normal(scale=spread, size=rows) * random.integers(0, 2, size=rows)
        table[:, index] = random.choice(known, size=rows) + noise
    return table.astype(column.dtype)


def _with_gaps(column: Column, rows: int, random: np.random.Generator) -> Array:
    values = random.normal(size=_shape(column, rows))
    values[random.uniform(size=values.shape) < _MISSING_SHARE] = np.nan
    return values.astype(column.dtype)
