"""The only door to ONNX Runtime: load a model, tell its signature, run it.

Its exceptions end here: loading raises InvalidModel or Unsupported, running raises
InvalidTensor or InferenceFailed.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from slipway_runtime.config import ExecutionProvider
from slipway_runtime.errors import (
    InferenceFailed,
    InvalidModel,
    InvalidTensor,
    Unsupported,
    clipped,
    shown,
)
from slipway_runtime.inference.datatypes import DTYPES, ORT_DATATYPES, Tensor
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.properties import properties
from slipway_runtime.vocabulary import GraphOptimization

_PROVIDERS: Final[Mapping[ExecutionProvider, tuple[str, ...]]] = {
    "CPU": ("CPUExecutionProvider",),
    # Operators that an accelerator lacks run on the CPU, as ONNX Runtime intends.
    "CUDA": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "OpenVINO": ("OpenVINOExecutionProvider", "CPUExecutionProvider"),
}
LEVELS: Final[Mapping[GraphOptimization, Any]] = {
    "None": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "Basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "Extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "All": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""ONNX Runtime's names for `model.optimization.graph`."""
_GROW_AS_REQUESTED: Final = 1
_MAX_ERROR_BYTES: Final = 400
_NOISE: Final = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed:|/\S+/onnxruntime/\S+ "
)
_FATAL_ONLY: Final = 4
_ONNX_BFLOAT16: Final = 16
"""TensorProto.BFLOAT16."""


class Cancellation:
    """Lets another thread stop a run at the next operator."""

    def __init__(self) -> None:
        self.options = ort.RunOptions()

    def stop(self) -> None:
        """Ask the run to end; it then raises InferenceFailed."""
        self.options.terminate = True


class Session:
    """A loaded model. Runs may come from any one thread at a time."""

    def __init__(
        self,
        model: Path | bytes,
        *,
        threads: int,
        provider: ExecutionProvider = "CPU",
        graph: GraphOptimization = "All",
    ) -> None:
        """Load a model from a file or its content; ONNX Runtime optimises its graph.

        Raises:
            InvalidModel: ONNX Runtime cannot load it.
            Unsupported: it has inputs or outputs that no wire can carry, or the execution
                provider cannot be had here.
        """
        _check_available(provider)
        self._session = _loaded(model, _options(threads, graph), provider)
        self.signature = _signature(self._session)
        self.is_alone: Final = threads == 1 and provider == "CPU"
        """Whether a run uses no other thread than its caller's, and no other device."""
        self.metadata: Final[Mapping[str, str]] = self._session.get_modelmeta().custom_metadata_map
        """What the file says of itself, in its author's words."""
        self.properties: Final[Mapping[str, str]] = properties(model)
        """The same and more, within bounds and safe to show."""
        self._has_bfloat16: Final = any(
            spec.datatype == "BF16" for spec in (*self.signature.inputs, *self.signature.outputs)
        )

    def run(
        self, feeds: Mapping[str, Tensor], outputs: Sequence[str], cancellation: Cancellation
    ) -> list[Tensor]:
        """Compute the named outputs, in that order.

        Raises:
            InvalidTensor: the tensors do not go together.
            InferenceFailed: anything else that stops the model.
        """
        run = self._run_values if self._has_bfloat16 else self._session.run
        try:
            results = run(outputs, feeds, cancellation.options)
        except ort_errors.InvalidArgument as err:
            raise InvalidTensor(f"inputs: refused by the model ({_reason(err)})") from err
        except Exception as err:  # ONNX Runtime raises MemoryError, RuntimeError and its own kinds
            problem = self.signature.conflict(feeds)
            if problem:
                raise InvalidTensor(problem) from err
            raise InferenceFailed(f"inference failed: {_reason(err)}") from err
        return [np.asarray(result) for result in results]

    def _run_values(
        self, outputs: Sequence[str], feeds: Mapping[str, Tensor], options: Any
    ) -> list[Tensor]:
        """Run with ONNX Runtime's own values: its numpy interface knows no bfloat16."""
        values = {name: _value(tensor) for name, tensor in feeds.items()}
        return [_tensor(v) for v in self._session.run_with_ort_values(outputs, values, options)]


