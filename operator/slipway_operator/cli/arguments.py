"""The command line, described: verbs, their arguments, their help."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from slipway_operator import __version__

_IMAGE: Final = f"slipway-runtime:{__version__}"
_CONVERTER: Final = f"slipway-converter:{__version__}"

ACTIONS: Final = {
    "promote": "skip all steps that are left",
    "approve": "let the present step pass: a manual one, or one that was paused",
    "abort": "send the candidate back",
    "retry": "try a revision again that has failed",
    "skip-step": "go on to the next step at once",
    "rollback": "serve an earlier revision instead of what the spec asks for",
}
"""What is asked of the operator, by an annotation."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    command = argparse.ArgumentParser(
        prog="slipway", description="Look at ModelDeployments, and steer their rollouts."
    )
    command.add_argument("--version", action="version", version=f"slipway {__version__}")
    verbs = command.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_plan(verbs)
    _add_status(verbs)
    for name in ACTIONS:
        _add_action(verbs, name)
    _add_history(verbs)
    _add_diff(verbs)
    return command


def _add_plan(verbs: Any) -> None:
    plan = verbs.add_parser(
        "plan",
        help="tell what the operator would do with a ModelDeployment, and why",
        description="Tell what the operator would do with the ModelDeployments of a file, stage by"
        " stage, from its own planner. Without --diff no cluster is asked.",
    )
    plan.add_argument("-f", "--filename", type=Path, required=True, help="YAML file to plan")
    plan.add_argument(
        "-n", "--namespace", default="default", help="namespace of documents that name none"
    )
    plan.add_argument(
        "-o", "--output", choices=["text", "yaml", "json"], default="text",
        help="text for people (default); yaml: the objects as they will be; json: all of it",
    )  # fmt: skip
    plan.add_argument(
        "--diff", action="store_true",
        help="begin with what the cluster of KUBECONFIG has, and show the changed lines",
    )  # fmt: skip
    plan.add_argument(
        "--runtime-image", default=_IMAGE,
        help="image of revisions whose spec names none; give what your operator was installed with",
    )  # fmt: skip
    plan.add_argument(
        "--converter-image", default=_CONVERTER,
        help="image that converts models whose spec names a format other than ONNX",
    )  # fmt: skip
    _add_cluster(plan)


def _add_cluster(verb: argparse.ArgumentParser) -> None:
    """Which cluster, in kubectl's words."""
    verb.add_argument("--context", help="context of the kubeconfig; default: its current one")
    verb.add_argument("--kubeconfig", help="path of the kubeconfig; default: as kubectl finds it")


def _add_object(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help="name of the ModelDeployment")
    verb.add_argument("-n", "--namespace", help="its namespace; default: the context's")
    _add_cluster(verb)


def _add_status(verbs: Any) -> None:
    status = verbs.add_parser(
        "status",
        help="draw a rollout: steps, weights, evidence, pods, conditions, events",
        description="Draw a ModelDeployment and its rollout. Where the output is no terminal, or"
        " with --plain, it is plain lines; with --watch then one line per change.",
    )
    _add_object(status)
    status.add_argument("-w", "--watch", action="store_true", help="go on until Ctrl-C")
    status.add_argument(
        "-o", "--output", choices=["text", "json"], default="text",
        help="text for people (default); json: one object, with --watch one per change",
    )  # fmt: skip
    status.add_argument("--plain", action="store_true", help="no colours and no drawing")


def _add_action(verbs: Any, name: str) -> None:
    verb = verbs.add_parser(
        name,
        help=ACTIONS[name],
        description=f"Ask the operator to {ACTIONS[name]}, and wait until it has taken note. Only"
        " the annotation slipway.dev/rollout-action is written.",
    )
    _add_object(verb)
    if name == "rollback":
        which = verb.add_mutually_exclusive_group()
        which.add_argument(
            "revision", nargs="?", default="", metavar="REVISION",
            help="number or hash of a revision of `slipway history`; default: the one before",
        )  # fmt: skip
        which.add_argument("--undo", action="store_true", help="serve again what the spec asks for")
    verb.add_argument(
        "--no-wait", action="store_true", help="do not wait until the operator has taken note"
    )
    verb.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS",
        help="how long to wait for that; default 30",
    )  # fmt: skip


def _add_history(verbs: Any) -> None:
    history = verbs.add_parser(
        "history",
        help="list the revisions that are known, and what became of them",
        description="List the revisions of a ModelDeployment, newest first.",
    )
    _add_object(history)
    history.add_argument(
        "-o", "--output", choices=["text", "json"], default="text",
        help="text for people (default), or json",
    )  # fmt: skip


def _add_diff(verbs: Any) -> None:
    diff = verbs.add_parser(
        "diff",
        help="show what differs between two revisions",
        description="Show what differs between the specs of two revisions, by default the stable"
        " one and the candidate, or the one before and the stable one. Exit status 0 either way.",
    )
    _add_object(diff)
    diff.add_argument("older", nargs="?", default="", metavar="FROM", help="number or hash")
    diff.add_argument("newer", nargs="?", default="", metavar="TO", help="number or hash")
