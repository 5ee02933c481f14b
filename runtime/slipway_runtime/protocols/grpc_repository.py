"""Load and unload over gRPC: each a coroutine of a message, the data plane and its repository.

A server without a repository has none of these methods.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from slipway_runtime.inference.dataplane import DataPlane
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.repository_parameters import check_load, check_unload
from slipway_runtime.repository import Repository

Answer: TypeAlias = Callable[[Any, DataPlane, Repository], Awaitable[Message]]


async def load(
    request: pb.RepositoryModelLoadRequest, dataplane: DataPlane, repository: Repository
) -> Message:
    """Load the model's file again.

    Raises:
        ServingError: another model, a parameter, or a file that cannot be loaded.
    """
    check_load(_parameters(request))
    dataplane.check_name(request.model_name)
    await repository.load()
    return pb.RepositoryModelLoadResponse()


async def unload(
    request: pb.RepositoryModelUnloadRequest, dataplane: DataPlane, repository: Repository
) -> Message:
    """Unload the model, once what has begun is answered.

    Raises:
        ServingError: another model, or an unknown parameter.
    """
    check_unload(_parameters(request))
    dataplane.check_name(request.model_name)
    await repository.unload()
    return pb.RepositoryModelUnloadResponse()


REPOSITORY_CALLS: Final[Mapping[str, tuple[type[Message], Answer]]] = {
    "RepositoryModelLoad": (pb.RepositoryModelLoadRequest, load),
    "RepositoryModelUnload": (pb.RepositoryModelUnloadRequest, unload),
}


def _parameters(
    request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest,
) -> dict[str, object]:
    """The values of parameters; one that is not set is None."""
    chosen = {
        name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()
    }
    return {
        name: getattr(request.parameters[name], kind) if kind else None
        for name, kind in chosen.items()
    }
