"""The verb `optimize`: arguments in, a table of before and after and an exit code out."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from slipway_runtime.convert.optimizing import Outcome, Wish, columns, lines, optimised
from slipway_runtime.convert.outputs import Teller, check_output, write_report
from slipway_runtime.convert.samples import given
from slipway_runtime.convert.task import Report
from slipway_runtime.convert.work import told
from slipway_runtime.errors import ConfigError, NotFound, shown
from slipway_runtime.inference.session import Session
from slipway_runtime.supply.digest import file_digest
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
    check_output("--report", args.report)
    wish = _wish(args)
    if not source.is_file():
        raise NotFound(f"model: {shown(str(source))} is no file")
    source_digest, progress = file_digest(source), Teller()
    progress(f"checking {source.name}")
    _, framework = validated(source, timeout_s=_VALIDATE_TIMEOUT_S)
    samples = given(args.samples, columns(Session(source, threads=1))) if args.samples else []
    outcome = optimised(
        source, args.output, wish, samples, progress=progress, compared=_print_table
    )
    progress("checking the result")
    validated(args.output, timeout_s=_VALIDATE_TIMEOUT_S)
    report = _report(framework, source_digest, outcome, args.output, progress)
    write_report(args.report, told(report, outcome, samples))
    return 0


def _print_table(outcome: Outcome) -> None:
    """Before anybody judges: who is refused wants to see what was lost, and for what."""
    sys.stdout.write("\n".join(lines(outcome)) + "\n")
    sys.stdout.flush()


def _report(
    framework: str | None, source_digest: str, outcome: Outcome, target: Path, progress: Teller
) -> Report:
    checked_s, made_s, compared_s, end_s = progress.began_s
    return Report(
        format="ONNX",
        framework=framework or "ONNX",
        source_digest=source_digest,
        source_bytes=outcome.before.size_bytes,
        digest=file_digest(target),
        size_bytes=target.stat().st_size,
        parity=None,
        load_s=made_s - checked_s,
        convert_s=compared_s - made_s,
        compare_s=end_s - compared_s,
    )


def _wish(args: Namespace) -> Wish:
    return Wish(
        graph=args.graph,
        quantization=args.quantization,
        pruning=args.pruning,
        sparsity_percent=_sparsity(args),
        min_agreement_percent=args.min_agreement,
    )


def _sparsity(args: Namespace) -> int:
    if (args.pruning == "None") != (args.sparsity is None):
        raise ConfigError(
            "--pruning Magnitude and --sparsity PERCENT go together; give both, or neither"
        )
    sparsity = args.sparsity or 0
    if args.sparsity is not None and not 1 <= sparsity <= _MAX_SPARSITY:
        raise ConfigError(f"--sparsity: got {sparsity}, expected 1 to {_MAX_SPARSITY}")
    return int(sparsity)
