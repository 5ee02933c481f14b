"""The supply step holds a chunk, whatever the size of the model: 4 GiB in less than 128 MiB."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

import pytest

from tests.unit.runtime.processes import environment, serving_document
from tests.unit.runtime.store import Answer, StoreDouble, store

_BLOCK: Final = bytes(2**20)
_BLOCKS: Final = 4096
_CUT_AFTER: Final = 3000
_LIMIT_BYTES: Final = 128 * 2**20
_PROGRAM: Final = (
    "import sys; from slipway_runtime.__main__ import main; code = main(sys.argv[1:]);"
    "print([l.split()[1] for l in open('/proc/self/status') if 'VmHWM' in l][0]);"
    "sys.exit(code)"
)


@pytest.fixture
def big() -> Iterator[StoreDouble]:
    """A store of one file, which breaks off once."""
    with store() as double:
        double.answers["/m"] = [_sends(_CUT_AFTER), _sends(_BLOCKS)]
        yield double


def _sends(until: int) -> Answer:
    def answer(http: BaseHTTPRequestHandler) -> None:
        wanted = http.headers.get("Range", "bytes=0-")
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        size = _BLOCKS * len(_BLOCK)
        http.send_response(206 if start else 200)
        http.send_header("Content-Length", str(size - start))
        http.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        http.send_header("ETag", '"1"')
        http.end_headers()
        while start < until * len(_BLOCK):
            chunk = _BLOCK[start % len(_BLOCK) :]
            http.wfile.write(chunk)
            start += len(chunk)
        http.close_connection = True

    return answer


def test_four_gigabytes_take_less_than_128_megabytes(tmp_path: Path, big: StoreDouble) -> None:
    """Fetched, hashed, and gone on with after a cut at three quarters."""
    into, message = tmp_path / "models", tmp_path / "message"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "fetch", "--into", str(into),
         "--termination-message", str(message)],
        env=environment(config_json=json.dumps(serving_document(big.url("/m")))),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(message.read_text())["result"]
    assert result["sizeBytes"] == os.path.getsize(into / "model.onnx") == _BLOCKS * len(_BLOCK)
    assert result["digest"] == f"sha256:{_digest()}"
    assert [h.get("range") for h in big.headers_of("/m")] == [
        None, f"bytes={_CUT_AFTER * len(_BLOCK)}-",
    ]  # fmt: skip
    (into / "model.onnx").unlink()
    print(f"peak of the process: {int(done.stdout) // 1024} MiB")
    assert int(done.stdout) * 1024 < _LIMIT_BYTES


def _digest() -> str:
    expected = hashlib.sha256()
    for _ in range(_BLOCKS):
        expected.update(_BLOCK)
    return expected.hexdigest()
