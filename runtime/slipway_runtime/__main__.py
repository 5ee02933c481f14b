"""The `slipway-runtime` command: verbs for people, and the steps of pods.

Exit codes: 0 done, or drained after a signal · 1 a defect of ours · 2 wrong arguments, settings or
configuration · 3 an extra is not installed, `runtime` or one that the spec needs · 10 no model, and
only another spec can help · 11 no model, and a later attempt may succeed · 143 ended by SIGTERM
while fetching.

The verbs are imported late: a command that lacks its dependencies has to be able to say so.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from slipway_runtime.extras import EXIT_MISSING_EXTRA, missing


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the return value is the exit code."""
    args = build_parser().parse_args(argv)
    # Nothing that happens to be installed gets between a request and its validation; and looking
    # through all packages for such plugins delays every start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except ModuleNotFoundError as err:
        if (err.name or "").startswith("slipway_runtime"):
            raise
        sys.stderr.write(f"slipway-runtime: {missing(str(err.name))}\n")
        return EXIT_MISSING_EXTRA


def build_parser() -> argparse.ArgumentParser:
    """Describe the verbs and their options."""
    parser = argparse.ArgumentParser(
        prog="slipway-runtime", description="Fetch, convert, inspect and serve one model."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_serve(verbs.add_parser("serve", help="serve a model over REST"))
    _add_fetch(verbs.add_parser("fetch", help="fetch and verify the model of a revision"))
    _add_inspect(verbs.add_parser("inspect", help="tell a model's signature and digest"))
    _add_convert(verbs.add_parser("convert", help="turn a model of another format into ONNX"))
    _add_optimize(verbs.add_parser("optimize", help="make an ONNX model smaller or faster"))
    supplied = "in pods: convert what fetch --as-is has brought"
    _add_convert_supplied(verbs.add_parser("convert-supplied", help=supplied))
    _add_admit(verbs.add_parser("admit", help="in pods: verify and take over what was converted"))
    return parser


def _add_convert(parser: argparse.ArgumentParser) -> None:
    from slipway_runtime.convert.arguments import add_convert

    add_convert(parser)
    parser.set_defaults(run=_convert)


def _add_optimize(parser: argparse.ArgumentParser) -> None:
    from slipway_runtime.convert.arguments import add_optimize

    add_optimize(parser)
    parser.set_defaults(run=_optimize)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "model_file",
        nargs="?",
        type=Path,
        metavar="MODEL.onnx",
        help="serve this file, or the model of this folder",
    )
    what.add_argument(
        "-f", "--filename", type=Path, metavar="YAML", help="serve what a ModelDeployment says"
    )
    what.add_argument("--config", type=Path, metavar="FILE", help="in pods: serving.json")
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="with -f: this file instead of model.uri"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="with -f: this file instead of the ConfigMap of the pipeline's labels, one a line",
    )
    parser.add_argument(
        "--model-dir", type=Path, metavar="DIR", help="with --config: where fetch has put the model"
    )
    parser.add_argument(
        "--samples",
        type=Path,
        default=Path("/samples/samples.json"),
        metavar="FILE",
        help="in pods: where the ConfigMap of model.samples is mounted (%(default)s)",
    )
    parser.add_argument(
        "--allow-repository",
        action="store_true",
        help="on a laptop: clients may load the model's file again, and unload it",
    )
    _add_authentication(parser)
    parser.set_defaults(run=_serve)


def _add_authentication(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--api-keys",
        type=Path,
        metavar="FILE",
        help="on a laptop: answer only requests with one of these keys, one a line",
    )
    parser.add_argument(
        "--jwks",
        type=Path,
        metavar="FILE",
        help="on a laptop, with -f: the public keys of the issuer that the YAML names",
    )
    parser.add_argument(
        "--authentication", metavar="JSON", help="in pods: which credentials admit a request"
    )
    parser.add_argument(
        "--authentication-dir",
        type=Path,
        default=Path("/var/run/slipway/authentication"),
        metavar="DIR",
        help="in pods: where their Secret or ConfigMap is mounted (%(default)s)",
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="serving.json; default SLIPWAY_RUNTIME_CONFIG_JSON",
    )


