"""The hostile calls of the project's list over gRPC (B61 to B63), and malformed ones beside it.

What is wrong here is a message, a header or a stream's pace; the connection is sound. Attacks on
the connection are in `test_hostile_http2.py`.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from tests.unit.runtime import http2, models
from tests.unit.runtime.hostile import ECHOED, answered_meanwhile, echoes, memory_bounded
from tests.unit.runtime.http2 import Peer, connection, data, headers, message
from tests.unit.runtime.processes import Serving, pod_folder, serving
from tests.unit.runtime.protocols.calls import V2, infer, refusal, request, stream

ROW = np.ones((1, 4), np.float32).tobytes()
SCORES = np.array([[18, 22, 26]], np.float32) / 7
MAX_REQUEST_BYTES = 16 * 2**20

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED = 0, 1, 2, 3, 4
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 12, 13, 14


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("hostile-grpc")
    source = models.saved(models.affine(), folder / "affine.onnx")
    limits = {"maxJSONBytes": "1Mi", "maxRequestBytes": MAX_REQUEST_BYTES, "threads": 1}
    config, store = pod_folder(folder, source, serving=limits)
    with serving("--config", config, "--model-dir", store, host="127.0.0.1") as running:
        running.wait_for("ready")
        yield running


@pytest.fixture(scope="module")
def echoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("echo-grpc")
    with serving(models.saved(echoes(), folder / "digits.onnx")) as running:
        running.wait_for("ready")
        yield running


@pytest.fixture(scope="module")
def channel(server: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened


@pytest.fixture(scope="module")
def echo_channel(echoing: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(echoing.grpc) as opened:
        yield opened


@pytest.fixture
def peer(server: Serving) -> Iterator[Peer]:
    with connection(server.grpc) as opened:
        opened.hello()
        yield opened


def good(**more: Any) -> pb.ModelInferRequest:
    return request("x", "FP32", [1, 4], raw=[ROW], **more)


GOOD = good().SerializeToString()


def is_right(answer: pb.ModelInferResponse) -> bool:
    scores = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(1, 3)
    return bool(np.allclose(scores, SCORES))


def served(server: Serving) -> bool:
    """Whether a good request is answered as it should be, on a new connection."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.grpc, options=options) as channel:
        return is_right(infer(channel, good()))


# --- B61: the fields of a message


def typed(datatype: str, shape: list[int], **contents: Any) -> pb.ModelInferRequest:
    return request("x", datatype, shape, contents=contents)


def both() -> pb.ModelInferRequest:
    sent = typed("FP32", [1, 4], fp32_contents=[1, 1, 1, 1])
    sent.raw_input_contents.append(ROW)
    return sent


def twice() -> pb.ModelInferRequest:
    sent = request("x", "FP32", [1, 4], raw=[ROW, ROW])
    sent.inputs.append(sent.inputs[0])
    return sent


