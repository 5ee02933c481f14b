"""The examples of the guide print what the guide says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.environments import LOCKS, interpreter
from tests.unit.docs.pages import blocks, saved, saved_text
from tests.unit.repository.files import REPOSITORY
from tests.unit.runtime.processes import Serving, environment, serving

GUIDES = REPOSITORY / "docs" / "guides"
GUIDE = (GUIDES / "clients.md").read_text()
EXAMPLES = {
    "triton_rest.py": "tritonclient",
    "triton_grpc.py": "tritonclient",
    "kserve_rest.py": "kserve",
    "tensorflow_serving.py": "ovmsclient",
    "open_inference_rest.py": "open-inference",
}
_ROW = re.compile(r"^\| `([\w-]+)` \| ([\d.]+) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The first guide's model."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "train.py").write_text(
        saved_text((GUIDES / "first-model.md").read_text(), "train.py")
    )
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, capture_output=True)
    with serving(folder / "model.onnx", host="127.0.0.1") as running:
        running.wait_for("ready")
        yield running


def test_every_example_is_tried() -> None:
    assert saved(GUIDE) == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_the_guide_says(server: Serving, tmp_path: Path, name: str) -> None:
    text = saved_text(GUIDE, name)
    here = {"127.0.0.1:8080": server.url.removeprefix("http://"), "127.0.0.1:8081": server.grpc}
    for address, own in here.items():
        text = text.replace(address, own)
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        [interpreter(EXAMPLES[name]), name],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = blocks(GUIDE.partition(f"Save as `{name}`")[2])[1].text
    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_the_versions_of_the_guide_are_those_that_are_tried() -> None:
    locks = "".join(lock.read_text() for lock in LOCKS.glob("*.txt"))
    rows = _ROW.findall(GUIDE)
    assert len(rows) == 6
    assert [name for name, version in rows if f"\n{name}=={version} \\" not in f"\n{locks}"] == []
