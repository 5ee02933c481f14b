"""The same afternoon with Flask; gunicorn serves it with threads."""

from __future__ import annotations

import numpy as np
import onnx_models
from flask import Flask, Response, jsonify, request

app = Flask(__name__)
sessions = {name: onnx_models.session(name) for name in onnx_models.names()}


@app.get("/ready")
def ready() -> Response:
    """Say that the models are loaded."""
    return jsonify(ready=True)


@app.post("/predict/<name>")
def predict(name: str) -> Response:
    """Answer with every output, by name."""
    session = sessions[name]
    entry = session.get_inputs()[0]
    shape = [-1, *entry.shape[1:]]
    rows = np.array(request.get_json()["inputs"], np.float32).reshape(shape)
    arrays = session.run(None, {entry.name: rows})
    names = [output.name for output in session.get_outputs()]
    return jsonify(outputs={n: a.tolist() for n, a in zip(names, arrays, strict=True)})
