"""The CustomResourceDefinition of ModelDeployment, generated; nobody edits `crds/` by hand.

`python -m slipway_operator.api.crd --write crds/FILE` writes it, `--check` compares and fails on a
difference.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from slipway_operator.api import v1alpha1
from slipway_operator.api.fields import rule
from slipway_operator.api.schema import Schema, structural
from slipway_operator.api.status import Status

FILE_NAME: Final = f"{v1alpha1.GROUP}_{v1alpha1.PLURAL}.yaml"
MAX_NAME: Final = 40
"""Children add `-` and ten digits, and some a further suffix; Service names end at 63."""

_HEADER: Final = "# Generated from operator/slipway_operator/api by `make crd`; do not edit.\n"
_WIDTH: Final = 4096
_LINE: Final = 480
"""What is shorter is one line, fields without fields of their own always: indentation was half of
the file."""
_NAME_RULES: Final = [
    rule(
        f"self.metadata.name.size() <= {MAX_NAME}",
        f"metadata.name: expected at most {MAX_NAME} characters, because the names of Services"
        " and pods are made from it",
    ),
    rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name: expected lower-case letters, digits and '-', starting with a letter,"
        " because a Service bears this name",
    ),
]
_COLUMNS: Final = [
    ("Ready", ".status.summary.ready", "whether the revision that the spec asks for serves", 0),
    ("Phase", ".status.phase", "the conditions in a word", 0),
    ("Stable", ".status.summary.stable", "the revision that serves", 0),
    ("Candidate", ".status.summary.candidate", "the revision being prepared", 0),
    ("Replicas", ".status.summary.replicas", "available/wanted", 0),
    ("URL", ".status.endpoints[0].url", "where clients find the model inside the cluster", 0),
    ("Digest", ".status.model.digest", "digest of the model that answers", 1),
    ("Message", ".status.message", "what is going on", 1),
]


def custom_resource_definition() -> dict[str, Any]:
    """Build the whole CRD."""
    plural, kind = v1alpha1.PLURAL, v1alpha1.KIND
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{v1alpha1.GROUP}"},
        "spec": {
            "group": v1alpha1.GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": ["mdep"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": v1alpha1.VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            *(
                {"name": n, "type": "string", "jsonPath": p, "description": d, "priority": prio}
                for n, p, d, prio in _COLUMNS
            ),
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "schema": {"openAPIV3Schema": _root()},
    }


def _root() -> Schema:
    status = _without_defaults(structural(Status))
    # kstatus (Flux, Helm 4's --wait) takes an object without status for Current; -1: InProgress.
    status["default"] = {"observedGeneration": -1}
    return {
        "description": "ModelDeployment turns a model file into a production service: the operator "
        "fetches and checks the model, runs it, exposes it, and moves traffic to a new revision "
        "when the spec changes.",
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": _NAME_RULES,
        "properties": {
            "apiVersion": {"type": "string", "description": "apiVersion is slipway.dev/v1alpha1."},
            "kind": {"type": "string", "description": "kind is ModelDeployment."},
            "metadata": {"type": "object"},
            "spec": {**structural(v1alpha1.Spec), "description": "spec is what the user wants."},
            "status": {**status, "description": "status is what the operator observed."},
        },
    }


def _without_defaults(node: Schema) -> Schema:
    """The operator writes every field it means; a default would be a field nobody wrote."""
    out = {k: v for k, v in node.items() if k != "default"}
    if "properties" in out:
        out["properties"] = {k: _without_defaults(v) for k, v in out["properties"].items()}
    if "items" in out:
        out["items"] = _without_defaults(out["items"])
    return out


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, text blocks for texts of several lines, and what is small on a line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_mapping(
        self, tag: str, mapping: Any, flow_style: bool | None = None
    ) -> yaml.MappingNode:
        node = super().represent_mapping(tag, mapping, flow_style)
        node.flow_style = node.flow_style or _is_small(node)
        return node

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        node.flow_style = node.flow_style or _is_small(node)
        return node


def _is_small(node: yaml.Node) -> bool:
    """Tell whether a collection of collections is short enough to be read on a line."""
    return "\n" not in (text := _text_of(node)) and len(text) <= _LINE


def _text_of(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.MappingNode):
        return ", ".join(f"{_text_of(k)}: {_text_of(v)}" for k, v in node.value)
    return ", ".join(map(_text_of, node.value))


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
# To kubectl and Helm a bare `n` is a boolean, as it was in YAML 1.1: it has to be quoted.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))


def render() -> str:
    """Write the CRD as YAML, the same text every time."""
    body = yaml.dump(
        custom_resource_definition(),
        Dumper=_Dumper,
        sort_keys=False,
        width=_WIDTH,
        default_flow_style=None,
        allow_unicode=True,
    )
    return _HEADER + body


def main(arguments: list[str] | None = None) -> int:
    """Write or check the committed file; the exit status is 1 on a difference."""
    parser = argparse.ArgumentParser(prog="python -m slipway_operator.api.crd", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="FILE")
    action.add_argument("--check", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    if chosen.write:
        chosen.write.write_text(render())
        return 0
    if chosen.check.read_text() == render():
        return 0
    sys.stderr.write(f"{chosen.check}: differs from the types; run: make crd\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
