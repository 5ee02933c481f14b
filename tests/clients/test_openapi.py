"""schemathesis asks whatever the protocol's OpenAPI description allows, and more."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.clients.description import CORRECTIONS, corrected, hinted, original, put
from tests.clients.environments import interpreter
from tests.clients.running import Servers
from tests.unit.runtime.processes import environment

SEED = 1
DEADLINE_S = 300
INFER = "POST /v2/models/{model_name}/infer"
OWN = (
    "POST /v2/models/{model}/infer",
    "POST /v1/models/{model}:predict",
    "POST /predict",
    "PUT /predictions/{model}",
)
VERBS = ("get", "post", "put")
PHASES = "examples,coverage,fuzzing"


def report(
    servers: Servers, document: dict[str, Any], folder: Path, *, examples: int, phases: str
) -> dict[str, Any]:
    """Run schemathesis to its end; return its report, with what it printed as `said`."""
    (folder / "description.json").write_text(json.dumps(document))
    options = {
        "url": f"http://{servers.addresses['affine']['http']}",
        "max-examples": examples,
        "seed": SEED,
        "phases": phases,
        # What a model takes is more than a schema can say: valid by it may be invalid to the model.
        "exclude-checks": "positive_data_acceptance",
        "generation-database": "none",
        "report": "json",
        "report-json-path": folder / "report.json",
    }
    done = subprocess.run(
        [
            *(interpreter("schemathesis"), "-m", "schemathesis.cli", "run", "description.json"),
            *(f"--{name}={value}" for name, value in options.items()),
            *("--no-shrink", "--continue-on-failure"),
        ],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (folder / "report.json").exists(), done.stdout + done.stderr
    read: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return {**read, "said": done.stdout}


def check(found: dict[str, Any], document: dict[str, Any], *answered: str) -> None:
    """Every operation was asked, some were answered, and nothing broke its description."""
    assert (found["failures"], found["errors"]) == ([], []), found["said"]
    assert found["complete"]
    operations = [verb for path in document["paths"].values() for verb in path if verb in VERBS]
    assert found["operations"]["tested"] == len(operations)
    for operation in answered:
        phases = found["valid_rates"][operation].values()
        assert sum(phase["accepted"] for phase in phases) > 0, operation


@pytest.mark.timeout(DEADLINE_S)
def test_every_answer_has_the_form_that_is_described(servers: Servers, tmp_path: Path) -> None:
    document = corrected()
    found = report(servers, document, tmp_path, examples=40, phases=f"{PHASES},stateful")
    check(found, document, INFER)
    assert found["test_cases"]["generated"] > 2000


@pytest.mark.timeout(DEADLINE_S)
def test_the_runtime_describes_itself_as_it_is(servers: Servers, tmp_path: Path) -> None:
    address = servers.started["affine"].admin
    document = hinted(httpx.get(f"{address}/openapi.json", trust_env=False).json())
    found = report(servers, document, tmp_path, examples=20, phases=PHASES)
    check(found, document, *OWN)
    assert found["test_cases"]["generated"] > 1000


def test_each_contradiction_is_still_there_and_has_its_reason() -> None:
    for change in yaml.safe_load(CORRECTIONS.read_text())["contradictions"]:
        document = original()
        put(document, change["at"], change["put"])
        assert document != original(), change["at"]
        assert len(change["why"]) > 20


def test_a_correction_of_what_is_gone_is_noticed() -> None:
    with pytest.raises(KeyError, match="components / nothing / x: not in the description"):
        put(original(), ["components", "nothing", "x"], {})
