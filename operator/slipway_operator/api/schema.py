"""Turn pydantic's JSON schema into a structural schema that the API server accepts.

Lives here: the conversion and a linter of its result.
Stays out: the fields (`v1alpha1.py`, `status.py`) and the rest of the CRD (`crd.py`).

Pydantic speaks JSON Schema 2020-12; a CRD wants OpenAPI 3.0's structural subset: no references, one
`type` per node, nothing but value validations under `allOf/anyOf/oneOf/not`.
Source: kubernetes.io, "Specifying a structural schema".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]

_DROPPED: Final = frozenset({"title", "examples", "propertyNames", "$defs", "additionalProperties"})
_ANY_TYPE: Final = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")


def structural(model: type[BaseModel]) -> Schema:
    """Build the structural schema of a block, references resolved, `null` alternatives gone."""
    raw = model.model_json_schema(by_alias=True)
    return _convert(raw, raw.get("$defs", {}))


def _convert(node: Mapping[str, Any], defs: Mapping[str, Any]) -> Schema:
    node = _without_null(_resolved(node, defs))
    node = _resolved(node, defs)
    out: Schema = {k: v for k, v in node.items() if k not in _DROPPED and k != "$ref"}
    if "const" in out:
        out["enum"] = [out.pop("const")]
    _bounds(out)
    if "properties" in node:
        out["properties"] = {k: _convert(v, defs) for k, v in node["properties"].items()}
    elif isinstance(node.get("additionalProperties"), Mapping):
        out["additionalProperties"] = _convert(node["additionalProperties"], defs)
    if "items" in node:
        out["items"] = _convert(node["items"], defs)
    return _trimmed(out)


def _resolved(node: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """Inline a reference; what stands beside it (a field's own description) wins."""
    if "$ref" not in node:
        return dict(node)
    target = defs[node["$ref"].rsplit("/", 1)[1]]
    beside = {k: v for k, v in node.items() if k != "$ref"}
    return {**_resolved(target, defs), **beside}


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """`anyOf: [X, null]` is X: in a Kubernetes object absent and null are the same."""
    options = [o for o in node.get("anyOf", ()) if o.get("type") != "null"]
    if "anyOf" not in node or len(options) != 1:
        return node
    rest = {k: v for k, v in node.items() if k not in ("anyOf", "default")}
    merged = {**options[0], **rest}
    both = [r for part in (options[0], rest) for r in part.get("x-kubernetes-validations", ())]
    return {**merged, "x-kubernetes-validations": both} if both else merged


def _bounds(out: Schema) -> None:
    """Write exclusive bounds as inclusive ones: OpenAPI 3.0 has a boolean, we have integers."""
    if "exclusiveMinimum" in out:
        out["minimum"] = out.pop("exclusiveMinimum") + 1
    if "exclusiveMaximum" in out:
        out["maximum"] = out.pop("exclusiveMaximum") - 1


def _trimmed(out: Schema) -> Schema:
    """Drop what says nothing, and order a node as a reader wants it."""
    if out.get("default", ...) in (None, "", [], {}):
        del out["default"]
    first = ("description", "type")
    return {k: out[k] for k in (*first, *sorted(set(out) - set(first))) if k in out}


def lint(node: Schema, path: str = "") -> Iterator[str]:
    """Name what the API server, its CEL cost estimate or a reader would object to.

    Yields:
        One sentence per finding, with the path of the node.
    """
    where = path or "schema"
    if any(node.get(k) for k in _ANY_TYPE):
        if "x-kubernetes-int-or-string" in node and "type" in node:
            yield f"{where}: int-or-string has no type"
    elif not isinstance(node.get("type"), str):
        yield f"{where}: exactly one type is needed, got {node.get('type')!r}"
    if path not in ("", "metadata") and "description" not in node and path[-1] not in "]}":
        yield f"{where}: a description is needed"
    yield from _lint_keywords(node, where)
    yield from _lint_children(node, path)


def _lint_keywords(node: Schema, where: str) -> Iterator[str]:
    for keyword in ("$ref", "anyOf", "oneOf", "allOf", "nullable", "patternProperties"):
        if keyword in node:
            yield f"{where}: {keyword} is not used in our schemas"
    if "properties" in node and "additionalProperties" in node:
        yield f"{where}: properties and additionalProperties exclude each other"


def _lint_children(node: Schema, path: str) -> Iterator[str]:
    for name, child in node.get("properties", {}).items():
        child_path = f"{path}.{name}" if path else name
        yield from _lint_name(child, child_path, name)
        yield from lint(child, child_path)
    for suffix, key in (("[]", "items"), ("{}", "additionalProperties")):
        if key in node:
            yield from lint(node[key], f"{path}{suffix}")


def _lint_name(child: Schema, path: str, name: str) -> Iterator[str]:
    if not child.get("description", name).startswith(name):
        yield f"{path}: a description begins with the field's name {name!r}"


def lint_bounded(node: Schema, path: str = "spec") -> Iterator[str]:
    """Name every string, list and map without a bound: CEL needs one to cost its rules."""
    bound = {"string": "maxLength", "array": "maxItems"}.get(str(node.get("type")))
    if "additionalProperties" in node:
        bound = "maxProperties"
    if bound and bound not in node and "enum" not in node:
        yield f"{path}: {bound} is missing"
    for name, child in node.get("properties", {}).items():
        yield from lint_bounded(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from lint_bounded(node[key], f"{path}[]")
