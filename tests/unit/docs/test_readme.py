"""What the README tells a newcomer to paste works: on a laptop, without a cluster."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.unit.docs.commands import commands
from tests.unit.docs.pages import blocks, saved_text
from tests.unit.repository.files import REPOSITORY
from tests.unit.runtime.processes import runtime, serving

README = (REPOSITORY / "README.md").read_text()
GUIDE = (REPOSITORY / "docs" / "guides" / "first-model.md").read_text()
EXAMPLES = REPOSITORY / "examples"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _pasted() -> list[list[str]]:
    """The commands of the first two blocks, as words."""
    first, second, *_ = blocks(README)
    return [shlex.split(command) for block in (first, second) for command in commands(block)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the second command makes, where it is started."""
    folder = tmp_path_factory.mktemp("laptop")
    _, (_, program), *_ = _pasted()
    subprocess.run([sys.executable, REPOSITORY / program], cwd=folder, check=True)
    return folder / "model.onnx"


def _here(words: list[str], model: Path) -> list[str]:
    """The arguments, with the files where they are."""
    return [
        str(model) if word == model.name else str(REPOSITORY / word) if "/" in word else word
        for word in words
    ]


def test_the_first_commands_serve_a_model_that_answers(model: Path) -> None:
    _, _, (_, verb, *arguments), (*_, address, _, file) = _pasted()
    assert verb == "serve"
    request = (REPOSITORY / file.removeprefix("@")).read_bytes()
    with serving(*_here(arguments, model)) as server:
        server.wait_for("ready")
        url = address.replace("http://127.0.0.1:8080", server.url)
        answer = httpx.post(url, content=request, trust_env=False)
    label, _ = answer.json()["outputs"]
    assert (answer.status_code, label["data"]) == (200, [0])


def test_without_a_file_the_example_is_refused_as_the_guide_says(model: Path) -> None:
    _, _, (_, *arguments), _ = _pasted()
    at = arguments.index("--model")
    ended = runtime(*_here(arguments[:at], model))
    (cause,) = re.findall(r"`(model\.uri: a ConfigMap needs a cluster[^`]*)`", GUIDE)
    assert ended.returncode == 2
    assert cause in ended.stderr


@pytest.mark.parametrize(
    ("file", "name"), [("train.py", "train.py"), ("requests/digits.json", "request.json")]
)
def test_the_examples_are_those_of_the_guide(file: str, name: str) -> None:
    assert (EXAMPLES / file).read_text().endswith(saved_text(GUIDE, name))


def test_the_folder_of_examples_can_be_applied() -> None:
    """`kubectl apply -f examples/` takes all that looks like a manifest."""
    found = [path for path in EXAMPLES.iterdir() if path.suffix in {".json", ".yaml", ".yml"}]
    assert [path.name for path in found if "kind: ModelDeployment" not in path.read_text()] == []


def test_every_install_says_who_converts() -> None:
    """The default names an image that nobody has published."""
    pages = (README, (REPOSITORY / "docs" / "guides" / "operations.md").read_text())
    for page in pages:
        installs = [c for c in _shell(page) if c.startswith("helm upgrade") and "TAG" in c]
        assert installs
        assert [c for c in installs if "converterImage.repository=" not in c] == []


def test_the_missed_targets_are_counted() -> None:
    ratios = (REPOSITORY / "docs" / "benchmarks.md").read_text()
    missed = len(re.findall(r"^\|.*\| missed \|$", ratios, re.M))
    assert f"The runtime misses {NUMBERS[missed]} of the targets in its benchmarks" in README


def _shell(page: str) -> list[str]:
    return [command for block in blocks(page) for command in commands(block)]
