"""The supply step as a process: arguments in, exit code and termination message out."""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway_runtime.config import ServingConfig, load_config, read_config
from slipway_runtime.errors import (
    ConfigError,
    InvalidConfig,
    MissingExtra,
    SupplyError,
    Unavailable,
    Unsupported,
)
from slipway_runtime.settings import Settings
from slipway_runtime.supply.admit import admit
from slipway_runtime.supply.fetch import SupplyOptions, fetch_original, supply
from slipway_runtime.supply.look import Known, look
from slipway_runtime.supply.retry import Patience
from slipway_runtime.supply.s3 import S3Place
from slipway_runtime.supply.sources import Stores
from slipway_runtime.supply.termination import (
    EXIT_OK,
    Look,
    SupplyResult,
    exit_code,
    failure_text,
    success_text,
    write_message,
)

log: Final = logging.getLogger(__name__)


def run_step(args: Namespace, settings: Settings) -> int:
    """Run the verb `fetch`; whatever happens, the message says so."""

    def fetched() -> SupplyResult | Look | None:
        config, options = asked_for(args.config, settings), _options(args, settings)
        if args.look:
            return look(config, options, Known(args.known_digest, args.known_mark))
        if not args.as_is:
            return supply(config, options)
        fetch_original(config, options)
        return None

    return told(fetched, args.termination_message)


def run_admit(args: Namespace, settings: Settings) -> int:
    """Run the verb `admit`, in the same way."""

    def admitted() -> SupplyResult:
        options = SupplyOptions(
            into=args.into,
            labels_folder=args.labels_dir,
            max_bytes=settings.max_model_bytes,
            resolve=args.resolve,
            validate_timeout_s=settings.validate_timeout_s,
        )
        config = asked_for(args.config, settings)
        return admit(config, options, original=args.original, converted=args.converted)

    return told(admitted, args.termination_message)


def told(step: Callable[[], SupplyResult | Look | None], message: Path) -> int:
    """Run a step, and tell its end; a step that others follow has no result to tell."""
    try:
        result = step()
    except SupplyError as err:
        return end_in(err, message)
    except ConfigError as err:
        return end_in(InvalidConfig(str(err)), message)
    except MissingExtra as err:
        return end_in(Unsupported(str(err)), message)
    except Exception as err:
        log.exception("supply step broke")
        return end_in(
            Unavailable(f"internal error ({type(err).__name__}); the step's log has the cause"),
            message,
        )
    if result is not None:
        _tell(message, success_text(result))
    return EXIT_OK


def end_in(error: SupplyError, message: Path) -> int:
    """Tell a failure to the log, the message file and the caller of the process."""
    log.error(
        "no model", extra={"reason": error.reason, "terminal": error.terminal, "cause": str(error)}
    )
    _tell(message, failure_text(error))
    return exit_code(error)


def stores(settings: Settings) -> Stores:
    """The settings' part of what is known of stores."""
    return Stores(
        insecure_registries=settings.insecure_registries,
        token_hosts=settings.token_hosts,
        s3=S3Place(settings.s3_endpoint, settings.s3_region, settings.s3_addressing),
        gs_endpoint=settings.gs_endpoint,
        hf_endpoint=settings.hf_endpoint,
    )


def patience(settings: Settings) -> Patience:
    """The settings' part of the patience."""
    return Patience(
        attempts=settings.fetch_attempts,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
    )


def _tell(path: Path, text: str) -> None:
    if not write_message(path, text):
        log.debug("no termination message file", extra={"path": str(path)})
        sys.stdout.write(text + "\n")


def asked_for(path: Path | None, settings: Settings) -> ServingConfig:
    """Read what the revision asks for, from a file or from the environment."""
    if path is not None:
        return load_config(path)
    if settings.config_json is None:
        raise ConfigError("config: missing, give --config FILE or SLIPWAY_RUNTIME_CONFIG_JSON")
    return read_config(settings.config_json, source="SLIPWAY_RUNTIME_CONFIG_JSON")


def _options(args: Namespace, settings: Settings) -> SupplyOptions:
    return SupplyOptions(
        into=args.into,
        source_folder=args.source_dir,
        cache_folder=args.cache_dir,
        credentials_folder=args.credentials_dir,
        ca_file=args.ca_file,
        cosign_key_file=args.cosign_key,
        labels_folder=args.labels_dir,
        max_bytes=settings.max_model_bytes,
        max_files=settings.max_model_files,
        stores=stores(settings),
        allow_file=args.allow_file,
        resolve=args.resolve,
        validate_timeout_s=settings.validate_timeout_s,
        patience=patience(settings),
    )