def _value(tensor: Tensor) -> Any:
    if tensor.dtype != DTYPES["BF16"]:
        return ort.OrtValue.ortvalue_from_numpy(tensor)
    bits = np.ascontiguousarray(tensor).reshape(tensor.shape).view(np.uint16)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _ONNX_BFLOAT16)


def _tensor(value: Any) -> Tensor:
    if value.data_type() != "tensor(bfloat16)":
        tensor: Tensor = value.numpy()
        return tensor
    dtype, shape = DTYPES["BF16"], tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), prod(shape) * dtype.itemsize)
    return np.frombuffer(raw, dtype).reshape(shape)


def _check_available(provider: ExecutionProvider) -> None:
    available = ort.get_available_providers()
    if _PROVIDERS[provider][0] not in available:
        known = ", ".join(name for name, wanted in _PROVIDERS.items() if wanted[0] in available)
        raise Unsupported(
            f"serving.executionProvider: {provider} is not in this image, expected one of {known}; "
            "spec.runtime.image may name one that has it"
        )


def _loaded(model: Path | bytes, options: Any, provider: ExecutionProvider) -> Any:
    wanted = list(_PROVIDERS[provider])
    if provider == "CUDA":
        ort.preload_dlls()  # they lie among our packages, where the loader does not look
    try:
        source = model if isinstance(model, bytes) else str(model)
        session = ort.InferenceSession(source, options, providers=wanted)
    except Exception as err:  # its kinds share no base class but Exception
        raise InvalidModel(f"model: cannot be loaded ({_reason(err)})") from err
    found = session.get_providers()
    if found != wanted:  # it falls back in silence, where a driver or a device is missing
        raise Unsupported(f"serving.executionProvider: {provider} gave {found}, expected {wanted}")
    session.disable_fallback()
    return session


def _options(threads: int, graph: GraphOptimization) -> Any:
    ort.disable_telemetry_events()
    ort.set_default_logger_severity(_FATAL_ONLY)  # what it logs, it also raises
    _register_arena()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = LEVELS[graph]
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Spinning workers burn the quota that the event loop needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    return options


def _register_arena() -> None:
    """Let the arena grow by what is asked for: its default doubles, and never gives back."""
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    arena = ort.OrtArenaCfg({"arena_extend_strategy": _GROW_AS_REQUESTED})
    ort.create_and_register_allocator(memory, arena)


def _signature(session: Any) -> Signature:
    inputs = tuple(_spec("input", node) for node in session.get_inputs())
    outputs = tuple(_spec("output", node) for node in session.get_outputs())
    if not outputs:
        raise InvalidModel("model: has no outputs, expected at least one")
    if {"BF16", "BYTES"} <= {spec.datatype for spec in (*inputs, *outputs)}:
        # Text goes in and out through numpy only, bfloat16 never does.
        raise Unsupported(
            "model: has tensors of bfloat16 and of strings, expected only one of the two; "
            "cast the bfloat16 ones to float in the graph"
        )
    return Signature(inputs, outputs)


def _spec(kind: str, node: Any) -> TensorSpec:
    datatype = ORT_DATATYPES.get(node.type)
    if datatype is None:
        raise Unsupported(
            f"model: {kind} {shown(node.name)} is {node.type}, expected a tensor of "
            f"{', '.join(DTYPES)}; {_remedy(node.type)}"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    symbols = tuple(size if isinstance(size, str) else None for size in node.shape)
    return TensorSpec(node.name, datatype, shape, symbols)


def _remedy(ort_type: str) -> str:
    if ort_type.startswith("seq(map("):
        return (
            "export the classifier without its ZipMap: "
            "skl2onnx.to_onnx(model, sample, options={'zipmap': False})"
        )
    return "export the model with such tensors"


def _reason(err: BaseException) -> str:
    text = " ".join(_NOISE.sub("", str(err)).split())
    return clipped(text or type(err).__name__, _MAX_ERROR_BYTES)
