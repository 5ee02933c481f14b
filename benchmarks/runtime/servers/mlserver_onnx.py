"""A runtime of MLServer for ONNX models: it has none of its own."""

from __future__ import annotations

import onnx_models
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """One model, decoded and encoded by MLServer's own numpy codec."""

    async def load(self) -> bool:
        """Load what the settings name."""
        self.session = onnx_models.session(self.name)
        self.output_names = [output.name for output in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer in the event loop, as MLServer's runtimes do without parallel workers."""
        feeds = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        arrays = self.session.run(None, feeds)
        outputs = [
            NumpyCodec.encode_output(name, array)
            for name, array in zip(self.output_names, arrays, strict=True)
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)
