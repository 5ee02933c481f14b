"""A model from a ConfigMap, as its users and their clients see it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.e2e.conftest import Place
from tests.e2e.files import Digits, direct, request
from tests.e2e.models import Models
from tests.kubeapi import COLUMNS, Manifest

_PROBE = """
import os
try:
    open("/opt/written", "w")
except OSError as error:
    print(error.strerror)
print(os.path.exists("/var/run/secrets/kubernetes.io"), os.getuid())
try:
    open("/models/model.onnx", "r+b")
except OSError as error:
    print(error.strerror)
"""

_GRPC = """
import socket, struct, sys
import hpack
import numpy as np
from slipway_runtime.http2 import frames
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
host, port = sys.argv[1].rsplit(":", 1)
row = np.frombuffer(bytes.fromhex(sys.argv[2]), np.float32)
request = pb.ModelInferRequest(model_name="digits", raw_input_contents=[row.tobytes()])
request.inputs.add(name="X", datatype="FP32", shape=[1, 64])
raw = request.SerializeToString()
path = "/inference.GRPCInferenceService/ModelInfer"
fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": host,
          "content-type": "application/grpc", "te": "trailers"}
head = hpack.Encoder().encode(list(fields.items()))
message = struct.pack(">BI", 0, len(raw)) + raw
data, flags = b"", 0
with socket.create_connection((host, int(port)), 10) as sock, sock.makefile("rb") as stream:
    sock.sendall(frames.PREFACE + frames.settings({})
                 + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, head)
                 + frames.frame(frames.DATA, frames.END_STREAM, 1, message))
    while not flags & frames.END_STREAM:
        start = stream.read(frames.HEAD_BYTES)
        payload = stream.read(int.from_bytes(start[:3], "big"))
        of_call = int.from_bytes(start[5:], "big") == 1
        flags = start[4] if of_call else 0
        data += payload if of_call and start[3] == frames.DATA else b""
answer = pb.ModelInferResponse.FromString(data[5:])
print(answer.model_version, [o.name for o in answer.outputs])
print(np.frombuffer(answer.raw_output_contents[1], np.float32).tobytes().hex())
"""
"""A call by hand: the image has no gRPC client, and pods are not reached from outside."""


@pytest.fixture(scope="module")
def models(place: Place, digits: Digits) -> Iterator[Models]:
    """One served classifier, which these tests only look at."""
    with place() as made:
        made.serve(digits.first, "digits", model={"version": "v1"})
        yield made


@pytest.fixture
def mdep(models: Models) -> Manifest:
    """It."""
    return models.get("digits")


def test_the_numbers_are_those_of_onnx_runtime(models: Models, digits: Digits) -> None:
    rows = digits.held_out.pixels[:20]
    answer = models.infer(request(rows, "X"), "digits").raise_for_status().json()
    outputs = {
        o["name"]: np.array(o["data"], np.int64 if o["datatype"] == "INT64" else np.float32)
        .reshape(o["shape"]) for o in answer["outputs"]
    }  # fmt: skip
    expected = direct(digits.first, rows)
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(outputs[name], values)


def test_responses_name_the_model_that_answered(
    models: Models, mdep: Manifest, digits: Digits
) -> None:
    answer = models.infer(request(digits.held_out.pixels[:1], "X"), "digits").raise_for_status()
    named = {k: v for k, v in answer.headers.items() if k.startswith("x-model-")}
    assert named == {
        "x-model-name": "digits",
        "x-model-version": "v1",
        "x-model-revision": mdep["status"]["stable"]["hash"],
    }
    assert answer.json()["model_version"] == str(mdep["status"]["stable"]["revision"])


def test_kubectl_shows_it_in_one_line(models: Models, mdep: Manifest) -> None:
    header, row = models.kubectl("get", "mdep").splitlines()
    assert header.split() == COLUMNS
    short = mdep["status"]["stable"]["hash"][:4]
    url = f"http://digits.{models.namespace}.svc"
    assert row.split()[:-1] == ["digits", "True", "Healthy", "r1", short, "1/1", url]


def test_the_serving_container_can_write_nothing_and_knows_no_token(models: Models) -> None:
    pod = models.pods("digits")[0]["metadata"]["name"]
    python = ["/opt/slipway/bin/python", "-c", _PROBE]
    said = models.kubectl("exec", pod, "-c", "serve", "--", *python).splitlines()
    assert said == ["Read-only file system", "False 65532", "Read-only file system"]


def test_grpc_answers_the_same_through_the_service(
    models: Models, mdep: Manifest, digits: Digits
) -> None:
    row = digits.held_out.pixels[:1]
    url = next(e["url"] for e in mdep["status"]["endpoints"] if e["type"] == "GRPC")
    pod = models.pods("digits")[0]["metadata"]["name"]
    python = ["/opt/slipway/bin/python", "-c", _GRPC, url, row.tobytes().hex()]
    said = models.kubectl("exec", pod, "-c", "serve", "--", *python).splitlines()
    expected = direct(digits.first, row)
    assert said == ["1 ['label', 'probabilities']", expected["probabilities"].tobytes().hex()]
