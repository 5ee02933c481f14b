"""ModelDeployments in a YAML file, as `kubectl apply -f` would read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from slipway_operator.api.v1alpha1 import API_VERSION, KIND, parse_spec

Manifest = dict[str, Any]

NO_UID: Final = "00000000-0000-0000-0000-000000000000"


class BadDocument(Exception):
    """The file holds no ModelDeployment that could be planned; the text says which field."""


def read_documents(path: Path, namespace: str) -> list[Manifest]:
    """Read every ModelDeployment of a file; objects of other kinds are passed over.

    Args:
        path: a YAML file of one or more documents.
        namespace: for documents that name none.

    Raises:
        BadDocument: it cannot be read, has none, or one with a field that is not understood.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadDocument(f"{path}: {error}") from error
    found = [_checked(path, d, namespace) for d in documents if _is_ours(d)]
    if not found:
        raise BadDocument(f"{path}: no {KIND} of {API_VERSION} in it")
    return found


def _is_ours(document: object) -> bool:
    return isinstance(document, dict) and document.get("kind") == KIND


def _checked(path: Path, document: Manifest, namespace: str) -> Manifest:
    meta = document.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(name, str):
        raise BadDocument(f"{path}: metadata.name: got {name!r}, expected a name")
    if document.get("apiVersion") != API_VERSION:
        given = document.get("apiVersion")
        raise BadDocument(f"{path}: {name}: apiVersion: got {given!r}, expected {API_VERSION!r}")
    problems = list(_problems(document.get("spec")))
    if problems:
        raise BadDocument("\n".join(f"{path}: {name}: {problem}" for problem in problems))
    placed = {"namespace": namespace, **meta}
    return {**document, "metadata": placed}


def _problems(spec: object) -> Iterator[str]:
    if not isinstance(spec, dict):
        yield f"spec: got {spec!r}, expected a block with at least model.uri"
        return
    try:
        parse_spec(spec)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_input=False):
            yield f"{'.'.join(('spec', *map(str, error['loc'])))}: {error['msg']}"


def unborn(document: Manifest) -> Manifest:
    """Give a document what the API server would: the planner reads identity and generation."""
    born = {"uid": NO_UID, "generation": 1, "resourceVersion": "0"}
    return {**document, "metadata": {**document["metadata"], **born}}
