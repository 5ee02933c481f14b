"""Every command that a document shows can be run by whoever reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.commands import commands, problems
from tests.unit.docs.pages import PAGES, Block, blocks, saved, spans
from tests.unit.repository.files import relative

_LANGUAGES = {"sh", "console", "yaml", "json", "python", "text"}
_IN_A_SENTENCE = re.compile(r"(kubectl|slipway-runtime) [a-z]+( .*)?")


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_block_says_what_it_is(page: Path) -> None:
    languages = {block.language for block in blocks(page.read_text())}
    assert languages <= _LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_command_of_a_block_can_be_run(page: Path) -> None:
    text = page.read_text()
    shown = [command for block in blocks(text) for command in commands(block)]
    assert [said for command in shown for said in problems(command, saved(text))] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_command_in_a_sentence_can_be_run(page: Path) -> None:
    text = page.read_text()
    shown = [span for span in spans(text) if _IN_A_SENTENCE.fullmatch(span)]
    known = saved(text) | {"digits.yaml"}
    whole = [
        command for command in shown if not command.startswith("slipway-runtime") or "." in command
    ]
    assert [said for command in whole for said in problems(command, known)] == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        pytest.param("slipctl get", "nobody judges 'slipctl'", id="an unknown program"),
        pytest.param("make tea", "no target 'tea'", id="a target that is none"),
        pytest.param("kubectl fetch mdep", "kubectl has no verb 'fetch'", id="no verb of kubectl"),
        pytest.param("kubectl get mdep --wild", "has no flag '--wild'", id="no flag of kubectl"),
        pytest.param("kubectl get mdeps", "no kind 'mdeps'", id="no kind"),
        pytest.param("kubectl apply -f x.yaml", "'x.yaml' neither exists", id="no file"),
        pytest.param("kubectl explain mdep.spec.modle", "no field 'modle'", id="no field"),
        pytest.param("kubectl get mdep | head", "pipes, lists", id="a pipe"),
        pytest.param("helm upgrade s charts/slipway --set replica=1", "no value", id="no value"),
        pytest.param("helm upgrade s charts/none", "neither exists", id="no chart"),
        pytest.param(".venv/bin/python -m tea", "nobody judges '-m tea'", id="no module"),
        pytest.param(".venv/bin/python -m devcluster brew", "invalid choice", id="no verb"),
        pytest.param("slipway-runtime serve --port 1 model.onnx", "--port", id="no option"),
        pytest.param("pip install kserve==0.1", "in no lock", id="a client that is not tried"),
        pytest.param("pip install .[runtime-none]", "no extra 'runtime-none'", id="a dashed one"),
        pytest.param("pip install .[cli,tea]", "no extra 'tea'", id="an extra that is none"),
        pytest.param("curl -s http://127.0.0.1:8080/v1/models", "no path '/v1/models'", id="path"),
    ],
)
def test_a_command_that_cannot_be_run_is_found(command: str, expected: str) -> None:
    (said, *_) = problems(command, set())
    assert expected in said


def test_output_is_no_command_and_continued_lines_are_one() -> None:
    console = Block("console", "$ make \\\n  demo\nmake nothing\n")
    assert [command.split() for command in commands(console)] == [["make", "demo"]]