REFUSED = [
    ("B61 contents beside raw", both(), "input 'x': has contents beside raw"),
    (
        "B61 too many raw entries",
        request("x", "FP32", [1, 4], raw=[ROW] * 2),
        "raw_input_contents: 2 entries, expected 1; input 'x' is the last",
    ),
    (
        "B61 another typed field",
        typed("FP32", [1, 4], int_contents=[1] * 4),
        "input 'x': data in int_contents, expected fp32_contents for FP32",
    ),
    (
        "B61 two typed fields",
        typed("FP32", [1, 4], fp32_contents=[1] * 4, bool_contents=[True]),
        "input 'x': data in bool_contents",
    ),
    (
        "B61 fewer values",
        typed("FP32", [1, 4], fp32_contents=[1] * 3),
        "input 'x': element count of fp32_contents is 3, expected 4",
    ),
    (
        "B61 more values",
        typed("FP32", [1, 4], fp32_contents=[1] * 5),
        "input 'x': element count of fp32_contents is 5, expected 4",
    ),
    ("B61 no values", request("x", "FP32", [1, 4]), "input 'x': element count of fp32_contents"),
    ("B61 few bytes", request("x", "FP32", [1, 4], raw=[ROW[:-1]]), "input 'x': 15 bytes of data"),
    ("B61 more bytes", request("x", "FP32", [1, 4], raw=[ROW + b"."]), "input 'x': 17 bytes of"),
    ("B61 an unknown input", request("y", "FP32", [1, 4], raw=[ROW]), "input 'y': unknown"),
    ("B61 one twice", twice(), "inputs: tensor 'x' occurs twice"),
    ("B61 none", pb.ModelInferRequest(model_name="digits"), "inputs: missing"),
    ("B61 another datatype", request("x", "FP64", [1, 4], raw=[ROW * 2]), "input 'x': datatype"),
    ("B61 no datatype", request("x", "FLOAT", [1, 4], raw=[ROW]), "input 'x': datatype"),
    ("B61 another rank", request("x", "FP32", [4], raw=[ROW]), "input 'x': shape [4] has rank 1"),
    ("B61 a negative dimension", request("x", "FP32", [-1, 4], raw=[ROW]), "input 'x': shape"),
    ("B61 2^62 rows", request("x", "FP32", [2**62, 4], raw=[ROW]), "input 'x': shape"),
    ("B61 a product that wraps", request("x", "FP32", [2**60 + 2, 4], raw=[ROW]), "input 'x': "),
    ("B61 a shape of 1,000", request("x", "FP32", [1] * 1000, raw=[ROW]), "input 'x': shape"),
    ("B61 a long id", good(id="x" * 300), "id: 300 characters"),
    (
        "B61 an unknown output",
        good(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="no")]),
        "output 'no': unknown",
    ),
    ("B62 empty inputs", b"\x0a\x06digits" + b"\x2a\x00" * 4 * 2**20, "more than 64 of field 5"),
    ("B62 empty raw entries", b"\x0a\x06digits" + b"\x3a\x00" * 4 * 2**20, "64 of field 7"),
    ("B62 empty parameters", b"\x0a\x06digits" + b"\x22\x00" * 4 * 2**20, "64 of field 4"),
    ("B62 unknown fields only", b"\xa0\x06\x01" * 2**21, "more than 512 fields"),
    ("B62 a cut message", GOOD[:-3], "no valid ModelInferRequest"),
    ("B62 no message", b"\xff" * 64, "no valid ModelInferRequest"),
]


@pytest.mark.parametrize(("sent", "words"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_a_message_is_refused_by_the_name_of_its_field(
    server: Serving, channel: grpc.Channel, sent: pb.ModelInferRequest | bytes, words: str
) -> None:
    # The message itself is held a few times over: in pieces, whole, and decoded.
    size_mib = 0 if isinstance(sent, Message) else len(sent) / 2**20
    with memory_bounded(server, 8 + 4 * size_mib):
        code, details = refusal(channel, sent)
    assert (code, words in details) == ("INVALID_ARGUMENT", True), details
    assert len(details) <= 1024
    assert is_right(infer(channel, good()))


FIELDS = {"FP32": "fp32", "FP64": "fp64", "INT64": "int64", "UINT64": "uint64", "INT32": "int"}
FIELDS |= {"INT8": "int", "UINT8": "uint", "BOOL": "bool", "BYTES": "bytes"}


def echo_request(changed: str, **contents: Any) -> pb.ModelInferRequest:
    """A request to the model `echoes` with typed contents; the odd input comes first."""
    sent = pb.ModelInferRequest(model_name="digits")
    sent.inputs.add(name=f"in_{changed}", datatype=changed, shape=[1], contents=contents)
    for datatype in sorted(FIELDS.keys() - {changed}):
        one = {f"{FIELDS[datatype]}_contents": [b"1" if datatype == "BYTES" else 1]}
        sent.inputs.add(name=f"in_{datatype}", datatype=datatype, shape=[1], contents=one)
    return sent


@pytest.mark.parametrize(
    ("datatype", "contents", "words"),
    [
        pytest.param("INT8", {"int_contents": [300]}, "data[0] is 300", id="B61 300 for INT8"),
        pytest.param("INT8", {"int_contents": [-129]}, "data[0] is -129", id="B61 -129 for INT8"),
        pytest.param("UINT8", {"uint_contents": [256]}, "data[0] is 256", id="B61 256 for UINT8"),
        pytest.param("UINT8", {"int_contents": [1]}, "int_contents", id="B61 int for UINT8"),
        pytest.param("INT64", {"int_contents": [1]}, "int_contents", id="B61 int for INT64"),
        pytest.param("FP64", {"fp32_contents": [1]}, "fp32_contents", id="B61 fp32 for FP64"),
        pytest.param("BYTES", {"bytes_contents": [b"\xff"]}, "data[0]", id="B61 no UTF-8"),
        pytest.param("FP16", {"fp32_contents": [1]}, "FP16 has no typed", id="B61 typed FP16"),
    ],
)
def test_typed_values_are_not_bent(
    echo_channel: grpc.Channel, datatype: str, contents: dict[str, Any], words: str
) -> None:
    code, details = refusal(echo_channel, echo_request(datatype, **contents))
    assert code == "INVALID_ARGUMENT"
    assert details.startswith(f"input 'in_{datatype}': "), details
    assert words in details


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        pytest.param("BOOL", b"\x02", id="B61 2 for BOOL"),
        pytest.param("BYTES", b"\xff\xff\xff\xff", id="B61 a length of 4 GiB"),
        pytest.param("BYTES", b"\x05\0\0\0abc", id="B61 runs past the end"),
        pytest.param("BYTES", b"\x01\0\0\0abc", id="B61 surplus bytes"),
        pytest.param("BYTES", b"\x02\0\0\0\xff\xfe", id="B61 no UTF-8 in raw"),
    ],
)
def test_raw_values_are_not_bent(
    echoing: Serving, echo_channel: grpc.Channel, datatype: str, raw: bytes
) -> None:
    sent = echo_raw({**RAW_ONE, f"in_{datatype}": raw})
    with memory_bounded(echoing, 8):
        code, details = refusal(echo_channel, sent)
    assert (code, f"'in_{datatype}'" in details) == ("INVALID_ARGUMENT", True), details


