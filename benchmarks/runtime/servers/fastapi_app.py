"""What a team writes in an afternoon: FastAPI, pydantic models, `tolist()`."""

from __future__ import annotations

import sys

import numpy as np
import onnx_models
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
sessions = {name: onnx_models.session(name) for name in onnx_models.names()}


class Request(BaseModel):
    """Rows of numbers."""

    inputs: list[list[float]]


class Response(BaseModel):
    """Each output, by name."""

    outputs: dict[str, list[int] | list[list[float]]]


@app.get("/ready")
def ready() -> dict[str, bool]:
    """Say that the models are loaded."""
    return {"ready": True}


@app.post("/predict/{name}")
def predict(name: str, request: Request) -> Response:
    """Answer in a thread of the pool, as FastAPI does for sync handlers."""
    session = sessions[name]
    entry = session.get_inputs()[0]
    shape = [-1, *entry.shape[1:]]
    rows = np.array(request.inputs, np.float32).reshape(shape)
    arrays = session.run(None, {entry.name: rows})
    names = [output.name for output in session.get_outputs()]
    return Response(outputs={n: a.tolist() for n, a in zip(names, arrays, strict=True)})


if __name__ == "__main__":
    port = int(sys.argv[1])
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools",
                access_log=False, log_level="warning")  # fmt: skip
