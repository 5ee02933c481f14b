"""Processes are known by more than their id, and are ended by it alone."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from devcluster.processes import (
    ProcessRecord,
    end,
    is_alive,
    parse_stat,
    read_record,
    spawn,
    write_record,
)
from devcluster.progress import wait_until


@pytest.fixture
def sleeper(tmp_path: Path) -> ProcessRecord:
    return _spawn(tmp_path, "import signal; print('up', flush=True); signal.pause()")


def test_a_name_with_parentheses_and_spaces_does_not_confuse_the_fields() -> None:
    fields = " ".join(str(number) for number in range(4, 60))
    assert parse_stat(f"7 (a (b) c) S {fields}") == ("S", 4, 22)


def test_a_started_process_is_alive_until_it_is_ended(sleeper: ProcessRecord) -> None:
    assert is_alive(sleeper)
    end(sleeper, grace_s=5)
    assert not is_alive(sleeper)


def test_a_killed_process_is_not_alive_even_before_it_is_reaped(sleeper: ProcessRecord) -> None:
    os.kill(sleeper.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(sleeper), "the process to be seen as dead", timeout_s=5)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"start_ticks": 1}, id="another process has its id"),
        pytest.param({"boot_id": "another"}, id="the machine has booted since"),
    ],
)
def test_a_process_of_the_same_id_is_neither_alive_nor_ended(
    sleeper: ProcessRecord, change: dict[str, int | str]
) -> None:
    stranger = replace(sleeper, **change)  # type: ignore[arg-type]  # both are fields
    assert not is_alive(stranger)
    end(stranger, grace_s=1)
    assert is_alive(sleeper)
    end(sleeper, grace_s=5)


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    stubborn = _spawn(
        tmp_path,
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('up', flush=True); signal.pause()",
    )
    end(stubborn, grace_s=0.1)
    assert not is_alive(stubborn)


def test_a_record_survives_the_way_to_disk(tmp_path: Path) -> None:
    record = ProcessRecord(7, 12, "boot", "key")
    write_record(tmp_path / "etcd.json", record)
    assert read_record(tmp_path / "etcd.json") == record


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param('{"pid": 1}', id="of another version"),
    ],
)
def test_an_unreadable_record_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "etcd.json").write_text(text)
    assert read_record(tmp_path / "etcd.json") is None


def _spawn(folder: Path, program: str) -> ProcessRecord:
    log = folder / "log"
    record = spawn([sys.executable, "-c", program], log=log, key="")
    wait_until(lambda: "up" in log.read_text(), "the program to start", timeout_s=10, log=log)
    return record
