"""Drive ovmsclient, a client of TensorFlow Serving's two wires."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import ovmsclient
from ovmsclient.tfs_compat.base.errors import ModelServerError

from tests.clients.arrays import array_of, plain
from tests.clients.exchange import Call, Servers, play

CONNECT = {"http": ovmsclient.make_http_client, "grpc": ovmsclient.make_grpc_client}


class Tensorflow:
    """A client per server and wire."""

    def __init__(self, servers: Servers) -> None:
        self.clients = {
            (name, wire): connect(servers[name][wire])
            for name in servers
            for wire, connect in CONNECT.items()
        }

    def tell(self, server: str, wire: str, method: str, **arguments: Any) -> Any:
        """Status or metadata."""
        arguments = {"model_name": server, **arguments}
        return getattr(self.clients[server, wire], method)(**arguments)

    def predict(
        self, server: str, wire: str, inputs: Sequence[Mapping[str, Any]], **arguments: Any
    ) -> Any:
        """One prediction; a lone output comes without its name."""
        arrays = {each["name"]: _array(each) for each in inputs}
        arguments = {"model_name": server, **arguments}
        answer = self.clients[server, wire].predict(arrays, **arguments)
        if isinstance(answer, dict):
            return {name: plain(np.asarray(array)) for name, array in answer.items()}
        return plain(np.asarray(answer))


def _array(tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The client takes no objects, but numpy's own text."""
    array = array_of(tensor)
    return array.astype(np.bytes_) if tensor["datatype"] == "BYTES" else array


@asynccontextmanager
async def session(servers: Servers) -> AsyncIterator[Mapping[str, Call]]:
    """Connect."""
    tensorflow = Tensorflow(servers)
    yield {"tell": tensorflow.tell, "predict": tensorflow.predict}


def refused(err: ModelServerError) -> dict[str, Any]:
    """What the client says that the server said."""
    return {"kind": type(err).__name__, "message": str(err)}


if __name__ == "__main__":
    play(session, {ModelServerError: refused})
