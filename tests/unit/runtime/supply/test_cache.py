"""A cache that pods share: what is in it is hashed, who writes is not alone, and it may be lost."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import chdir
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest

from slipway_runtime.supply.cache import Cache
from tests.unit.runtime import models
from tests.unit.runtime.processes import Ended, environment, runtime, serving_document
from tests.unit.runtime.store import StoreDouble, hangs, says, sends

MODEL: Final = models.affine().SerializeToString()
DIGEST: Final = f"sha256:{hashlib.sha256(MODEL).hexdigest()}"
ENTRY: Final = DIGEST.replace(":", "-")
CLAIM: Final = {"persistentVolumeClaim": "models"}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The claim's folder."""
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


def arguments(folder: Path, into: str) -> list[object]:
    return ["fetch", "--into", folder / into, "--cache-dir", folder / "cache",
            "--source-dir", folder / "source",
            "--termination-message", folder / f"{into}.message"]  # fmt: skip


def document(uri: str, **more: Any) -> dict[str, Any]:
    found = serving_document(uri, **more)
    found["model"]["cache"] = CLAIM
    return found


def fetched(folder: Path, uri: str, into: str = "into", **more: Any) -> Ended:
    (folder / f"{into}.message").touch()
    config = json.dumps(document(uri, **more))
    return runtime(
        *arguments(folder, into),
        config_json=config,
        fetch_attempts=1,
        max_model_bytes=2**20,
        max_model_files=10,
    )


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_what_a_job_has_fetched_its_pods_need_not_fetch(
    tmp_path: Path, cache: Path, store_double: StoreDouble
) -> None:
    store_double.answers["/m"] = [sends(MODEL), says(404)]
    assert fetched(tmp_path, store_double.url("/m"), "job").returncode == 0
    assert entries(cache) == [ENTRY]
    done = fetched(tmp_path, store_double.url("/m"), "pod", digest=DIGEST)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pod" / "model.onnx").read_bytes() == MODEL
    assert len(store_double.seen) == 1


def test_a_folder_is_kept_as_one(tmp_path: Path, cache: Path) -> None:
    models.with_data(tmp_path / "source" / "v1")
    assert fetched(tmp_path, "pvc://models/v1/", "job").returncode == 0
    digest = json.loads((tmp_path / "job.message").read_text())["result"]["digest"]
    assert entries(cache) == [digest.replace(":", "-")]
    (tmp_path / "source" / "v1" / "weights.bin").write_bytes(b"other")
    done = fetched(tmp_path, "pvc://models/v1/", "pod", digest=digest)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pod" / "folder" / "weights.bin").stat().st_size == 48


def test_an_archive_is_kept_as_it_was_published(
    tmp_path: Path, cache: Path, store_double: StoreDouble
) -> None:
    files = models.with_data(tmp_path / "files").parent
    packed = subprocess.run(
        ["tar", "-C", files, "-czf", "-", "."], capture_output=True, check=True
    ).stdout
    digest = f"sha256:{hashlib.sha256(packed).hexdigest()}"
    store_double.answers["/m.tgz"] = [sends(packed), says(404)]
    assert fetched(tmp_path, store_double.url("/m.tgz"), "job").returncode == 0
    assert entries(cache) == [digest.replace(":", "-")]
    assert fetched(tmp_path, store_double.url("/m.tgz"), "pod", digest=digest).returncode == 0
    assert (tmp_path / "pod" / "folder" / "model.onnx").is_file()


@pytest.mark.parametrize("kind", ["file", "large", "folder", "link", "pipe", "socket"])
def test_c28_what_is_in_the_cache_is_not_believed(
    tmp_path: Path, cache: Path, store_double: StoreDouble, kind: str
) -> None:
    """Other bytes under the name are removed, and the store is asked."""
    entry = cache / ENTRY
    match kind:
        case "file":
            entry.write_bytes(b"other bytes")
        case "large":
            entry.touch()
            os.truncate(entry, 2**21)
        case "folder":
            (entry / "x").mkdir(parents=True)
        case "socket":
            with chdir(cache), socket.socket(socket.AF_UNIX) as listening:
                listening.bind(ENTRY)
        case "link":
            (tmp_path / "secret").write_bytes(MODEL)
            entry.symlink_to(tmp_path / "secret")
        case _:
            os.mkfifo(entry)
    store_double.answers["/m"] = [sends(MODEL)]
    done = fetched(tmp_path, store_double.url("/m"), digest=DIGEST)
    assert done.returncode == 0, done.stderr
    assert "cache has something else, which is removed" in done.stderr
    assert (tmp_path / "into" / "model.onnx").read_bytes() == MODEL
    assert len(store_double.seen) == 1
    assert not entry.is_symlink()
    assert entry.read_bytes() == MODEL


