"""Look into a model file before anybody serves it: parse, check, load, run once.

`validated` does it in a process of its own, because a hostile file may crash or hang what reads
it, and the supply step must live to tell. The child is `python -m slipway_runtime.supply.validate`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import onnx

from slipway_runtime import errors
from slipway_runtime.errors import SUPPLY_ERRORS, InvalidModel, Unsupported, clipped, shown
from slipway_runtime.inference.container import cap_memory
from slipway_runtime.inference.session import Session
from slipway_runtime.inference.warmup import warm_up
from slipway_runtime.pipeline.zipmap import flatten
from slipway_runtime.supply.digest import looks_like
from slipway_runtime.supply.termination import SignatureSummary

log: Final = logging.getLogger(__name__)

MAX_PROTOBUF_BYTES: Final = 2**31 - 1
_MAX_REASON_BYTES: Final = 400
_MAX_DEPTH: Final = 64


def validated(model: Path, *, timeout_s: float) -> tuple[SignatureSummary, str | None]:
    """Validate a model in a child process.

    Returns:
        Its signature, and the name of what exported it.

    Raises:
        InvalidModel: it cannot be parsed, loaded or run, or it takes the child down.
        Unsupported: it is a model that this release does not serve.
    """
    # -P: the current directory may be where the model lies, and is no place to import from.
    command = [sys.executable, "-P", "-m", __name__, str(model)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)  # noqa: S603  # our own module
    except subprocess.TimeoutExpired as err:
        raise InvalidModel(
            f"model: not checked, loaded and run once within {timeout_s:g}s, expected less; "
            "raise SLIPWAY_RUNTIME_VALIDATE_TIMEOUT_S if it is slow by nature"
        ) from err
    return outcome(done)


def inspected(model: Path) -> tuple[Session, str | None]:
    """Validate a model in this process; `validated` says what may be raised."""
    _check_size(model)
    framework, flat = _parsed(model)
    session = Session(flat or model, threads=1)
    warm_up(session, 1)
    return session, framework


def outcome(done: subprocess.CompletedProcess[bytes]) -> tuple[SignatureSummary, str | None]:
    """Read what the child has found; `validated` says what may be raised."""
    answer = answer_of(done)
    return SignatureSummary.model_validate(answer["signature"]), answer["framework"]


def answer_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """Read how a child that looked into a model has ended.

    Raises:
        SupplyError: the failure that it tells, or InvalidModel where it tells nothing.
    """
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise InvalidModel(
            f"model: checking it ended in {name}; "
            "it is broken, hostile or too large for the memory limit"
        )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError as err:
        log.error(
            "validation broke",
            extra={"stderr": clipped(done.stderr.decode(errors="replace"), 2000)},
        )
        raise InvalidModel(
            f"model: checking it ended with exit code {done.returncode} and no result"
        ) from err
    if "failure" in answer:
        raise SUPPLY_ERRORS[answer["failure"]["reason"]](answer["failure"]["message"])
    return answer


def _check_size(model: Path) -> None:
    size_bytes = model.stat().st_size
    if size_bytes == 0:
        raise InvalidModel("model: the file is empty, expected an ONNX model")
    if size_bytes > MAX_PROTOBUF_BYTES:
        raise InvalidModel(f"model: {size_bytes} bytes, expected less than 2 GiB in one ONNX file")


def parsed_model(model: Path) -> Any:
    """Parse a file, which may be anything.

    Raises:
        InvalidModel: it is no model.
        Unsupported: parts of it are in files that are not there.
    """
    try:
        proto = onnx.load(str(model), load_external_data=False)
    except Exception as err:  # protobuf's, and whatever its C++ raises
        raise InvalidModel(_no_model(model)) from err
    if not proto.HasField("graph"):
        raise InvalidModel(_no_model(model))
    _check_external_data(proto, model.parent)
    return proto


def data_files(model: Path) -> tuple[Path, ...]:
    """The files beside a model that keep its tensors' data, in the order of their names."""
    graph = onnx.load(str(model), load_external_data=False).graph
    entries = (entry for tensor in _tensors(graph, 0) for entry in tensor.external_data)
    names = {entry.value for entry in entries if entry.key == "location"}
    return tuple(model.parent / name for name in sorted(names))


