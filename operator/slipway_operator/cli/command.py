"""The command itself: arguments in, text out, an exit status."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from slipway_operator.cli.arguments import ACTIONS, parser
from slipway_operator.cli.asking import ask
from slipway_operator.cli.cluster import Cluster, NoSuchModel, reach
from slipway_operator.cli.document import BadDocument, read_documents, unborn
from slipway_operator.cli.following import follow, show_once
from slipway_operator.cli.forecast import Stage, created, forecast, with_taken
from slipway_operator.cli.live import live_snapshot, taken_names
from slipway_operator.cli.past import NoSuchRevision, difference, history, table
from slipway_operator.cli.past import as_json as rows_as_json
from slipway_operator.cli.show import as_json, as_yaml, human
from slipway_operator.kube.connection import NotConnected
from slipway_operator.kube.errors import ApiError
from slipway_operator.picture.verbs import Refused
from slipway_operator.picture.words import clean
from slipway_operator.plan.action import NONE, Verb
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.workload import RuntimeDefaults

__all__ = ["parser", "run"]

_LONGEST = 2000


def run(arguments: Sequence[str]) -> int:
    """Run one verb; tell the exit status."""
    chosen = parser().parse_args(arguments)
    try:
        if chosen.verb == "plan":
            return _plan(chosen)
        return asyncio.run(_in_cluster(chosen))
    except BadDocument as error:
        return _refuse(str(error), 2)
    except ApiError as error:
        return _refuse(clean(error.message, _LONGEST), 1)
    except (NotConnected, NoSuchModel, NoSuchRevision, Refused) as error:
        return _refuse(clean(error, _LONGEST), 1)
    except KeyboardInterrupt:
        return 130


async def _in_cluster(chosen: argparse.Namespace) -> int:
    async with await reach(chosen.namespace, chosen.kubeconfig, chosen.context) as cluster:
        match chosen.verb:
            case "status":
                return await _status(cluster, chosen)
            case "history" | "diff":
                return await _past(cluster, chosen)
            case verb if verb in ACTIONS:
                return await _act(cluster, chosen)
    raise ValueError(f"nobody does {chosen.verb!r}")


async def _status(cluster: Cluster, chosen: argparse.Namespace) -> int:
    show = follow if chosen.watch else show_once
    plain = chosen.plain or not sys.stdout.isatty()
    await show(cluster, chosen.name, as_json=chosen.output == "json", plain=plain)
    return 0


async def _past(cluster: Cluster, chosen: argparse.Namespace) -> int:
    mdep, records = await cluster.model(chosen.name), await cluster.records(chosen.name)
    if chosen.verb == "diff":
        found = difference(mdep, records, chosen.older, chosen.newer)
        sys.stdout.write(found or "the two revisions have the same spec\n")
        return 0
    rows = history(mdep, records)
    is_json = chosen.output == "json"
    sys.stdout.write(rows_as_json(rows) if is_json else table(rows, datetime.now(UTC)))
    return 0


async def _act(cluster: Cluster, chosen: argparse.Namespace) -> int:
    argument = ""
    if chosen.verb == "rollback":
        argument = NONE if chosen.undo else chosen.revision
    wait_s = None if chosen.no_wait else chosen.timeout
    told = await ask(cluster, chosen.name, Verb(chosen.verb), argument, wait_s=wait_s)
    if not told.is_done:
        return _refuse(told.text, 1)
    sys.stdout.write(f"{told.text}\n")
    return 0


def _plan(chosen: argparse.Namespace) -> int:
    for document in read_documents(chosen.filename, chosen.namespace):
        sys.stdout.write(_planned(document, chosen))
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
    images = RuntimeDefaults(chosen.runtime_image, converter_image=chosen.converter_image)
    now, defaults = datetime.now(UTC), images
    if chosen.diff:
        place = (chosen.kubeconfig, chosen.context)
        return asyncio.run(live_snapshot(document, now, defaults, unborn(document), place))
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