def _add_fetch(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="gets model.onnx and model.json"
    )
    parser.add_argument(
        "--source-dir",
        type=Path,
        default=Path("/source"),
        metavar="DIR",
        help="where the ConfigMap or claim is mounted (%(default)s)",
    )
    parser.add_argument(
        "--cache-dir",
        type=Path,
        default=Path("/cache"),
        metavar="DIR",
        help="where the claim of model.cache is mounted (%(default)s)",
    )
    parser.add_argument(
        "--credentials-dir",
        type=Path,
        default=Path("/var/run/slipway/credentials"),
        metavar="DIR",
        help="where the Secret of model.credentials is mounted (%(default)s)",
    )
    parser.add_argument(
        "--ca-file",
        type=Path,
        default=Path("/var/run/slipway/ca/ca.crt"),
        metavar="FILE",
        help="where the file of model.caBundle is mounted (%(default)s)",
    )
    parser.add_argument(
        "--cosign-key",
        type=Path,
        default=Path("/var/run/slipway/cosign/cosign.pub"),
        metavar="FILE",
        help="where the key of model.verify is mounted (%(default)s)",
    )
    _add_labels_dir(parser)
    parser.add_argument(
        "--resolve", action="store_true", help="also validate the model and tell its signature"
    )
    parser.add_argument("--allow-file", action="store_true", help="allow file:// URIs")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--as-is",
        action="store_true",
        help="keep a model of another format as it is, for convert-supplied",
    )
    kind.add_argument(
        "--look", action="store_true", help="tell which bytes there are; do not look into them"
    )
    parser.add_argument(
        "--known-digest", metavar="DIGEST", help="with --look: what there was the last time"
    )
    parser.add_argument(
        "--known-mark", metavar="DIGEST", help="with --look: what the store told the last time"
    )
    _add_message(parser)
    parser.set_defaults(run=_fetch)


def _add_labels_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels-dir",
        type=Path,
        default=Path("/var/run/slipway/labels"),
        metavar="DIR",
        help="where the pipeline's labels are mounted, as NAME/KEY (%(default)s)",
    )


def _add_handed_on(parser: argparse.ArgumentParser) -> None:
    """Options of the steps that follow `fetch --as-is`."""
    _add_config(parser)
    parser.add_argument(
        "--original",
        type=Path,
        required=True,
        metavar="DIR",
        help="where `fetch --as-is` has put the model",
    )
    _add_message(parser)


def _add_convert_supplied(parser: argparse.ArgumentParser) -> None:
    _add_handed_on(parser)
    parser.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="gets the ONNX model and a report"
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE", help="rows to compare on, and to calibrate with"
    )
    parser.set_defaults(run=_convert_supplied)


def _add_admit(parser: argparse.ArgumentParser) -> None:
    _add_handed_on(parser)
    parser.add_argument(
        "--converted",
        type=Path,
        required=True,
        metavar="DIR",
        help="where convert-supplied has put the ONNX model",
    )
    parser.add_argument(
        "--into", type=Path, required=True, metavar="DIR", help="gets model.onnx and model.json"
    )
    parser.add_argument(
        "--resolve", action="store_true", help="also validate the model and tell its signature"
    )
    _add_labels_dir(parser)
    parser.set_defaults(run=_admit)


def _add_message(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--termination-message",
        type=Path,
        default=Path("/dev/termination-log"),
        metavar="FILE",
        help="where the end is reported (%(default)s)",
    )


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_file", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=_inspect)


def _serve(args: argparse.Namespace) -> int:
    # Until the model is loaded: what is imported stays, and looking through it takes a seventh of
    # the time that importing takes.
    gc.disable()
    from slipway_runtime.verbs import run_serve

    return run_serve(args)


def _fetch(args: argparse.Namespace) -> int:
    from slipway_runtime.verbs import run_fetch

    return run_fetch(args)


def _convert_supplied(args: argparse.Namespace) -> int:
    from slipway_runtime.verbs import run_convert_supplied

    return run_convert_supplied(args)


def _admit(args: argparse.Namespace) -> int:
    from slipway_runtime.verbs import run_admit

    return run_admit(args)


def _convert(args: argparse.Namespace) -> int:
    from slipway_runtime.verbs import run_convert

    return run_convert(args)


def _optimize(args: argparse.Namespace) -> int:
    from slipway_runtime.verbs import run_optimize

    return run_optimize(args)


def _inspect(args: argparse.Namespace) -> int:
    from slipway_runtime.verbs import run_inspect

    return run_inspect(args)


if __name__ == "__main__":
    sys.exit(main())
