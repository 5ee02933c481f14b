"""How each server is started: command, environment, files, and the setting that is told beside it.

Lives here: what one must know to run each rival at its best honest setting.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.runtime import triton_config
from benchmarks.runtime.environments import installed
from benchmarks.runtime.workloads import MODELS

SERVERS: Final = Path(__file__).resolve().parent / "servers"

TRITON_PACKAGES: Final = ("python3", "libpython3.11")
"""Debian's packages of what Triton's python backend is linked against."""

_MANIFEST: Final = """\
apiVersion: slipway.dev/v1alpha1
kind: ModelDeployment
metadata: {{name: {name}}}
spec:
  model: {{uri: "file://{path}"}}
  serving: {{threads: 1, batching: {{mode: "{batching}"}}}}
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Free ports of 127.0.0.1 for one start."""

    http: int
    grpc: int
    other: int


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a server: where its files may lie, what it loads, where it listens."""

    folder: Path
    model_folder: Path
    models: tuple[str, ...]
    ports: Ports
    option: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What is executed."""

    words: list[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Server:
    """A server in one setting, with the models it loads."""

    name: str
    title: str
    environment: str
    setting: str
    launch: Callable[[Start], Command]
    models: tuple[str, ...] = MODELS
    option: str = ""
    is_plain: bool = False
    """Whether it has a protocol of its own instead of the Open Inference Protocol."""


def _slipway(start: Start) -> Command:
    (model,) = start.models
    path = start.model_folder / f"{model}.onnx"
    manifest = start.folder / "model.yaml"
    manifest.write_text(_MANIFEST.format(name=model, path=path, batching=start.option or "Auto"))
    prefix = "SLIPWAY_RUNTIME_"
    settings = {
        f"{prefix}HTTP_PORT": str(start.ports.http),
        f"{prefix}GRPC_PORT": str(start.ports.grpc),
        f"{prefix}ADMIN_PORT": str(start.ports.other),
        # Nobody has to forget this pod.
        f"{prefix}ENDPOINTS_GRACE_S": "0",
    }
    python = _python("slipway")
    words = [python, "-m", "slipway_runtime", "serve", "-f", str(manifest), "--model", str(path)]
    return Command(words, settings)


def _mlserver(start: Start) -> Command:
    settings = {
        "host": "127.0.0.1",
        "http_port": start.ports.http,
        "grpc_port": start.ports.grpc,
        "metrics_port": start.ports.other,
        # The default of 1 crashes at start with current uvloop, and is slower with an older one.
        "parallel_workers": 0,
        "debug": False,
    }
    (start.folder / "settings.json").write_text(json.dumps(settings))
    batching = json.loads(start.option) if start.option else {}
    for model in start.models:
        folder = start.folder / model
        folder.mkdir()
        own = {"name": model, "implementation": "mlserver_onnx.OnnxModel"}
        text = json.dumps({**own, **(batching if model == "mlp" else {})})
        (folder / "model-settings.json").write_text(text)
    return Command([_program("mlserver", "mlserver"), "start", str(start.folder)], {})


def _kserve(start: Start) -> Command:
    ports = [str(start.ports.http), str(start.ports.grpc)]
    return Command([_python("kserve"), str(SERVERS / "kserve_server.py"), *ports], {})


def _fastapi(start: Start) -> Command:
    return Command([_python("fastapi"), str(SERVERS / "fastapi_app.py"), str(start.ports.http)], {})


def _flask(start: Start) -> Command:
    options = ["--worker-class", "gthread", "--workers", "1", "--threads", "8"]
    address = ["--bind", f"127.0.0.1:{start.ports.http}"]
    return Command([_program("flask", "gunicorn"), *options, *address, "flask_app:app"], {})


def _triton(start: Start) -> Command:
    venv = installed("triton")
    package = venv / "lib" / "python3.11" / "site-packages"
    triton = package / "pytriton" / "tritonserver"
    backends = start.folder / "backends"
    shutil.copytree(triton / "backends", backends)
    stub = triton / "python_backend_stubs" / "3.11" / "triton_python_backend_stub"
    shutil.copy(stub, backends / "python")
    repository = start.folder / "models"
    for model in start.models:
        _triton_model(repository / model, start.model_folder / f"{model}.onnx")
    words = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
        f"--http-port={start.ports.http}",
        f"--grpc-port={start.ports.grpc}",
        f"--metrics-port={start.ports.other}",
        "--exit-timeout-secs=2",
    ]
    # Its stub is a Python of its own: it finds the environment by these.
    return Command(
        words,
        {
            "LD_LIBRARY_PATH": str(package / "nvidia_pytriton.libs"),
            "PYTHONPATH": f"{package}:{SERVERS}",
            "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        },
    )


def _triton_model(folder: Path, path: Path) -> None:
    (folder / "1").mkdir(parents=True)
    shutil.copy(SERVERS / "triton_model.py", folder / "1" / "model.py")
    inputs, outputs = TRITON_TENSORS[path.stem]
    text = triton_config.config(path.stem, str(path), inputs, outputs)
    (folder / "config.pbtxt").write_text(text)


_T: Final = triton_config.Tensor
TRITON_TENSORS: Final[Mapping[str, tuple[list[Any], list[Any]]]] = {
    "digits": (
        [_T("X", "FP32", (64,))],
        [_T("label", "INT64", (1,)), _T("probabilities", "FP32", (10,))],
    ),
    "mlp": ([_T("x", "FP32", (784,))], [_T("probabilities", "FP32", (10,))]),
    "cls": (
        [_T("x", "FP32", (3, 48, 192))],
        [_T("save_infer_model/scale_0.tmp_1", "FP32", (2,))],
    ),
    "minilm": (
        [_T("input_ids", "INT64", (64,)), _T("attention_mask", "INT64", (64,))],
        [_T("461", "FP32", (384,))],
    ),
}


def _python(environment: str) -> str:
    return _program(environment, "python")


def _program(environment: str, name: str) -> str:
    return str(installed(environment) / "bin" / name)


_ONE: Final = "one process for one model; batching `Auto`, 1 thread; everything else by default"


def _of_slipway(model: str) -> Server:
    return Server(f"slipway-{model}", "Slipway", "slipway", _ONE, _slipway, (model,))


_BATCHED: Final = json.dumps({"max_batch_size": 32, "max_batch_time": 0.002})

SERVING: Final = {
    server.name: server
    for server in (
        *(_of_slipway(model) for model in MODELS),
        Server("slipway-batching-on", "Slipway, batching `On`", "slipway",
               "one process for digits; batching `On`", _slipway, ("digits",), "On"),
        Server("slipway-batching-off", "Slipway, batching `Off`", "slipway",
               "one process for digits; batching `Off`", _slipway, ("digits",), "Off"),
        Server("mlserver", "MLServer 1.7.1", "mlserver",
               "custom runtime with its numpy codec; parallel_workers 0", _mlserver),
        Server("mlserver-batching", "MLServer 1.7.1, adaptive batching", "mlserver",
               "the same; mlp with max_batch_size 32, max_batch_time 2 ms", _mlserver,
               option=_BATCHED),
        Server("mlserver-minilm", "MLServer 1.7.1, one model", "mlserver",
               "the same with minilm alone", _mlserver, ("minilm",)),
        Server("mlserver-digits", "MLServer 1.7.1, one model", "mlserver",
               "the same with digits alone", _mlserver, ("digits",)),
        Server("kserve", "KServe SDK 0.21.0", "kserve",
               "custom model; 1 worker, latency and access logs off", _kserve),
        Server("triton", "Triton core (pytriton 0.7.0)", "triton",
               "python backend that calls ONNX Runtime; 1 CPU instance, max_batch_size 32, "
               "dynamic batching with delay 0", _triton),
        Server("fastapi", "naive FastAPI", "fastapi",
               "uvicorn with uvloop and httptools; pydantic lists, sync handler, `tolist()`",
               _fastapi, is_plain=True),
        Server("flask", "Flask + gunicorn", "flask",
               "gthread, 1 worker with 8 threads; `get_json`, `tolist()`", _flask, is_plain=True),
    )
}  # fmt: skip
"""Every server that answers, by the name that records and rows use."""

NAMES: Final = {
    **{server.name: server.title for server in SERVING.values()},
    "raw": "ONNX Runtime alone",
    "slipway-four": "Slipway, four processes",
}
