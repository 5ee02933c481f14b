"""The verbs: arguments and settings in, exit code out."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from slipway_runtime.config import ServingConfig, load_config
from slipway_runtime.errors import (
    ConfigError,
    DigestMismatch,
    InvalidConfig,
    MissingExtra,
    SlipwayError,
    SupplyError,
)
from slipway_runtime.extras import EXIT_MISSING_EXTRA
from slipway_runtime.logs import configure_logging
from slipway_runtime.pipeline.ahead import check_extras
from slipway_runtime.settings import Settings, load_settings
from slipway_runtime.supply.folder import served_model, supplied_digest

if TYPE_CHECKING:
    from slipway_runtime.authentication.opening import Authentication
    from slipway_runtime.inference.signature import Signature
    from slipway_runtime.laptop import Found
    from slipway_runtime.server import Ports

log: Final = logging.getLogger("slipway_runtime")

EXIT_USAGE: Final = 2


def run_fetch(args: Namespace) -> int:
    """Fetch the model of a revision."""
    # Late, as all of them: serving needs no HTTP client, and pays for what is imported.
    from slipway_runtime.supply.step import run_step

    return _in_container(args, lambda settings: run_step(args, settings))


def run_convert_supplied(args: Namespace) -> int:
    """Convert what `fetch --as-is` has left, in a container without credentials."""
    from slipway_runtime.convert.supplied import convert_supplied
    from slipway_runtime.supply.step import asked_for, told

    def convert(settings: Settings) -> int:
        def converted() -> None:
            convert_supplied(
                asked_for(args.config, settings),
                original=args.original,
                into=args.into,
                samples=args.samples,
                timeout_s=settings.convert_timeout_s,
            )

        return told(converted, args.termination_message)

    return _in_container(args, convert)


def run_admit(args: Namespace) -> int:
    """Take over what was converted."""
    from slipway_runtime.supply.step import run_admit

    return _in_container(args, lambda settings: run_admit(args, settings))


def _in_container(args: Namespace, step: Callable[[Settings], int]) -> int:
    """Run a step of a pod; wrong settings, too, end in a termination message."""
    from slipway_runtime.supply.step import end_in

    # Process 1 of a container has no default action for it: without this, SIGTERM is ignored.
    signal.signal(signal.SIGTERM, _end)
    configure_logging("INFO")
    try:
        settings = load_settings()
    except ConfigError as err:
        return end_in(InvalidConfig(str(err)), args.termination_message)
    configure_logging(settings.log_level)
    return step(settings)


def run_inspect(args: Namespace) -> int:
    """Print what a model is."""
    from slipway_runtime.inspection import document, inspection, report

    configure_logging("WARNING")
    try:
        found = inspection(args.model_file)
    except SlipwayError as err:
        return _refused(err)
    text = json.dumps(document(found), indent=2) if args.json else report(found)
    sys.stdout.write(text + "\n")
    return 0


def run_convert(args: Namespace) -> int:
    """Turn a model of another format into ONNX."""
    from slipway_runtime.convert.command import run

    configure_logging("WARNING")
    try:
        return run(args)
    except SlipwayError as err:
        return _refused(err)
    except ModuleNotFoundError as err:
        if (err.name or "").startswith("slipway_runtime"):
            raise
        sys.stderr.write(
            f"slipway-runtime: module {err.name!r} is missing, which reads this format; "
            "install requirements/converter.txt, or use the converter image\n"
        )
        return EXIT_MISSING_EXTRA


def run_optimize(args: Namespace) -> int:
    """Make a model smaller or faster."""
    from slipway_runtime.convert.optimize_command import run

    configure_logging("WARNING")
    try:
        return run(args)
    except SlipwayError as err:
        return _refused(err)


def run_serve(args: Namespace) -> int:
    """Serve until a signal ends it."""
    # The server has its own handlers later; until then there is nothing to drain.
    signal.signal(signal.SIGTERM, _end)
    configure_logging("INFO")
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        _serve(args, settings)
    except SlipwayError as err:
        return _refused(err)
    _leave_loading()
    return 0


def _leave_loading() -> None:
    """End at once where a signal has come while the model was loading.

    Its thread is inside ONNX Runtime, where the end of the interpreter would abort the process.
    """
    from slipway_runtime.inference.threads import is_under_way

    if is_under_way():
        logging.shutdown()
        os._exit(0)


def _serve(args: Namespace, settings: Settings) -> None:
    # Late: `fetch` needs neither a server nor ONNX Runtime, and both are slow to import.
    from slipway_runtime.server import Assignment, serve

    if args.config is not None:
        host = settings.host or "0.0.0.0"  # noqa: S104  # a pod's address is its own
        config, model = _in_pod(args)
        # Absent where its ConfigMap is: a pod starts all the same.
        samples = args.samples if config.model.samples and args.samples.is_file() else None
        assignment = Assignment(config, model, host, authentication=_of_pod(args), samples=samples)
    else:
        found = _on_laptop(args, settings)
        host = settings.host or "127.0.0.1"
        if args.allow_repository and found.is_made:
            raise ConfigError(
                "--allow-repository: got it with a pipeline or a ZipMap, expected a model alone; "
                "end the server and start it again to change the model"
            )
        locate = found.locate if args.allow_repository else None
        greet = partial(_greet, found.config.name, host)
        asked = _of_laptop(args, found)
        assignment = Assignment(found.config, found.model, host, locate, greet, asked)
    serve(assignment, settings)


def _greet(name: str, host: str, ports: Ports, signature: Signature) -> None:
    """Tell people on standard output what the log tells machines."""
    from slipway_runtime.greeting import greeting

    shown = f"[{host}]" if ":" in host else host
    text = greeting(
        signature,
        name,
        rest=f"http://{shown}:{ports.http}" if ports.http else None,
        grpc=f"{shown}:{ports.grpc}" if ports.grpc else None,
        admin=f"http://{shown}:{ports.admin}",
    )
    with suppress(OSError):  # nobody reads it
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _in_pod(args: Namespace) -> tuple[ServingConfig, Path]:
    """The revision's configuration, and the model that its init container has fetched."""
    if args.model_dir is None:
        raise ConfigError("--model-dir: missing, --config needs it")
    if args.allow_repository:
        raise ConfigError(
            "--allow-repository: got it with --config, expected it on a laptop only; "
            "in a cluster another model is another revision, so change spec.model"
        )
    config = load_config(args.config)
    check_extras(config.pipeline)
    found = supplied_digest(args.model_dir)
    if config.digest != found:
        raise DigestMismatch(
            f"digest: model.json has {found}, serving.json expects {config.digest}; fetch again"
        )
    return config, served_model(args.model_dir, has_pipeline=config.pipeline.has_steps)


