"""KServe's Python server with ONNX models: it has no runtime for them either."""

from __future__ import annotations

import logging
import sys
from typing import Any

import onnx_models
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.numpy_codec import from_np_dtype
from kserve.utils.utils import generate_uuid


class OnnxModel(Model):
    """One model under the Open Inference Protocol."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.session = onnx_models.session(name)
        self.output_names = [output.name for output in self.session.get_outputs()]
        self.ready = True

    async def predict(
        self,
        payload: InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse:
        """Answer in the form that the request asks for."""
        feeds = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        arrays = self.session.run(None, feeds)
        is_binary = bool(payload.from_grpc or payload.use_binary_outputs)
        outputs = [
            _output(name, array, is_binary=is_binary)
            for name, array in zip(self.output_names, arrays, strict=True)
        ]
        return InferResponse(
            # Its REST door refuses an answer without one.
            response_id=payload.id or generate_uuid(),
            model_name=self.name,
            infer_outputs=outputs,
            from_grpc=payload.from_grpc,
            use_binary_outputs=payload.use_binary_outputs,
        )


def _output(name: str, array: Any, *, is_binary: bool) -> InferOutput:
    output = InferOutput(name, list(array.shape), from_np_dtype(array.dtype))
    output.set_data_from_numpy(array, binary_data=is_binary)
    return output


def main(http_port: int, grpc_port: int) -> None:
    """Serve until a signal ends it."""
    server = ModelServer(
        http_port=http_port, grpc_port=grpc_port, workers=1, enable_latency_logging=False
    )
    # After the server has configured logging: access logs are off for everyone.
    for name in ("uvicorn.access", "kserve.trace"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate, logger.disabled = [], False, True
    server.start([OnnxModel(name) for name in onnx_models.names()])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
