"""Every Dockerfile keeps the rules for images: small, hashed, without rights, without a shell."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.repository.files import REPOSITORY

HALF = {"operator": "operator", "runtime": "runtime", "converter": "runtime"}
"""Whose source an image has: the converter is the runtime with more libraries."""
ON_TOP = REPOSITORY / "Dockerfile.converter-torch"
"""What is added to another image of ours, by Debian's packages alone."""
DOCKERFILES = sorted(set(REPOSITORY.glob("Dockerfile.*")) - {ON_TOP})
Instruction = tuple[str, str]


def instructions(path: Path) -> list[Instruction]:
    """Return the instructions of a Dockerfile, keyword and the rest, continuation lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(keyword.upper(), rest) for keyword, rest in pairs]


def stages(path: Path) -> list[list[Instruction]]:
    """Return the instructions of each stage, beginning with its FROM."""
    found: list[list[Instruction]] = []
    for keyword, rest in instructions(path):
        if keyword == "FROM":
            found.append([])
        if found:
            found[-1].append((keyword, rest))
    return found


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.name)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    """Each Dockerfile of the repository."""
    path: Path = request.param
    return path


def test_there_is_an_image_of_the_operator() -> None:
    assert REPOSITORY / "Dockerfile.operator" in DOCKERFILES


def test_two_stages_have_the_same_base_which_a_release_pins(dockerfile: Path) -> None:
    assert instructions(dockerfile)[0] == ("ARG", "PYTHON_IMAGE=python:3.12-slim")
    bases = [stage[0][1] for stage in stages(dockerfile)]
    assert bases == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]


def test_it_ends_as_a_number_without_rights(dockerfile: Path) -> None:
    users = [rest for keyword, rest in stages(dockerfile)[-1] if keyword == "USER"]
    assert users == ["65532:65532"]


def test_the_process_is_the_container_without_a_shell(dockerfile: Path) -> None:
    (entry,) = [rest for keyword, rest in stages(dockerfile)[-1] if keyword == "ENTRYPOINT"]
    half = HALF[dockerfile.suffix.removeprefix(".")]
    assert json.loads(entry) == ["/opt/slipway/bin/python", "-m", f"slipway_{half}"]


def test_the_final_stage_runs_nothing_and_copies_only_the_environment(dockerfile: Path) -> None:
    final = stages(dockerfile)[-1]
    assert "RUN" not in {keyword for keyword, _ in final}
    copies = [rest for keyword, rest in final if keyword in {"COPY", "ADD"}]
    assert copies == ["--from=build /opt/slipway /opt/slipway"]


def test_kubernetes_probes_and_nothing_is_latest(dockerfile: Path) -> None:
    assert "HEALTHCHECK" not in {keyword for keyword, _ in instructions(dockerfile)}
    assert "latest" not in "\n".join(rest for _, rest in instructions(dockerfile))
    assert "ADD" not in {keyword for keyword, _ in instructions(dockerfile)}


def test_everything_that_is_installed_is_hashed_or_our_own(dockerfile: Path) -> None:
    commands = [
        command
        for keyword, rest in instructions(dockerfile)
        if keyword == "RUN"
        for command in rest.split("&&")
        if "pip install" in command
    ]
    own = [command for command in commands if "--require-hashes" not in command]
    assert len(own) == 1
    assert "--no-deps" in own[0]
    assert "--build-constraints requirements/build.txt" in own[0]
    assert own[0].split()[-1] == "."


def test_pytorch_is_put_on_top_of_the_converter_as_debian_signs_it() -> None:
    found = instructions(ON_TOP)
    assert found[:2] == [
        ("ARG", "CONVERTER_IMAGE=slipway-converter"),
        ("FROM", "${CONVERTER_IMAGE}"),
    ]
    commands = [rest for keyword, rest in found if keyword == "RUN"]
    assert len(commands) == 1
    assert "apt-get install -y --no-install-recommends python3-torch" in commands[0]
    assert "rm -rf /var/lib/apt/lists/*" in commands[0]
    assert found[-1] == ("USER", "65532:65532")
    assert {keyword for keyword, _ in found} == {"ARG", "FROM", "LABEL", "USER", "RUN"}


def test_the_runtime_is_built_for_either_accelerator() -> None:
    """The shell of the build chooses the lock; another word ends the build."""
    path = REPOSITORY / "Dockerfile.runtime"
    assert ("ARG", "ACCELERATOR=cpu") in instructions(path)
    (chosen,) = [rest for keyword, rest in instructions(path) if "case" in rest]
    case = chosen.split("&&")[0]
    for word, lock in (("cpu", "runtime.txt"), ("cuda", "runtime-cuda.txt")):
        script = f"ACCELERATOR={word}; {case}; echo $lock"
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == f"requirements/{lock}\n"
        assert (REPOSITORY / "requirements" / lock).is_file()
    script = f"ACCELERATOR=x; {case}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, "expected cpu or cuda" in done.stderr) == (2, True)


def test_the_environment_has_neither_pip_nor_uv_and_bytecode_that_lasts(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert "python3 -m venv --without-pip /opt/slipway" in text
    # Layers round modification times, so bytecode bound by time would be stale in every container.
    assert "PYC_INVALIDATION_MODE=UNCHECKED_HASH" in text


def test_dependencies_come_before_the_source_of_this_half_alone(dockerfile: Path) -> None:
    image = dockerfile.suffix.removeprefix(".")
    half = HALF[image]
    copies = [rest for keyword, rest in stages(dockerfile)[0] if keyword == "COPY"]
    assert copies[-1] == f"{half}/ {half}/"
    locked = next(index for index, copy in enumerate(copies) if f"{image}.txt" in copy)
    assert locked < len(copies) - 1
    other = {"operator": "runtime/", "runtime": "operator/"}[half]
    assert not any(word == other for copy in copies for word in copy.split())


def test_the_build_context_is_a_list_of_what_is_needed() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!LICENSE",
        "!README.md",
        "!operator",
        "!pyproject.toml",
        "!requirements",
        "!runtime",
    }
