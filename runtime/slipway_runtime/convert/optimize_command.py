"""The verb `optimize`: arguments in, a table of before and after and an exit code out."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from slipway_runtime.convert.optimizing import Wish, columns, lines, optimised
from slipway_runtime.convert.outputs import check_output
from slipway_runtime.convert.samples import given
from slipway_runtime.errors import ConfigError, NotFound, shown
from slipway_runtime.inference.session import Session
from slipway_runtime.supply.validate import validated

_VALIDATE_TIMEOUT_S = 300.0
_MAX_SPARSITY = 99


def run(args: Namespace) -> int:
    """Optimise a file, and print what came of it.

    Raises:
        ConfigError: an option is wrong, or names a file that cannot be written.
        SupplyError: it cannot be done, or costs more agreement than allowed.
    """
    source: Path = args.source
    check_output("-o", args.output)
    if not source.is_file():
        raise NotFound(f"model: {shown(str(source))} is no file")
    validated(source, timeout_s=_VALIDATE_TIMEOUT_S)
    session = Session(source, threads=1)
    samples = given(args.samples, columns(session)) if args.samples else []
    wish = Wish(
        graph=args.graph,
        quantization=args.quantization,
        pruning=args.pruning,
        sparsity_percent=_sparsity(args),
        min_agreement_percent=args.min_agreement,
    )
    outcome = optimised(source, args.output, wish, samples)
    validated(args.output, timeout_s=_VALIDATE_TIMEOUT_S)
    sys.stdout.write("\n".join(lines(outcome)) + "\n")
    return 0


def _sparsity(args: Namespace) -> int:
    if (args.pruning == "None") != (args.sparsity is None):
        raise ConfigError(
            "--pruning Magnitude and --sparsity PERCENT go together; give both, or neither"
        )
    sparsity = args.sparsity or 0
    if args.sparsity is not None and not 1 <= sparsity <= _MAX_SPARSITY:
        raise ConfigError(f"--sparsity: got {sparsity}, expected 1 to {_MAX_SPARSITY}")
    return int(sparsity)
