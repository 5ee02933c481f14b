"""A real Gateway, and real runtimes at the addresses that played pods have.

The node reaches every address of this machine. Two of them stand for the pods of two revisions, so
that requests through Traefik are answered by the runtime itself, on the ports of a pod.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import httpx
import yaml

from devcluster.cluster import Cluster
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from tests.e2e.files import multiplier
from tests.kubeapi import Api, Manifest, condition_of, eventually

ENTRY_POINT: Final = 8000
GATEWAY: Final = "public"
_PORT: Final = 8080
_START_S: Final = 120
_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_BODY: Final = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}


def addresses(cluster: Cluster) -> tuple[str, str]:
    """Two addresses of this machine that the node reaches."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))  # sends nothing; tells whence it would
        own: str = probe.getsockname()[0]
    return str(cluster.host_ip), own


@contextmanager
def runtimes(folder: Path, versions: dict[str, str]) -> Iterator[None]:
    """Serve a model on each address, each with a version of its own."""
    started = [_serve(folder, n, *found) for n, found in enumerate(versions.items(), 1)]
    try:
        for host in versions:
            eventually(partial(_answers, host), f"{host} is ready", timeout_s=_START_S)
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=20)


def _serve(folder: Path, factor: int, host: str, version: str) -> subprocess.Popen[bytes]:
    model, document = folder / f"{version}.onnx", folder / f"{version}.yaml"
    model.write_bytes(multiplier(factor))
    mdep = {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m"},
        "spec": {"model": {"uri": "https://models.example/m.onnx", "version": version}},
    }
    document.write_text(yaml.safe_dump(mdep))
    settings = {"HOST": host, "ENDPOINTS_GRACE_S": "0", "DRAIN_S": "1", "LOG_LEVEL": "WARNING"}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "slipway_runtime",
            "serve",
            "-f",
            str(document),
            "--model",
            str(model),
        ],
        env={**os.environ, **{f"SLIPWAY_RUNTIME_{k}": v for k, v in settings.items()}},
    )


def _answers(host: str) -> bool:
    try:
        url = f"http://{host}:{_PORT}/v2/health/ready"
        return httpx.get(url, timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def gateway(api: Api, namespace: str) -> Manifest:
    """Make a Gateway in a namespace, and wait until Traefik has programmed it."""
    api.apply(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {"name": GATEWAY, "namespace": namespace},
            "spec": {
                "gatewayClassName": "traefik",
                "listeners": [{"name": "web", "port": ENTRY_POINT, "protocol": "HTTP"}],
            },
        }
    )
    return eventually(
        lambda: found if _is_programmed(found := api.get("Gateway", namespace, GATEWAY)) else None,
        "the Gateway is programmed",
    )


@contextmanager
def deaf(cluster: Cluster) -> Iterator[None]:
    """Stop Traefik for the block: it neither reads what is written nor sends anything on."""
    process = cluster.processes()["traefik"].pid
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def _is_programmed(found: Manifest | None) -> bool:
    return (condition_of(found, "Programmed") or {}).get("status") == "True"


class Client:
    """Asks through the Gateway, and counts who answers."""

    def __init__(self, cluster: Cluster, hostname: str) -> None:
        self._url = f"http://{cluster.node_ip}:{ENTRY_POINT}/v2/models/m/infer"
        self._headers = {"Host": hostname}
        self._http = httpx.Client(timeout=10, trust_env=False)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def ask(self, **headers: str) -> str:
        """Ask once; tell the version that answered, or the status."""
        answer = self._http.post(self._url, json=_BODY, headers={**self._headers, **headers})
        if answer.is_success:
            return answer.headers["x-model-version"]
        return f"status {answer.status_code}"

    def shares(self, requests: int, **headers: str) -> Counter[str]:
        """Ask again and again."""
        return Counter(self.ask(**headers) for _ in range(requests))

    @contextmanager
    def asking(self) -> Iterator[Load]:
        """Ask all the time, beside what the block does."""
        load, over = Load(), threading.Event()

        def ask() -> None:
            while not over.is_set():
                load.answers.append(self.ask())
                time.sleep(0.005)  # a load, not a wait

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield load
        finally:
            over.set()
            thread.join()


class Channel:
    """Asks over one gRPC channel through the Gateway, and counts who answers."""

    def __init__(self, cluster: Cluster, hostname: str) -> None:
        options = [("grpc.default_authority", hostname), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(f"{cluster.node_ip}:{ENTRY_POINT}", options)
        self._call = self._channel.unary_unary(
            _METHOD,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )

    def close(self) -> None:
        """Close it."""
        self._channel.close()

    def ask(self, **metadata: str) -> str:
        """Ask once; tell the version that answered, or the status."""
        values = pb.InferTensorContents(fp32_contents=[1, 2])
        tensor = pb.ModelInferRequest.InferInputTensor(
            name="x", datatype="FP32", shape=[1, 2], contents=values
        )
        asked = pb.ModelInferRequest(model_name="m", inputs=[tensor])
        try:
            answer = self._call(asked, timeout=10, metadata=tuple(metadata.items()))
        except grpc.RpcError as error:
            return f"status {error.code().name}"
        return f"v{_first_number(answer):.0f}"  # version N multiplies by N

    def shares(self, calls: int, **metadata: str) -> Counter[str]:
        """Ask again and again."""
        return Counter(self.ask(**metadata) for _ in range(calls))


def _first_number(answer: pb.ModelInferResponse) -> float:
    if answer.raw_output_contents:
        found: float = struct.unpack_from("<f", answer.raw_output_contents[0])[0]
        return found
    return answer.outputs[0].contents.fp32_contents[0]


@dataclass(frozen=True, slots=True)
class Load:
    """Who answered, in order."""

    answers: list[str] = field(default_factory=list)

    def next(self, requests: int) -> Counter[str]:
        """Wait for as many further requests; tell who answered them."""
        start = len(self.answers)
        eventually(
            lambda: len(self.answers) >= start + requests, f"{requests} answers", timeout_s=60
        )
        return Counter(self.answers[start : start + requests])

    @property
    def failures(self) -> Counter[str]:
        """Answers that were none."""
        return Counter(a for a in self.answers if a.startswith("status"))
