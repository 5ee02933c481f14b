"""Both halves know the same steps of a pipeline, with the same fields."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from slipway_operator.api import pipeline as written
from slipway_operator.api.v1alpha1 import parse_spec
from slipway_runtime.config import ServingConfig
from slipway_runtime.pipeline import spec as served
from tests.unit.repository.files import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "guides" / "pipelines.md").read_text()
EXAMPLES = [yaml.safe_load(part.split("```")[0])["spec"] for part in GUIDE.split("```yaml\n")[1:]]


def fields(block: type[BaseModel], path: str = "") -> set[str]:
    """Every field of a block and of the blocks inside it, as it is written."""
    found = set()
    for name, field in block.model_fields.items():
        here = f"{path}.{field.alias or name}"
        found |= {here} | (fields(inner, here) if (inner := block_in(field.annotation)) else set())
    return found


def block_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        found_here: type[BaseModel] = annotation
        return found_here
    return next((found for part in get_args(annotation) if (found := block_in(part))), None)


def test_the_crd_and_the_runtime_have_the_same_steps_and_fields() -> None:
    assert fields(written.Pipeline) == fields(served.Pipeline)


@pytest.mark.parametrize("key", ["preprocess", "postprocess"])
def test_the_guide_tells_every_step(key: str) -> None:
    blocks: dict[str, type[BaseModel]] = {
        "preprocess": written.Preprocess,
        "postprocess": written.Postprocess,
    }
    block = blocks[key]
    assert [f.alias for f in block.model_fields.values() if f"`{f.alias}`" not in GUIDE] == []


@pytest.mark.parametrize("spec", EXAMPLES)
def test_the_examples_of_the_guide_are_taken_by_both_halves(spec: dict[str, Any]) -> None:
    assert parse_spec(spec).pipeline is not None
    document = {"name": "m", "namespace": "n", "revision": "0" * 10, "revisionNumber": 1, **spec}
    assert ServingConfig.model_validate(document).pipeline.has_steps
