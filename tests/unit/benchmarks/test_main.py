"""A run that is asked for what does not exist is refused before anything starts."""

from __future__ import annotations

import pytest

from benchmarks.runtime import __main__ as command
from benchmarks.runtime.rounds import Options


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--only", "1,20"], "--only: got '20', expected 1, 10, 10a", id="no row"),
        pytest.param(["--servers", "tea"], "--servers: got 'tea', expected fastapi", id="no rival"),
    ],
)
def test_a_typo_is_refused(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    assert expected in capsys.readouterr().err


def test_every_server_of_a_run_is_described() -> None:
    machine = command.machine(Options())
    for server in machine["servers"].values():
        assert server["setting"]
        assert machine["versions"][server["environment"]]["onnxruntime"]
