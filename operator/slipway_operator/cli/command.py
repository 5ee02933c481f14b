"""The command line: arguments in, text out, an exit status."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from slipway_operator import __version__
from slipway_operator.cli.document import BadDocument, read_documents, unborn
from slipway_operator.cli.forecast import Stage, created, forecast, with_taken
from slipway_operator.cli.live import live_snapshot, taken_names
from slipway_operator.cli.show import as_json, as_yaml, human
from slipway_operator.kube.connection import NotConnected
from slipway_operator.kube.errors import ApiError
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.workload import RuntimeDefaults

_IMAGE: Final = f"slipway-runtime:{__version__}"


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    command = argparse.ArgumentParser(prog="slipway", description=__doc__)
    command.add_argument("--version", action="version", version=f"slipway {__version__}")
    verbs = command.add_subparsers(dest="verb", required=True, metavar="VERB")
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
    return command


def run(arguments: Sequence[str]) -> int:
    """Run one verb; tell the exit status."""
    chosen = parser().parse_args(arguments)
    try:
        for document in read_documents(chosen.filename, chosen.namespace):
            sys.stdout.write(_planned(document, chosen))
    except BadDocument as error:
        return _refuse(str(error), 2)
    except (NotConnected, ApiError) as error:
        return _refuse(error.message if isinstance(error, ApiError) else str(error), 1)
    return 0


def _planned(document: dict[str, Any], chosen: argparse.Namespace) -> str:
    snapshot = _snapshot(document, chosen)
    stages = forecast(snapshot)
    if chosen.diff:
        taken = asyncio.run(taken_names(snapshot, created(stages)))
        stages = with_taken(stages, taken)
    name = "{namespace}/{name}".format_map(document["metadata"])
    return _shown(name, stages, chosen)


def _snapshot(document: dict[str, Any], chosen: argparse.Namespace) -> Snapshot:
    now, defaults = datetime.now(UTC), RuntimeDefaults(chosen.runtime_image)
    if chosen.diff:
        return asyncio.run(live_snapshot(document, now, defaults, unborn(document)))
    return Snapshot(unborn(document), now, defaults)


def _shown(name: str, stages: list[Stage], chosen: argparse.Namespace) -> str:
    match chosen.output:
        case "yaml":
            return "---\n" + as_yaml(stages)
        case "json":
            return as_json(name, stages)
    return human(name, stages, with_diff=chosen.diff)


def _refuse(message: str, status: int) -> int:
    sys.stderr.write(f"slipway: {message}\n")
    return status
