"""A disk that is full: a file system of 4 MiB in a mount namespace of the step's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.runtime.processes import environment, serving_document
from tests.unit.runtime.store import StoreDouble, sends, store

_SIZE: Final = 8 * 2**20
_SCRIPT: Final = (
    'mount -t tmpfs -o size=4m tmpfs "$1" && "$2" -m slipway_runtime fetch --into "$1/models"'
    ' --termination-message "$3"; code=$?; find "$1/models" -type f | wc -l; exit $code'
)


@pytest.fixture
def large() -> Iterator[StoreDouble]:
    """A store of one model that is larger than the disk, with its size and without."""

    def unannounced(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(bytes(_SIZE))
        request.close_connection = True

    with store() as double:
        double.answers["/announced"] = [sends(bytes(_SIZE))]
        double.answers["/unannounced"] = [unannounced]
        yield double


@pytest.mark.parametrize(
    ("path", "words"),
    [
        pytest.param("/announced", "are free in", id="C27 told before the first byte"),
        pytest.param("/unannounced", "no space left in", id="C27 told when it is full"),
    ],
)
def test_a_full_disk_is_told_and_tried_again(
    tmp_path: Path, large: StoreDouble, path: str, words: str
) -> None:
    disk, message = tmp_path / "disk", tmp_path / "message"
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh", disk, sys.executable, message],
        env=environment(config_json=json.dumps(serving_document(large.url(path)))),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 11, done.stderr
    failure: dict[str, Any] = json.loads(message.read_text())["failure"]
    assert (failure["reason"], failure["terminal"]) == ("DiskFull", False)
    assert words in failure["message"]
    assert done.stdout.split() == ["0"], "something was left"
    assert list(disk.iterdir()) == []
