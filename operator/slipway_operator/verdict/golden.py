"""Golden requests: does the candidate answer fixed requests as expected, or as the stable one does?

Lives here: reading samples and answers (JSON of the Open Inference Protocol), and comparing them.
Stays out: sending (`engine/preflight.py`), and what follows (`plan/machine.py`).

Numbers with fractions are held to `atol`, the largest difference that is put up with. A label is
right or wrong: of an integer, boolean or text output each element is one, and of a floating one
with two or more axes each row has one, the place of its largest number (top 1). An answer with
another shape or type than expected, or with NaN or an infinity where none is expected, fails in any
case.

Examples: [0.1, 0.9] and [0.2, 0.8] differ by 0.1 and agree; [0.4, 0.6] and [0.6, 0.4] differ by 0.2
and do not.
Source: `rollout.md` A7.3.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from slipway_operator.verdict.outcome import Finding, Verdict

NAME: Final = "golden"
MOST_SAMPLES: Final = 1000
_FLOATING: Final = frozenset({"FP16", "BF16", "FP32", "FP64"})
_DEEPEST: Final = 16


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is put up with."""

    atol: float | None = 1e-3
    """Largest difference of floating numbers; None: any."""
    agreement: float = 0.98
    """Share of the labels that have to be the same, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of an answer."""

    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]

    @property
    def is_floating(self) -> bool:
        """Whether its elements are numbers with fractions."""
        return self.datatype in _FLOATING


Outputs = Mapping[str, Output]
"""By name."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A request, and what is expected of its answer."""

    request: Mapping[str, Any]
    """The body to send."""
    expected: Outputs | None = None