SIZES = dict(zip(ECHOED, (4, 8, 2, 8, 4, 1, 1, 8, 1, 0), strict=True))
RAW_ONE = {f"in_{d}": b"\x01\0\0\x001" if d == "BYTES" else bytes(SIZES[d]) for d in ECHOED}


def echo_raw(contents: dict[str, bytes]) -> pb.ModelInferRequest:
    contents = {**contents, "scalar": bytes(8)}
    sent = pb.ModelInferRequest(model_name="digits", raw_input_contents=contents.values())
    for name in contents:
        datatype = name.removeprefix("in_")
        shape = [] if name == "scalar" else [1]
        sent.inputs.add(name=name, datatype=datatype.replace("scalar", "INT64"), shape=shape)
    return sent


def test_b61_an_input_without_a_raw_entry_is_named(echo_channel: grpc.Channel) -> None:
    sent = echo_raw(RAW_ONE)
    assert infer(echo_channel, sent).model_name == "digits"
    del sent.raw_input_contents[-2:]
    code, details = refusal(echo_channel, sent)
    assert (code, "input 'in_BYTES' has none" in details) == ("INVALID_ARGUMENT", True), details


# --- B62: sizes, metadata, methods


def test_b62_a_message_over_the_limit_is_refused_by_its_prefix(server: Serving) -> None:
    """The prefix says it all: no byte of the message has to come."""
    with connection(server.grpc) as peer, memory_bounded(server, 4):
        peer.hello()
        prefix = message(b"", announced=MAX_REQUEST_BYTES + 1)
        peer.send(headers(1), data(1, prefix, flags=0))
        assert peer.until_ended().status == RESOURCE_EXHAUSTED
    assert served(server)


def test_b62_a_message_over_the_limit_is_refused(server: Serving, channel: grpc.Channel) -> None:
    with memory_bounded(server, 3 * MAX_REQUEST_BYTES / 2**20):
        code, _ = refusal(channel, bytes(MAX_REQUEST_BYTES + 1))
    assert code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_b62_a_compressed_bomb_is_inflated_up_to_the_limit(server: Serving, encoding: str) -> None:
    deflater = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join(deflater.compress(bytes(2**20)) for _ in range(512)) + deflater.flush()
    with connection(server.grpc) as peer, memory_bounded(server, 3 * MAX_REQUEST_BYTES / 2**20):
        peer.hello()
        peer.until(lambda: peer.server_settings)
        peer.send(headers(1, http2.INFER, ("grpc-encoding", encoding)))
        peer.send_data(1, message(bomb, flag=1))
        assert peer.until_ended().status == RESOURCE_EXHAUSTED
    assert served(server)