def _parsed(model: Path) -> tuple[str | None, bytes | None]:
    """Parse and check; nothing of the parsed model is kept, it may be gigabytes.

    Returns:
        What exported it, and the model as it is served where that is another: without ZipMap.
    """
    proto = parsed_model(model)
    framework = clipped(proto.producer_name, 100) or None
    flat = _serialized(proto, model.parent) if flatten(proto) else None
    del proto
    try:
        onnx.checker.check_model(str(model))
    except Exception as err:  # the checker's own errors, and whatever its C++ raises
        raise InvalidModel(broken_rules(err)) from err
    return framework, flat


def broken_rules(err: Exception) -> str:
    """What the checker says, for people."""
    reason = clipped(" ".join(str(err).split()), _MAX_REASON_BYTES)
    return f"model: breaks the rules of ONNX ({reason})"


def _serialized(proto: Any, folder: Path) -> bytes:
    """Make one piece of a model and the files beside it."""
    try:
        onnx.load_external_data_for_model(proto, str(folder))
        content: bytes = proto.SerializeToString()
    except Exception as err:  # onnx's, protobuf's, and those of the files
        raise Unsupported(
            "model: has a ZipMap and its data in other files, and the whole is no valid model or "
            "above 2 GiB; export it without: options={'zipmap': False}"
        ) from err
    return content


def _no_model(model: Path) -> str:
    with model.open("rb") as file:
        guess = looks_like(file.read(512))
    found = f"it looks like {guess}" if guess else "it cannot be parsed"
    return f"model: {found}, expected an ONNX model"


def _check_external_data(proto: Any, folder: Path) -> None:
    """Look where tensors keep their data, before anybody opens it.

    ONNX Runtime has rules of its own and follows hard links; here a file has one name, and lies
    where the model does. What a hostile model names is not repeated.
    """
    for tensor in _tensors(proto.graph, 0):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            location = entries.get("location", "")
            _check_location(tensor.name, location, folder)
            _check_span(tensor.name, entries, (folder / location).stat().st_size)


def _check_location(name: str, location: str, folder: Path) -> None:
    parts = location.split("/")
    if {"", ".", ".."} & set(parts) or any(part.startswith(".") for part in parts):
        raise InvalidModel(f"{_data_of(name)} outside of its folder, expected a file beside it")
    if "\\" in location or "*" in location or not location.isprintable():
        raise InvalidModel(f"{_data_of(name)} where no file can be, expected a file beside it")
    try:
        found = os.lstat(folder / location)
        is_inside = (folder / location).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError) as err:
        raise Unsupported(
            f"{_data_of(name)} in a file that is not beside the model, expected both in one "
            "folder; name the folder with a slash at the URI's end, publish an archive, or save "
            "one file with onnx.save(model, path, save_as_external_data=False)"
        ) from err
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or not is_inside:
        raise InvalidModel(f"{_data_of(name)} in a link or no file, expected a regular file")


def _check_span(name: str, entries: Mapping[str, str], size_bytes: int) -> None:
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
    except ValueError as err:
        raise InvalidModel(f"{_data_of(name)} at an offset that is no number") from err
    if offset < 0 or length < 0 or offset + length > size_bytes:
        raise InvalidModel(
            f"{_data_of(name)} in bytes {offset} to {offset + length} of a file of {size_bytes}"
        )


def _data_of(name: str) -> str:
    return f"model: tensor {shown(name)} keeps its data"


def _tensors(graph: Any, depth: int) -> Iterator[Any]:
    """Every stored tensor of a graph and of the graphs inside it."""
    if depth > _MAX_DEPTH:
        raise InvalidModel(f"model: graphs nested more than {_MAX_DEPTH} deep, expected fewer")
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner, depth + 1)


def main() -> int:
    """Validate the file named on the command line; print one JSON object."""
    logging.basicConfig(stream=sys.stderr)
    cap_memory()
    try:
        session, framework = inspected(Path(sys.argv[1]))
        answer: dict[str, Any] = {
            "signature": session.signature.described(),
            "framework": framework,
        }
    except errors.SupplyError as err:
        answer = err.told()
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
