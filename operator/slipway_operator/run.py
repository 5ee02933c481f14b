"""The process: settings in, exit status out."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping

from pydantic import ValidationError

from slipway_operator import app
from slipway_operator.kube.connection import NotConnected
from slipway_operator.settings import PREFIX, Settings, unknown_names
from slipway_operator.telemetry import logs

log = logging.getLogger(__name__)


def start(environment: Mapping[str, str]) -> int:
    """Run until SIGTERM; tell the exit status."""
    if unknown := unknown_names(environment):
        return _refuse(f"unknown setting {unknown[0]}")
    try:
        settings = Settings.read(environment)
    except ValidationError as invalid:
        return _refuse("; ".join(_sentences(invalid)))
    logs.configure(settings.log_level)
    try:
        asyncio.run(app.run(settings))
    except NotConnected as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 0
    except Exception:  # the outermost edge: the pod restarts
        log.exception("the operator failed")
        return 1
    return 0


def _sentences(invalid: ValidationError) -> list[str]:
    return [
        f"{PREFIX}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}"
        for e in invalid.errors(include_url=False, include_input=False)
    ]


def _refuse(message: str) -> int:
    sys.stderr.write(f"slipway-operator: {message}\n")
    return 2
