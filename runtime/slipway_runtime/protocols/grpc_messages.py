"""The gRPC calls that only tell something: each a pure function of a message and its subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from google.protobuf.message import Message

from slipway_runtime.errors import InvalidRequest, shown
from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.protocols import described, described_v1
from slipway_runtime.protocols.codec_tensorflow import spec_of, version_of
from slipway_runtime.protocols.dialect import Identity
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.proto import tensorflow_serving_pb2 as tf
from slipway_runtime.repository import Repository

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True)
class Subject:
    """What there is to tell about."""

    dataplane: DataPlane
    metrics: Metrics
    release: str
    repository: Repository | None = None
    """Where models may be loaded; tells its extension and its last failure."""


def _message(told: dict[str, Any], into: _M) -> _M:
    # Late: it is slow to import, and only those who ask about the model need it.
    from google.protobuf.json_format import ParseDict

    return ParseDict(told, into)


Calls: TypeAlias = Mapping[str, tuple[type[Message], Callable[[Any, Subject], Message]]]


def _server_live(_: pb.ServerLiveRequest, subject: Subject) -> Message:
    return pb.ServerLiveResponse(live=True)


def _server_ready(_: pb.ServerReadyRequest, subject: Subject) -> Message:
    return pb.ServerReadyResponse(ready=subject.dataplane.state is State.READY)


def _model_ready(request: pb.ModelReadyRequest, subject: Subject) -> Message:
    _check(request, subject)
    return pb.ModelReadyResponse(ready=subject.dataplane.state is State.READY)


def _server_metadata(_: pb.ServerMetadataRequest, subject: Subject) -> Message:
    has_repository = subject.repository is not None
    told = described.server_metadata(subject.release, has_repository=has_repository)
    return _message(told, pb.ServerMetadataResponse())


def _model_metadata(request: pb.ModelMetadataRequest, subject: Subject) -> Message:
    _check(request, subject)
    return _message(described.model_metadata(subject.dataplane), pb.ModelMetadataResponse())


def _model_config(request: pb.ModelConfigRequest, subject: Subject) -> Message:
    _check(request, subject)
    config = {"config": described.model_config(subject.dataplane)}
    return _message(config, pb.ModelConfigResponse())


def _model_statistics(request: pb.ModelStatisticsRequest, subject: Subject) -> Message:
    if request.name:  # none asks for those of all models
        _check(request, subject)
    found = described.model_statistics(subject.dataplane, subject.metrics)
    return _message({"model_stats": [found]}, pb.ModelStatisticsResponse())


def _repository_index(request: pb.RepositoryIndexRequest, subject: Subject) -> Message:
    reason = subject.repository.failure if subject.repository else ""
    models = described.repository_index(subject.dataplane, only_ready=request.ready, reason=reason)
    return _message({"models": models}, pb.RepositoryIndexResponse())


def _metadata_of_signature(request: tf.GetModelMetadataRequest, subject: Subject) -> Message:
    _check_spec(request.model_spec, subject)
    if list(request.metadata_field) != ["signature_def"]:
        raise InvalidRequest(
            f"metadata_field: got {shown(list(request.metadata_field))}, expected signature_def"
        )
    told = described_v1.model_metadata(subject.dataplane)["metadata"]["signature_def"]
    signatures = _message({"signatureDef": told["signatureDef"]}, tf.SignatureDefMap())
    answer = tf.GetModelMetadataResponse(model_spec=_spec(subject))
    answer.metadata["signature_def"].Pack(signatures)
    return answer


def _model_status(request: tf.GetModelStatusRequest, subject: Subject) -> Message:
    _check_spec(request.model_spec, subject)
    answer = tf.GetModelStatusResponse()
    state = described_v1.STATES[subject.dataplane.state]
    status = answer.model_version_status.add(version=int(subject.dataplane.version), state=state)
    status.status.error_code = 0
    return answer


def _spec(subject: Subject) -> tf.ModelSpec:
    dataplane = subject.dataplane
    return spec_of(Identity(dataplane.config.name, dataplane.version))


def _check_spec(spec: tf.ModelSpec, subject: Subject) -> None:
    subject.dataplane.check_name(spec.name, version_of(spec))


def _check(request: Any, subject: Subject) -> None:
    subject.dataplane.check_name(request.name, request.version or None)


V2_CALLS: Final[Calls] = {
    "ServerLive": (pb.ServerLiveRequest, _server_live),
    "ServerReady": (pb.ServerReadyRequest, _server_ready),
    "ModelReady": (pb.ModelReadyRequest, _model_ready),
    "ServerMetadata": (pb.ServerMetadataRequest, _server_metadata),
    "ModelMetadata": (pb.ModelMetadataRequest, _model_metadata),
    "ModelConfig": (pb.ModelConfigRequest, _model_config),
    "ModelStatistics": (pb.ModelStatisticsRequest, _model_statistics),
    "RepositoryIndex": (pb.RepositoryIndexRequest, _repository_index),
}
PREDICTION_CALLS: Final[Calls] = {
    "GetModelMetadata": (tf.GetModelMetadataRequest, _metadata_of_signature)
}
MODEL_CALLS: Final[Calls] = {"GetModelStatus": (tf.GetModelStatusRequest, _model_status)}
