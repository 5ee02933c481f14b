"""The command line: `python -m devcluster VERB`.

Progress and errors go to standard error; standard output holds only what a script wants to read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from devcluster import addons, images, packages, repair
from devcluster.cluster import Cluster, names
from devcluster.components import STOP_ORDER
from devcluster.errors import DevclusterError
from devcluster.kube import kubectl
from devcluster.progress import tail


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status is 0 for success, 1 for a refusal or an unhealthy `status`."""
    options = parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except DevclusterError as err:
        print(f"devcluster: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("devcluster: interrupted; running the same verb again goes on", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    top = argparse.ArgumentParser(
        prog="python -m devcluster",
        description="The project's own Kubernetes: a real single node on this machine.",
    )
    verbs = top.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], int], text: str) -> _Parser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=run)
        return added

    def named(added: _Parser) -> _Parser:
        added.add_argument("--name", default="demo", help="the cluster's name (default: demo)")
        return added

    up = named(verb("up", _up, "bring a cluster up, or repair what is missing of it"))
    up.add_argument("--traefik", action="store_true", help="with the Gateway API and Traefik")
    up.add_argument("--no-metrics-server", action="store_true", help="no metrics-server")
    up.add_argument("--wait-metrics", action="store_true", help="wait for the metrics API, too")
    down = named(verb("down", _down, "remove a cluster; built programs and images stay"))
    down.add_argument("--all", action="store_true", help="every cluster")
    named(verb("status", _status, "show processes and node; status 0 only if all is healthy"))
    load = named(verb("load-image", _load_image, "give the node images"))
    load.add_argument("image", nargs="+", metavar="REF_OR_ARCHIVE")
    build = verb("images", _images, "build the project's images; prints their references as JSON")
    build.add_argument(
        "--only",
        choices=(*images.HALVES, images.CONVERTER, images.CONVERTER_TORCH),
        help="one image (default: two)",
    )
    build.add_argument(
        "--push", metavar="REGISTRY", help="push to HOST:PORT, print those references"
    )
    verb("tools", _tools, "make sure of helm and kubectl; prints their paths as JSON")
    debian = verb("packages", _packages, "install the missing Debian packages")
    debian.add_argument("--also", nargs="+", default=[], metavar="PACKAGE", help="further packages")
    logs = named(verb("logs", _logs, "print the end of a component's log"))
    logs.add_argument("component", choices=STOP_ORDER)
    logs.add_argument("--lines", type=int, default=100, help="how many (default: 100)")
    named(verb("prove-repair", _prove_repair, "kill each process of a cluster and repair it by up"))
    return top


_Parser = argparse.ArgumentParser


def _up(options: argparse.Namespace) -> int:
    cluster = Cluster(options.name)
    cluster.up(
        metrics_server=not options.no_metrics_server,
        traefik=options.traefik,
        wait_metrics=options.wait_metrics,
    )
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    return 0


def _down(options: argparse.Namespace) -> int:
    for name in names() if options.all else [options.name]:
        Cluster(name).down()
    return 0


def _status(options: argparse.Namespace) -> int:
    status = Cluster(options.name).status()
    for process in status.processes:
        state = "alive" if process.is_alive else "DEAD"
        if process.name in status.unhealthy:
            state = "UNHEALTHY"
        print(f"{process.name:26}{process.pid:>8}  {state:10}{process.log}")
    for name in status.missing:
        print(f"{name:26}{'-':>8}  MISSING")
    print(f"node                      {'Ready' if status.is_node_ready else 'NOT READY'}")
    for name, version in status.versions.items():
        print(f"{name:26}{version}")
    return 0 if status.is_healthy else 1


def _load_image(options: argparse.Namespace) -> int:
    for image in options.image:
        Cluster(options.name).load_image(image)
    return 0


def _images(options: argparse.Namespace) -> int:
    halves = (options.only,) if options.only else images.HALVES
    built = {half: images.build(half) for half in halves}
    if options.push:
        built = {half: images.push(ref, options.push) for half, ref in built.items()}
    print(json.dumps(built))
    return 0


def _tools(_options: argparse.Namespace) -> int:
    tools: dict[str, Path] = {"helm": addons.helm_program(), "kubectl": kubectl()}
    print(json.dumps({name: str(path) for name, path in tools.items()}))
    return 0


def _packages(options: argparse.Namespace) -> int:
    packages.install_missing(options.also)
    return 0


def _logs(options: argparse.Namespace) -> int:
    for line in tail(Cluster(options.name).log(options.component), options.lines):
        print(line)
    return 0


def _prove_repair(options: argparse.Namespace) -> int:
    repair.prove(Cluster(options.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
