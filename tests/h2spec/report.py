"""Read h2spec's report, and judge it. Pure."""

from __future__ import annotations

import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """One case of h2spec; `name` is what its command line takes, such as `http2/6.5.2/1`."""

    name: str
    says: str
    failure: str | None = None
    """What came instead of what was expected; None where it passed or was skipped."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run went; it is good where nothing is broken and nothing is stale."""

    passed: int
    tolerated: Sequence[Case]
    broken: Sequence[Case]
    stale: Sequence[str]
    """Tolerated cases that pass or do not exist any more."""

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to do; no case at all is not good."""
        return bool(self.passed) and not self.broken and not self.stale


def cases(report: str) -> list[Case]:
    """Read the JUnit document that `h2spec -j` writes.

    A package has one suite at most, and its cases come in the order of their numbers.
    """
    found = []
    for suite in ET.fromstring(report).iter("testsuite"):  # noqa: S314 - our own h2spec wrote it
        for number, case in enumerate(suite.iter("testcase"), 1):
            name = f"{suite.get('package')}/{number}"
            failure = next((_text(case.find(kind)) for kind in ("failure", "error")
                            if case.find(kind) is not None), None)  # fmt: skip
            found.append(Case(name, case.get("classname", ""), failure))
    return found


def _text(element: ET.Element | None) -> str:
    return "" if element is None else " ".join((element.text or "").split())


def tolerated(document: str) -> dict[str, str]:
    """Read `tolerated.toml`: the reason for each case.

    Raises:
        ValueError: a case without a reason.
    """
    entries = tomllib.loads(document).get("tolerated", [])
    reasons = {entry["case"]: entry.get("reason", "").strip() for entry in entries}
    for name, reason in reasons.items():
        if not reason:
            raise ValueError(f"tolerated.toml: {name}: expected a reason")
    return reasons


def verdict(found: Sequence[Case], reasons: Mapping[str, str]) -> Verdict:
    """Hold a run against what is tolerated."""
    failed = [case for case in found if case.failure is not None]
    names = {case.name for case in failed}
    return Verdict(
        passed=len(found) - len(failed),
        tolerated=[case for case in failed if case.name in reasons],
        broken=[case for case in failed if case.name not in reasons],
        stale=[name for name in reasons if name not in names],
    )