def test_b62_twenty_kilobytes_of_metadata_are_refused(
    server: Serving, channel: grpc.Channel
) -> None:
    send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(http2.INFER)
    with pytest.raises(grpc.RpcError) as caught:
        send(GOOD, metadata=(("padding", "x" * 20_000),), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert is_right(infer(channel, good()))


def test_b62_usual_metadata_is_ignored(channel: grpc.Channel) -> None:
    metadata = (("user", " %s\\n"), ("token-bin", b"\x00\xff"), ("traceparent", "zz-1"))
    assert is_right(infer(channel, good(), metadata=metadata))


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(b"\xa0\x06\x01", id="a number"),
        pytest.param(b"\xa2\x06\x02ab", id="bytes"),
        pytest.param(b"\xa5\x06\0\0\0\0", id="32 bits"),
        pytest.param(b"\xa1\x06\0\0\0\0\0\0\0\0", id="64 bits"),
    ],
)
def test_b62_unknown_fields_are_ignored(channel: grpc.Channel, field: bytes) -> None:
    assert is_right(infer(channel, GOOD + field))


UNKNOWN_METHODS = [
    "/inference.GRPCInferenceService/Nothing",
    "/inference.GRPCInferenceService/modelinfer",
    "/inference.GRPCInferenceService/ModelInfer/",
    "/inference.GRPCInferenceService/SystemSharedMemoryRegister",
    "/inference.GRPCInferenceService/CudaSharedMemoryRegister",
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/nothing.Service/ModelInfer",
    "/../inference.GRPCInferenceService/ModelInfer",
    "/",
    "/" + "x" * 8000,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.channelz.v1.Channelz/GetTopChannels",
]


@pytest.mark.parametrize("path", UNKNOWN_METHODS, ids=lambda path: path[:70])
def test_b62_what_is_not_served_is_unimplemented(channel: grpc.Channel, path: str) -> None:
    send: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
    with pytest.raises(grpc.RpcError) as caught:
        list(send(iter([b""]), timeout=20))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# --- B63: streams


def test_b63_who_does_not_read_is_not_read_either(server: Serving) -> None:
    """A client that sends and takes no answer is held back; what it costs is bounded."""
    rows = np.ones((512, 4), np.float32)
    sent = message(request("x", "FP32", [512, 4], raw=[rows.tobytes()]).SerializeToString())
    frames = 2 * 64 * 2**20 // len(sent)
    with (
        answered_meanwhile(lambda: served(server)),
        memory_bounded(server, 24),
        connection(server.grpc) as peer,
    ):
        peer.hello(window=0)
        peer.until(lambda: peer.server_settings)
        peer.send(headers(1, http2.STREAM_INFER))
        taken = 0
        while taken < frames and peer.send_data(1, sent, flags=0, patience_s=1):
            taken += 1
        assert taken < frames / 2, "it was read without end"
        # It reads again, and gets everything that was taken, in full.
        peer.send(window_opened(1))
        assert peer.until(lambda: len(peer.answer().messages) == taken), len(peer.answer().messages)


def window_opened(stream: int) -> bytes:
    return http2.window_update(0, 2**30) + http2.window_update(stream, 2**30)


def test_b63_ten_thousand_messages_are_answered_in_order(
    server: Serving, channel: grpc.Channel
) -> None:
    with memory_bounded(server, 24):
        answers = stream(channel, (good(id=str(number)) for number in range(10_000)))
        for number, answer in enumerate(answers):
            assert answer.infer_response.id == str(number)
    assert number == 9_999


def test_b63_an_error_in_a_message_leaves_the_stream(channel: grpc.Channel) -> None:
    bad: list[Message | bytes] = [
        request("y", "FP32", [1], raw=[b""]),
        b"\xff\xff",
        both(),
        request("x", "FP32", [9]),
    ]
    messages: list[bytes] = []
    for each in bad:
        messages += [each if isinstance(each, bytes) else each.SerializeToString(), GOOD]
    send: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(http2.STREAM_INFER)
    answers = [
        pb.ModelStreamInferResponse.FromString(raw) for raw in send(iter(messages), timeout=20)
    ]
    assert [bool(answer.error_message) for answer in answers] == [True, False] * len(bad)
    assert all(is_right(answer.infer_response) for answer in answers[1::2])


