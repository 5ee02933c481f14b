"""The two ways of asking for an inference over gRPC: pure functions of messages."""

from __future__ import annotations

from typing import Final, Protocol

from google.protobuf.message import Message

from slipway_runtime.inference.dataplane import DataPlane
from slipway_runtime.inference.request import InferenceResponse
from slipway_runtime.inference.signature import Signature
from slipway_runtime.protocols import codec_proto, codec_tensorflow
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.dialect import Identity
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.proto import tensorflow_serving_pb2 as tf


class GrpcWire(Protocol):
    """A form of inference requests and answers."""

    @property
    def label(self) -> str:
        """The wire's name in metrics."""

    def check(self, raw: bytes, dataplane: DataPlane) -> None:
        """Refuse a request to another model, where none is there that could read the rest.

        Raises:
            ServingError: it is no such message, or names another model.
        """

    def decode(self, raw: bytes, dataplane: DataPlane, signature: Signature) -> Asked:
        """Read a request to this model.

        Raises:
            ServingError: it cannot be answered.
        """

    def encode(self, response: InferenceResponse, asked: Asked, identity: Identity) -> Message:
        """Write the answer."""


class V2Wire:
    """`inference.GRPCInferenceService`."""

    label: Final = "grpc"

    def check(self, raw: bytes, dataplane: DataPlane) -> None:
        """Refuse a request to another model."""
        self._parsed(raw, dataplane)

    def decode(self, raw: bytes, dataplane: DataPlane, signature: Signature) -> Asked:
        """Read a request."""
        return codec_proto.decode(self._parsed(raw, dataplane), signature)

    def _parsed(self, raw: bytes, dataplane: DataPlane) -> pb.ModelInferRequest:
        limit = dataplane.config.serving.json_limit_bytes
        message = codec_proto.parse(raw, max_typed_bytes=limit)
        dataplane.check_name(message.model_name, message.model_version or None)
        return message

    def encode(self, response: InferenceResponse, asked: Asked, identity: Identity) -> Message:
        """Write the answer."""
        return codec_proto.encode(response, asked.forms, identity)


class TensorFlowWire:
    """`tensorflow.serving.PredictionService/Predict`."""

    label: Final = "tensorflow"

    def check(self, raw: bytes, dataplane: DataPlane) -> None:
        """Refuse a request to another model."""
        self._parsed(raw, dataplane)

    def decode(self, raw: bytes, dataplane: DataPlane, signature: Signature) -> Asked:
        """Read a request."""
        limit = dataplane.config.serving.json_limit_bytes
        message = self._parsed(raw, dataplane)
        return codec_tensorflow.decode(message, signature, max_typed_bytes=limit)

    def _parsed(self, raw: bytes, dataplane: DataPlane) -> tf.PredictRequest:
        limit = dataplane.config.serving.json_limit_bytes
        message = codec_tensorflow.parse(raw, max_typed_bytes=limit)
        spec = message.model_spec
        dataplane.check_name(spec.name, codec_tensorflow.version_of(spec))
        return message

    def encode(self, response: InferenceResponse, asked: Asked, identity: Identity) -> Message:
        """Write the answer."""
        return codec_tensorflow.encode(response, identity)
