"""A model of Triton's python backend: a batch of requests becomes one run of ONNX Runtime."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What the python backend looks for in a `model.py`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the file that the model's configuration names."""
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        path = config["parameters"]["path"]["string_value"]
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.inputs = [tensor.name for tensor in self.session.get_inputs()]
        self.outputs = [tensor.name for tensor in self.session.get_outputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Join what Triton's dynamic batcher has collected, run once, and cut the answers."""
        parts = [[_array(request, name) for name in self.inputs] for request in requests]
        feeds = [
            part[0] if len(part) == 1 else np.concatenate(part) for part in zip(*parts, strict=True)
        ]
        arrays = self.session.run(None, dict(zip(self.inputs, feeds, strict=True)))
        responses, start = [], 0
        for part in parts:
            stop = start + len(part[0])
            responses.append(self._response(arrays, start, stop))
            start = stop
        return responses

    def _response(self, arrays: list[Any], start: int, stop: int) -> Any:
        tensors = [
            pb_utils.Tensor(name, _with_width(array[start:stop]))
            for name, array in zip(self.outputs, arrays, strict=True)
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _array(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _with_width(array: Any) -> Any:
    # A batched output needs a dimension behind the batch: labels are [N] in the model, [N, 1] here.
    return array if array.ndim > 1 else array.reshape(-1, 1)