def test_b63_a_message_over_the_limit_ends_its_stream(channel: grpc.Channel) -> None:
    send: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(http2.STREAM_INFER)
    answers = send(iter([GOOD, bytes(MAX_REQUEST_BYTES + 1), GOOD]), timeout=20)
    with pytest.raises(grpc.RpcError) as caught:
        list(answers)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert is_right(infer(channel, good()))


def test_b63_a_cancelled_stream_stops_its_model(tmp_path: Path) -> None:
    def numbers(values: Iterable[int]) -> Iterator[pb.ModelInferRequest]:
        for value in values:
            yield request("n", "INT64", [1], contents={"int64_contents": [value]})

    with (
        serving(models.saved(models.counting(), tmp_path / "digits.onnx")) as running,
        grpc.insecure_channel(running.grpc) as channel,
    ):
        running.wait_for("ready")
        send = channel.stream_stream(
            f"/{V2}/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        answers = send(numbers([1, 2, 3, 2**40, 5]), timeout=60)
        for value in (1, 2, 3):
            [raw] = next(answers).infer_response.raw_output_contents
            assert np.frombuffer(raw, np.int64).tolist() == [value]
        running.until(running=1)
        answers.cancel()
        running.until(running=0, queue={"length": 0, "maxLength": 1024})
        assert infer(channel, next(numbers([7]))).outputs[0].name == "total_out"


# --- calls that are no gRPC, or break its framing


SOUND = message(GOOD)
NO_ANSWER = {UNKNOWN, INVALID_ARGUMENT, UNIMPLEMENTED, INTERNAL}
PLAIN = (("te", "trailers"), ("content-type", "application/grpc"))


def with_headers(*more: tuple[str, str]) -> bytes:
    return headers(1, http2.INFER, *more)


def without(name: str, *more: tuple[str, str]) -> bytes:
    pairs = [pair for pair in http2.call_headers() if pair[0] != name]
    pairs = [*more, *pairs] if more and more[0][0].startswith(":") else [*pairs, *more]
    return http2.frame(http2.Type.HEADERS, http2.END_HEADERS, 1, http2.block(pairs))


CALLS = [
    ("no message", headers(1), data(1, b""), NO_ANSWER),
    (
        "no data at all",
        headers(1, flags=http2.END_HEADERS | http2.END_STREAM),
        b"",
        NO_ANSWER,
    ),
    ("two messages", headers(1), data(1, SOUND * 2), NO_ANSWER),
    ("half a prefix", headers(1), data(1, SOUND[:3]), NO_ANSWER),
    ("half a message", headers(1), data(1, SOUND[:-1]), NO_ANSWER),
    ("a byte too many", headers(1), data(1, SOUND + b"\0"), NO_ANSWER),
    (
        "a prefix of 4 GiB",
        headers(1),
        data(1, message(b"abc", announced=2**32 - 1)),
        {RESOURCE_EXHAUSTED},
    ),
    (
        "compressed, without saying how",
        headers(1),
        data(1, message(gzip.compress(GOOD), flag=1)),
        {INTERNAL},
    ),
    (
        "compressed as identity",
        with_headers(("grpc-encoding", "identity")),
        data(1, message(GOOD, flag=1)),
        {INTERNAL},
    ),
    (
        "an unknown compression",
        with_headers(("grpc-encoding", "br")),
        data(1, message(GOOD, flag=1)),
        {UNIMPLEMENTED},
    ),
    (
        "broken gzip",
        with_headers(("grpc-encoding", "gzip")),
        data(1, message(b"\x1f\x8b" + b"x" * 30, flag=1)),
        NO_ANSWER,
    ),
    (
        "truncated gzip",
        with_headers(("grpc-encoding", "gzip")),
        data(1, message(gzip.compress(GOOD)[:-9], flag=1)),
        NO_ANSWER,
    ),
    ("a flag of 2", headers(1), data(1, message(GOOD, flag=2)), NO_ANSWER),
    ("a flag of 255", headers(1), data(1, message(GOOD, flag=255)), NO_ANSWER),
    ("1 ns to answer", with_headers(("grpc-timeout", "1n")), data(1, SOUND), {DEADLINE_EXCEEDED}),
]


@pytest.mark.parametrize(
    ("opening", "content", "expected"), [pytest.param(*row[1:], id=row[0]) for row in CALLS]
)
def test_a_broken_call_has_a_status(
    peer: Peer, opening: bytes, content: bytes, expected: set[int]
) -> None:
    peer.send(opening + content)
    answer = peer.until_ended()
    # The client may find out by itself (a deadline, a cut message): then it is reset.
    assert answer.status in expected or (answer.status is None and answer.reset is not None), answer
    peer.send(http2.call(3, GOOD))
    assert peer.until_ended(3).status == OK


@pytest.mark.parametrize("timeout", ["abc", "1", "S", "-1S", "1X", "999999999S", "1.5S", "", " 1S"])
def test_a_timeout_that_is_none_is_refused_or_ignored(peer: Peer, timeout: str) -> None:
    peer.send(with_headers(("grpc-timeout", timeout)) + data(1, SOUND))
    assert peer.until_ended().status in {OK, INVALID_ARGUMENT, INTERNAL, UNKNOWN}
    peer.send(http2.call(3, GOOD))
    assert peer.until_ended(3).status == OK


@pytest.mark.parametrize("timeout", ["99999999H", "99999999n", "20S"])
def test_any_valid_timeout_is_kept(peer: Peer, timeout: str) -> None:
    peer.send(with_headers(("grpc-timeout", timeout)) + data(1, SOUND))
    assert peer.until_ended().status == OK


NO_GRPC = [
    ("another content type", without("content-type", ("content-type", "text/plain"))),
    ("no content type", without("content-type")),
    ("JSON", without("content-type", ("content-type", "application/json"))),
    ("GET", without(":method", (":method", "GET"))),
    ("PUT", without(":method", (":method", "PUT"))),
    ("CONNECT", without(":method", (":method", "CONNECT"))),
    ("OPTIONS", without(":method", (":method", "OPTIONS"))),
    ("no path", without(":path")),
    ("an empty path", without(":path", (":path", ""))),
    ("a path of its own", without(":path", (":path", "*"))),
]


@pytest.mark.parametrize("opening", [pytest.param(row[1], id=row[0]) for row in NO_GRPC])
def test_what_is_no_call_is_not_answered_as_one(
    server: Serving, peer: Peer, opening: bytes
) -> None:
    peer.send(opening + data(1, SOUND))
    answer = peer.until_ended()
    assert answer.status != OK
    assert not answer.messages
    assert served(server)


def test_a_call_without_te_or_authority_is_tolerated_or_refused(
    server: Serving, peer: Peer
) -> None:
    for stream_number, name in zip(count(1, 2), ("te", ":authority"), strict=False):
        pairs = [pair for pair in http2.call_headers() if pair[0] != name]
        opening = http2.frame(
            http2.Type.HEADERS, http2.END_HEADERS, stream_number, http2.block(pairs)
        )
        peer.send(opening + data(stream_number, SOUND))
        peer.until_ended(stream_number)
    assert served(server)


def test_a_call_in_pieces_of_one_byte_is_answered(peer: Peer) -> None:
    pieces = (http2.frame(http2.Type.DATA, 0, 1, SOUND[n : n + 1]) for n in range(len(SOUND)))
    peer.send(headers(1) + b"".join(pieces) + data(1, b""))
    assert peer.until_ended().status == OK


def test_padding_and_priority_are_read(peer: Peer) -> None:
    opening = http2.block(http2.call_headers())
    padded = bytes((4,)) + struct.pack(">IB", 0, 15) + opening + bytes(4)
    flags = http2.END_HEADERS | http2.PADDED | http2.PRIORITY_FLAG
    content = bytes((200,)) + SOUND + bytes(200)
    peer.send(http2.frame(http2.Type.HEADERS, flags, 1, padded))
    peer.send(http2.frame(http2.Type.DATA, http2.END_STREAM | http2.PADDED, 1, content))
    assert peer.until_ended().status == OK


def test_nothing_of_a_hostile_call_reaches_the_log(server: Serving) -> None:
    levels = {
        json.dumps(line) for line in server.lines if line.get("level") in ("WARNING", "ERROR")
    }
    assert not levels
    told = {line.get("message") for line in server.lines}
    assert told - {"request"} == {"listening", "ready"}  # calls that failed are told by name alone