def _of_pod(args: Namespace) -> Authentication | None:
    """Who may ask a pod: what the operator passes on, and the volume that it mounts."""
    if args.api_keys is not None or args.jwks is not None:
        raise ConfigError(
            "--api-keys, --jwks: got them with --config, expected them on a laptop only; "
            "in a cluster set spec.security.authentication"
        )
    if args.authentication is None:
        return None
    from slipway_runtime.authentication.files import Folder
    from slipway_runtime.authentication.opening import Authentication
    from slipway_runtime.authentication.policy import read_policy

    return Authentication(read_policy(args.authentication), Folder(args.authentication_dir))


def _of_laptop(args: Namespace, found: Found) -> Authentication | None:
    """Who may ask a laptop: as the YAML says, with keys from files in place of a cluster's."""
    if args.authentication is not None:
        raise ConfigError("--authentication: got it without --config, expected it in pods only")
    if found.policy is None and args.api_keys is None and args.jwks is None:
        return None
    from slipway_runtime.authentication.files import OneFile
    from slipway_runtime.authentication.opening import Authentication
    from slipway_runtime.authentication.policy import Policy

    policy = found.policy or Policy(type="APIKeys")
    file, other = (args.jwks, args.api_keys) if policy.type == "JWT" else (args.api_keys, args.jwks)
    flag = "--jwks" if policy.type == "JWT" else "--api-keys"
    if file is None or other is not None:
        raise ConfigError(
            f"authentication of type {policy.type}: expected its keys with {flag} FILE, and no "
            "others; Secrets and ConfigMaps need a cluster"
        )
    return Authentication(policy, OneFile(file))


def _on_laptop(args: Namespace, settings: Settings) -> Found:
    from slipway_runtime import laptop

    if args.filename is not None:
        return laptop.from_manifest(args.filename, args.model, settings, args.labels)
    if args.labels is not None:
        raise ConfigError("--labels: got it without -f, expected a pipeline that asks for labels")
    return laptop.from_model(args.model_file, settings)


def _refused(err: SlipwayError) -> int:
    reason = err.reason if isinstance(err, SupplyError) else type(err).__name__
    log.error("refused", extra={"reason": reason, "cause": str(err)})
    if isinstance(err, MissingExtra):
        return EXIT_MISSING_EXTRA
    if not isinstance(err, SupplyError):
        return EXIT_USAGE
    from slipway_runtime.supply.termination import exit_code  # late: a server never writes one

    return exit_code(err)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
