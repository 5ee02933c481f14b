"""The verb `convert`: arguments in, a report for people and an exit code out."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from pydantic import ValidationError

from slipway_runtime.convert.jail import converted
from slipway_runtime.convert.outputs import check_output, tell, write_report
from slipway_runtime.convert.task import InputSpec, Parity, Report, Task
from slipway_runtime.errors import ConfigError, NotFound, Unsupported, shown
from slipway_runtime.formats import recognise, refuse_pickle
from slipway_runtime.supply.termination import SignatureSummary
from slipway_runtime.supply.validate import validated

_VALIDATE_TIMEOUT_S: Final = 300.0


def run(args: Namespace) -> int:
    """Convert a file, and print what came of it.

    Raises:
        ConfigError: an option is wrong, or names a file that cannot be written.
        SupplyError: it cannot be converted; the text says why.
        ModuleNotFoundError: the library that reads the format is not installed.
    """
    check_output("-o", args.output)
    check_output("--report", args.report)
    task = _task(args)
    refuse_pickle(args.source, task.format, allowed=task.allow_pickle)
    tell(f"{args.source} is {task.format}")
    report = converted(task, timeout_s=args.timeout, progress=tell)
    tell("checking the converted model")
    signature, _ = validated(Path(task.target), timeout_s=_VALIDATE_TIMEOUT_S)
    write_report(args.report, report)
    sys.stdout.write("\n".join(lines(task, report, signature)) + "\n")
    return 0


def lines(task: Task, report: Report, signature: SignatureSummary) -> Iterator[str]:
    """Say what a conversion has found out, for people."""
    yield f"source     {task.source}  {report.format}  {report.source_bytes} bytes"
    yield f"           {report.source_digest}"
    yield f"read by    {report.framework}"
    yield f"model      {task.target}  {report.size_bytes} bytes"
    yield f"           {report.digest}"
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for tensor in tensors:
            yield f"{kind:10} {tensor.name}  {tensor.datatype}  {list(tensor.shape)}"
    if report.parity is not None:
        yield _compared(report.parity, task.tolerance)
    yield (
        f"time       load {report.load_s:.1f} s, convert {report.convert_s:.1f} s, "
        f"compare {report.compare_s:.1f} s"
    )
    yield from (f"warning    {text}" for text in report.warnings)


def _compared(parity: Parity, tolerance: float) -> str:
    agreement = parity.label_agreement_percent
    ties = f" ({parity.ties} ties)" if parity.ties else ""
    labels = "" if agreement is None else f"labels agree {agreement:g} %{ties}, "
    own = f", {parity.given_rows} of them given" if parity.given_rows else ""
    return (
        f"parity     {parity.rows} rows{own}: {labels}largest difference "
        f"{parity.max_abs_diff:.1e}, allowed {tolerance:g}"
    )


def input_spec(text: str) -> InputSpec:
    """Read NAME:DATATYPE:SHAPE.

    >>> input_spec("x:FP32:-1,64").shape
    (-1, 64)
    """
    name, _, rest = text.partition(":")
    datatype, _, shape = rest.partition(":")
    try:
        sizes = [int(size) for size in shape.split(",")]
        return InputSpec.model_validate({"name": name, "datatype": datatype, "shape": sizes})
    except (ValueError, ValidationError) as err:
        known = ", ".join(get_args(InputSpec.model_fields["datatype"].annotation))
        raise ConfigError(
            f"--inputs: got {shown(text)}, expected NAME:DATATYPE:SHAPE like x:FP32:-1,64 with "
            f"DATATYPE one of {known}"
        ) from err


def _task(args: Namespace) -> Task:
    if not args.source.exists():
        raise NotFound(f"model: {shown(str(args.source))} does not exist")
    format_ = recognise(args.source) if args.format == "Auto" else args.format
    if format_ == "ONNX":
        raise Unsupported(
            f"model: {shown(args.source.name)} is ONNX already, expected another format; "
            "`slipway-runtime inspect` checks it, `slipway-runtime serve` serves it"
        )
    return Task(
        source=str(args.source.absolute()),
        target=str(args.output.absolute()),
        format=format_,
        allow_pickle=args.allow_pickle,
        inputs=tuple(input_spec(each) for each in args.inputs),
        samples=None if args.samples is None else str(args.samples.absolute()),
        tolerance=args.tolerance,
    )