@pytest.mark.parametrize("kind", ["bytes", "large", "name", "twice", "many", "link", "pipe"])
def test_c28_a_folder_in_the_cache_is_not_believed(tmp_path: Path, cache: Path, kind: str) -> None:
    """Names and sizes that no model may have are somebody's accident, and no pod's end."""
    models.with_data(tmp_path / "source" / "v1")
    assert fetched(tmp_path, "pvc://models/v1/", "job").returncode == 0
    digest = json.loads((tmp_path / "job.message").read_text())["result"]["digest"]
    entry = cache / digest.replace(":", "-")
    match kind:
        case "bytes":
            (entry / "weights.bin").write_bytes(b"other")
        case "large":
            os.truncate(entry / "weights.bin", 2**21)
        case "name":
            (entry / "a\nb").touch()
        case "twice":
            (entry / "WEIGHTS.bin").touch()
        case "many":
            for number in range(12):
                (entry / f"{number}").touch()
        case "link":
            (entry / "weights.bin").unlink()
            (entry / "weights.bin").symlink_to(tmp_path / "source" / "v1" / "weights.bin")
        case _:
            os.mkfifo(entry / "pipe")
    done = fetched(tmp_path, "pvc://models/v1/", "pod", digest=digest)
    assert done.returncode == 0, done.stderr
    assert "cache has something else, which is removed" in done.stderr
    assert sorted(path.name for path in entry.iterdir()) == ["model.onnx", "weights.bin"]
    assert (entry / "weights.bin").read_bytes() == (
        tmp_path / "source" / "v1" / "weights.bin"
    ).read_bytes()


def test_c28_a_writer_that_was_killed_leaves_no_entry(
    tmp_path: Path, cache: Path, store_double: StoreDouble
) -> None:
    """Killed in the middle of its download, with the lock in its hands; the next one goes on."""
    asked, released = threading.Event(), threading.Event()

    store_double.answers["/m"] = [hangs(MODEL, asked, released), sends(MODEL)]
    config = json.dumps(document(store_double.url("/m"), digest=DIGEST))
    command = [sys.executable, "-m", "slipway_runtime", *map(str, arguments(tmp_path, "first"))]
    with subprocess.Popen(
        command, env=environment(config_json=config), stderr=subprocess.DEVNULL
    ) as step:
        assert asked.wait(30)
        step.kill()
        step.wait(10)
        released.set()
    assert entries(cache) == []
    assert fetched(tmp_path, store_double.url("/m"), "second", digest=DIGEST).returncode == 0
    assert entries(cache) == [ENTRY]


@pytest.fixture
def crowd(tmp_path: Path, cache: Path, store_double: StoreDouble) -> Iterator[list[Any]]:
    """Five pods at once, while the store takes its time."""
    started = threading.Barrier(2)

    def slowly(request: BaseHTTPRequestHandler) -> None:
        started.wait(60)
        sends(MODEL)(request)

    store_double.answers["/m"] = [slowly]
    config = json.dumps(document(store_double.url("/m"), digest=DIGEST))
    steps = []
    for number in range(5):
        (tmp_path / f"{number}.message").touch()
        command = [
            sys.executable, "-m", "slipway_runtime", *map(str, arguments(tmp_path, str(number)))
        ]  # fmt: skip
        steps.append(
            subprocess.Popen(
                command, env=environment(config_json=config), stderr=subprocess.PIPE, text=True
            )
        )
    started.wait(60)
    yield steps
    for step in steps:
        step.kill()
        step.wait()
        assert step.stderr
        step.stderr.close()


def test_c28_pods_that_start_together_fetch_once(
    tmp_path: Path, crowd: list[Any], cache: Path, store_double: StoreDouble
) -> None:
    for step in crowd:
        assert step.wait(120) == 0, step.stderr.read()
    assert len(store_double.seen) == 1
    assert entries(cache) == [ENTRY]
    for number in range(5):
        assert (tmp_path / f"{number}" / "model.onnx").read_bytes() == MODEL


def test_c28_writers_of_one_entry_do_not_disturb_each_other(tmp_path: Path, cache: Path) -> None:
    """Without the lock, as on a volume that has none."""
    source = models.with_data(tmp_path / "files").parent
    writers = [
        threading.Thread(target=Cache(cache, sleep=time.sleep).keep, args=(DIGEST, source))
        for _ in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [path.name for path in cache.iterdir()] == [ENTRY]
    assert {p.name for p in (cache / ENTRY).iterdir()} == {"model.onnx", "weights.bin"}


@pytest.mark.parametrize("trouble", ["missing", "no folder"])
def test_a_cache_that_cannot_be_used_costs_a_download(
    tmp_path: Path, store_double: StoreDouble, trouble: str
) -> None:
    if trouble == "no folder":
        (tmp_path / "cache").touch()
    store_double.answers["/m"] = [sends(MODEL)]
    done = fetched(tmp_path, store_double.url("/m"), digest=DIGEST)
    assert done.returncode == 0, done.stderr
    assert "model is not kept in the cache" in done.stderr


def test_c27_a_cache_without_room_costs_a_download(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with a hole that is larger than the disk: it is not even begun."""
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, os.statvfs(cache).f_blocks * os.statvfs(cache).f_frsize)
    Cache(cache, sleep=time.sleep).keep(DIGEST, large)
    assert "model is not kept in the cache" in caplog.text
    assert list(cache.iterdir()) == []


def test_what_interrupted_writers_left_is_removed_after_a_day(tmp_path: Path, cache: Path) -> None:
    old, young = cache / f".{ENTRY}.1", cache / f".{ENTRY}.2"
    for path in (old, young):
        path.mkdir()
    os.utime(old, (0, 0))
    Cache(cache, sleep=time.sleep).keep(DIGEST, models.with_data(tmp_path / "files"))
    assert not old.exists()
    assert young.exists()


def test_nobody_waits_for_ever(tmp_path: Path, cache: Path) -> None:
    waited: list[float] = []
    patient = Cache(cache, sleep=waited.append, wait_s=0.0)
    with Cache(cache, sleep=time.sleep).turn(DIGEST), patient.turn(DIGEST):
        assert len(waited) <= 1