def samples_of(text: str) -> tuple[Sample, ...]:
    """Read a list of V2 requests, each with the outputs that are expected, or without.

    Raises:
        ValueError: it is not that.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"got no JSON ({error}), expected a list of requests") from error
    if not isinstance(found, list) or not 0 < len(found) <= MOST_SAMPLES:
        raise ValueError(f"expected a list of 1 to {MOST_SAMPLES} requests")
    return tuple(_sample(number, raw) for number, raw in enumerate(found, start=1))


def _sample(number: int, raw: Any) -> Sample:
    if not isinstance(raw, dict) or not isinstance(raw.get("inputs"), list):
        raise ValueError(f"sample {number}: expected an object with a list 'inputs'")
    request = {k: raw[k] for k in ("inputs", "parameters") if k in raw}
    if not raw.get("outputs"):
        return Sample(request)
    try:
        return Sample(request, outputs_of(raw))
    except ValueError as error:
        raise ValueError(f"sample {number}: {error}") from error


def outputs_of(raw: Any) -> Outputs:
    """Read the outputs of an answer.

    Raises:
        ValueError: they are not as the protocol has them.
    """
    outputs = raw.get("outputs") if isinstance(raw, dict) else None
    if not isinstance(outputs, list):
        raise ValueError("expected an object with a list 'outputs'")
    return dict(map(_output, outputs))


def answer_of(body: bytes) -> Outputs:
    """Read the body of an answer.

    Raises:
        ValueError: it is not one of the protocol's.
    """
    try:
        return outputs_of(json.loads(body))
    except RecursionError as error:
        raise ValueError("the answer is nested too deeply") from error


def _output(raw: Any) -> tuple[str, Output]:
    match raw:
        case {"name": str(name), "datatype": str(datatype), "shape": [*shape], "data": [*data]} if (
            all(isinstance(n, int) and n >= 0 for n in shape)
        ):
            flat = tuple(_flat(data, _DEEPEST))
            if len(flat) != math.prod(shape):
                raise ValueError(f"output {name!r}: got {len(flat)} elements for shape {shape}")
            output = Output(datatype, tuple(shape), flat)
            if datatype != "BYTES" and not all(isinstance(x, int | float) for x in flat):
                raise ValueError(f"output {name!r}: expected numbers for {datatype}")
            return name, output
    raise ValueError("expected outputs with name, datatype, shape and data")


def _flat(data: Sequence[Any], depth: int) -> Iterator[Any]:
    for element in data:
        if not isinstance(element, list):
            yield element
        elif depth:
            yield from _flat(element, depth - 1)
        else:
            raise ValueError("an output is nested too deeply")


@dataclass(frozen=True, slots=True)
class Labels:
    """How many labels of an output were compared, and how many were the same."""

    seen: int = 0
    same: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is known of the answers so far."""

    answers: int = 0
    compared: int = 0
    """Answers that there was something to compare with."""
    defect: str = ""
    """The first thing that no tolerance forgives."""
    difference: float = 0.0
    """The largest of floating numbers."""
    where: str = ""
    floats: int = 0
    labels: Mapping[str, Labels] = field(default_factory=dict)
    """By output."""

    def refused(self, text: str) -> Comparison:
        """Take note of something that is wrong in any case."""
        return self if self.defect else replace(self, defect=text)

    def answered(self, number: int, got: Outputs, expected: Outputs | None) -> Comparison:
        """Take the answer to a sample in."""
        seen = replace(self, answers=self.answers + 1)
        if expected is None:
            strange = next((n for n, o in got.items() if not all(map(_is_finite, o.data))), None)
            text = f"sample {number}: output {strange!r} has NaN or an infinity"
            return seen.refused(text) if strange is not None else seen
        for name, wanted in expected.items():
            seen = seen._output(f"sample {number}: output {name!r}", name, got.get(name), wanted)
        return replace(seen, compared=self.compared + 1)

    def _output(self, what: str, name: str, got: Output | None, wanted: Output) -> Comparison:
        if got is None:
            return self.refused(f"{what} is missing")
        if (got.datatype, got.shape) != (wanted.datatype, wanted.shape):
            found = f"{got.datatype} {list(got.shape)}"
            return self.refused(
                f"{what}: got {found}, expected {wanted.datatype} {list(wanted.shape)}"
            )
        seen = self
        if wanted.is_floating:
            seen = seen._differing(what, got.data, wanted.data)
        known = seen.labels.get(name, Labels())
        pairs = list(zip(_tops(got), _tops(wanted), strict=True))
        if not pairs:
            return seen
        same = sum(a == b for a, b in pairs)
        labels = Labels(known.seen + len(pairs), known.same + same)
        return replace(seen, labels={**seen.labels, name: labels})

    def _differing(self, what: str, got: Sequence[Any], wanted: Sequence[Any]) -> Comparison:
        seen = replace(self, floats=self.floats + len(wanted))
        for place, (a, b) in enumerate(zip(got, wanted, strict=True)):
            if a == b or (a != a and b != b):
                continue
            if not math.isfinite(a):
                return seen.refused(f"{what}: got {a} at element {place}, expected {b:g}")
            if not abs(a - b) <= seen.difference:
                text = f"{what}: got {a:g} at element {place}, expected {b:g}"
                seen = replace(seen, difference=abs(a - b), where=text)
        return seen

    def finding(self, tolerance: Tolerance) -> Finding:
        """Judge all answers together."""
        verdict, text = self._judged(tolerance)
        return Finding(NAME, verdict, text)

    def _judged(self, tolerance: Tolerance) -> tuple[Verdict, str]:
        if self.defect:
            return Verdict.FAIL, self.defect
        if not self.compared:
            return Verdict.NO_DATA, "no sample has outputs to compare with"
        if tolerance.atol is not None and not self.difference <= tolerance.atol:
            text = f"{self.where}; it differs by {self.difference:.3g}, {tolerance.atol:g} allowed"
            return Verdict.FAIL, text
        if not self.labels and (tolerance.atol is None or not self.floats):
            return Verdict.NO_DATA, "no output has labels to compare; set golden.atol"
        name, agreement = self._agreement()
        if agreement < tolerance.agreement:
            known = self.labels[name]
            text = (
                f"{known.same} of {known.seen} labels of output {name!r} agree"
                f" ({100 * agreement:.1f} %), {100 * tolerance.agreement:g} % are needed"
            )
            return Verdict.FAIL, text
        return Verdict.PASS, self._text(agreement)

    def _agreement(self) -> tuple[str, float]:
        """The output that agrees least, and the share of its labels that do."""
        shares = [(known.same / known.seen, name) for name, known in self.labels.items()]
        share, name = min(shares, default=(1.0, ""))
        return name, share

    def _text(self, agreement: float) -> str:
        text = f"{self.compared} of {self.answers} answers compared"
        if self.floats:
            text += f", largest difference {self.difference:.3g}"
        if self.labels:
            text += f", {100 * agreement:g} % of the labels agree"
        return text


def _is_finite(element: Any) -> bool:
    return not isinstance(element, float) or math.isfinite(element)


def _tops(output: Output) -> list[Any]:
    """The labels of an output; a vector of numbers without classes has none."""
    if not output.is_floating:
        return list(output.data)
    if len(output.shape) < 2 or output.shape[-1] < 2:
        return []
    width = output.shape[-1]
    rows = (output.data[n : n + width] for n in range(0, len(output.data), width))
    return [max(range(width), key=row.__getitem__) for row in rows]
