"""Pydantic's JSON schema becomes a structural one, rule by rule; the linter finds what is not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from slipway_operator.api.fields import Block, rule, rules
from slipway_operator.api.schema import Schema, lint, lint_bounded, structural


class Inner(Block):
    """An inner block, whose docstring is no description of a field."""

    size: int = Field(default=1, ge=0, description="size of it.")


class Everything(Block):
    """One field per rule."""

    plain: str = Field(max_length=5, examples=["a"], description="plain text.")
    const: Literal["only"] = Field(description="const of one value.")
    maybe: int | None = Field(default=None, ge=1, description="maybe a number.")
    above: int = Field(gt=0, lt=10, description="above nothing, below ten.")
    nested: Inner | None = Field(default=None, description="nested block.")
    table: dict[str, Annotated[str, Field(max_length=3)]] = Field(description="table of texts.")
    rows: list[Inner] = Field(default=[], description="rows of blocks.")
    ruled: Annotated[str, Field(json_schema_extra=rules(rule("a", "b")))] | None = Field(
        default=None, description="ruled twice.", json_schema_extra=rules(rule("c", "d"))
    )
    switch: bool = Field(default=False, description="switch of something.")


@pytest.fixture
def fields() -> dict[str, Schema]:
    found: dict[str, Schema] = structural(Everything)["properties"]
    return found


def _nodes(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return [node, *(n for v in node.values() for n in _nodes(v))]
    if isinstance(node, list):
        return [n for v in node for n in _nodes(v)]
    return []


def test_titles_examples_and_references_are_gone() -> None:
    for node in _nodes(structural(Everything)):
        assert not {"title", "examples", "$ref", "$defs", "propertyNames"} & node.keys()


def test_a_plain_field_keeps_its_bounds(fields: dict[str, Schema]) -> None:
    assert fields["plain"] == {"description": "plain text.", "type": "string", "maxLength": 5}


def test_a_constant_is_an_enumeration_of_one(fields: dict[str, Schema]) -> None:
    assert fields["const"]["enum"] == ["only"]
    assert "const" not in fields["const"]


def test_null_is_no_alternative_and_no_default(fields: dict[str, Schema]) -> None:
    assert fields["maybe"] == {"description": "maybe a number.", "type": "integer", "minimum": 1}


def test_exclusive_bounds_become_inclusive(fields: dict[str, Schema]) -> None:
    assert (fields["above"]["minimum"], fields["above"]["maximum"]) == (1, 9)
    assert not {"exclusiveMinimum", "exclusiveMaximum"} & fields["above"].keys()


def test_a_reference_is_inlined_and_the_fields_own_description_wins(
    fields: dict[str, Schema],
) -> None:
    assert fields["nested"]["description"] == "nested block."
    assert fields["nested"]["properties"]["size"]["type"] == "integer"


def test_refused_extra_fields_leave_no_additional_properties(fields: dict[str, Schema]) -> None:
    assert "additionalProperties" not in fields["nested"]


def test_a_map_has_additional_properties_and_no_properties(fields: dict[str, Schema]) -> None:
    assert fields["table"]["additionalProperties"] == {"type": "string", "maxLength": 3}
    assert "properties" not in fields["table"]


def test_items_are_converted_and_an_empty_default_is_dropped(fields: dict[str, Schema]) -> None:
    assert fields["rows"]["items"]["properties"]["size"]["default"] == 1
    assert "default" not in fields["rows"]


def test_a_default_that_says_something_stays(fields: dict[str, Schema]) -> None:
    assert fields["switch"]["default"] is False


def test_rules_of_a_type_and_of_its_field_both_hold(fields: dict[str, Schema]) -> None:
    assert fields["ruled"]["x-kubernetes-validations"] == [
        {"rule": "a", "message": "b"},
        {"rule": "c", "message": "d"},
    ]


def test_pydantic_alone_would_not_be_accepted() -> None:
    class Bare(BaseModel):
        a: int | str

    assert list(lint(structural(Bare))) == [
        "a: exactly one type is needed, got None",
        "a: a description is needed",
        "a: anyOf is not used in our schemas",
    ]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        pytest.param(
            {"description": "a b", "type": ["string", "null"]},
            "a: exactly one type is needed, got ['string', 'null']",
            id="two types",
        ),
        pytest.param(
            {"description": "a b", "type": "string", "x-kubernetes-int-or-string": True},
            "a: int-or-string has no type",
            id="int-or-string with a type",
        ),
        pytest.param({"type": "string"}, "a: a description is needed", id="no description"),
        pytest.param(
            {"description": "the a", "type": "string"},
            "a: a description begins with the field's name 'a'",
            id="a description that begins otherwise",
        ),
        pytest.param(
            {"description": "a b", "type": "string", "nullable": True},
            "a: nullable is not used in our schemas",
            id="nullable",
        ),
        pytest.param(
            {
                "description": "a b",
                "type": "object",
                "properties": {},
                "additionalProperties": {"type": "string"},
            },
            "a: properties and additionalProperties exclude each other",
            id="a map that is a block",
        ),
    ],
)
def test_the_linter_names(node: Schema, expected: str) -> None:
    assert list(lint({"type": "object", "properties": {"a": node}})) == [expected]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        pytest.param({"type": "string"}, "spec: maxLength is missing", id="a text"),
        pytest.param({"type": "array"}, "spec: maxItems is missing", id="a list"),
        pytest.param(
            {"type": "object", "additionalProperties": {"type": "integer"}},
            "spec: maxProperties is missing",
            id="a map",
        ),
    ],
)
def test_the_linter_names_what_has_no_bound(node: Schema, expected: str) -> None:
    assert list(lint_bounded(node)) == [expected]


def test_an_enumeration_is_bounded_by_itself() -> None:
    assert list(lint_bounded({"type": "string", "enum": ["a"]})) == []
