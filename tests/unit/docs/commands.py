"""Judge the commands that documents show: what does not exist, or is not known here, is a problem.

Lives here: one judge per program. A judge looks at what can be known without running anything
against a cluster: verbs, flags, kinds, files, values, targets, modules, routes.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from benchmarks.attack.__main__ import parser as attack_benchmark_parser
from benchmarks.operator.__main__ import parser as operator_benchmark_parser
from benchmarks.rollout.__main__ import parser as rollout_benchmark_parser
from benchmarks.runtime.__main__ import parser as benchmark_parser
from benchmarks.soak.__main__ import parser as soak_benchmark_parser
from devcluster.__main__ import parser as devcluster_parser
from slipway_operator.api import v1alpha1
from slipway_operator.cli import command as slipway
from slipway_operator.kube.kinds import KINDS, LEASE
from slipway_runtime import __main__ as runtime
from tests.unit.docs.pages import Block
from tests.unit.repository.files import REPOSITORY
from tests.unit.repository.test_documentation import makefile_targets

MADE_BY_COMMANDS: Final = {"model.onnx", "small.onnx"}
"""What a command of a document writes."""

_KINDS: Final = {
    *(word for k in (*KINDS, LEASE) for word in (k.plural, k.kind.lower())),
    "mdep", "customresourcedefinition", "nodes", "all",
}  # fmt: skip
_ROUTE: Final = re.compile(
    r"/v2(/health/(live|ready)|/models(/[\w-]+(/infer|/ready)?)?"
    r"|/repository/models/[\w-]+/(load|unload))?"
    r"|/(livez|readyz|metrics|status|docs)"
)
_HELM_VERBS: Final = {"upgrade": {"--install"}, "uninstall": set[str]()}
_HELM_FLAGS: Final = {"--namespace", "--create-namespace", "--wait", "--set", "--reuse-values"}
_HELM_WITH_VALUE: Final = {"--namespace", "--set"}
_CURL_FLAGS: Final = {"-s", "-si", "-d", "-X", "POST", "-H"}

Judge = Callable[[Sequence[str], set[str]], Iterator[str]]
"""Words after the program, and the files that exist for the reader: yields problems."""


def commands(block: Block) -> list[str]:
    """Return the commands of a block, continued lines joined; none for what is no shell."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        return [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    if block.language in {"sh", "bash", "shell"}:
        return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return []


def problems(command: str, saved: set[str]) -> list[str]:
    """Say what is wrong with a command; `saved` are the files that its page tells to save."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    if any(set(word) <= set("();<>|&") for word in words):
        return [f"{command}: pipes, lists and redirections are not judged; write plain commands"]
    program, *rest = words
    judge = _JUDGES.get(program.removeprefix(".venv/bin/"))
    if judge is None:
        return [f"{command}: nobody judges {program!r}"]
    return [f"{command}: {problem}" for problem in judge(rest, saved | MADE_BY_COMMANDS)]


def _file(name: str, saved: set[str]) -> Iterator[str]:
    if name not in saved and not (REPOSITORY / name).exists():
        yield f"{name!r} neither exists nor is saved on this page"


def _make(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    yield from (f"no target {w!r}" for w in words if w not in makefile_targets())


def _export(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    yield from (f"{w!r} is no assignment" for w in words if not re.fullmatch(r"[A-Z_]+=.+", w))


def _python(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    match words:
        case ["-m", "devcluster", *rest]:
            yield from _parsed(devcluster_parser().parse_args, rest)
        case ["-m", "benchmarks.runtime", *rest]:
            yield from _parsed(benchmark_parser().parse_args, rest)
        case ["-m", "benchmarks.operator", *rest]:
            yield from _parsed(operator_benchmark_parser().parse_args, rest)
        case ["-m", "benchmarks.rollout", *rest]:
            yield from _parsed(rollout_benchmark_parser().parse_args, rest)
        case ["-m", "benchmarks.attack", *rest]:
            yield from _parsed(attack_benchmark_parser().parse_args, rest)
        case ["-m", "benchmarks.soak", *rest]:
            yield from _parsed(soak_benchmark_parser().parse_args, rest)
        case ["-m", "pytest", *rest]:
            for word in rest:
                if not word.startswith("-"):
                    yield from _file(word, saved)
        case [str(file), *_] if file.endswith(".py"):
            yield from _file(file, saved)
        case _:
            yield f"nobody judges {' '.join(words)!r}"


def _runtime(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    yield from _parsed(runtime.build_parser().parse_args, words)
    for word in words:
        if word.endswith((".onnx", ".yaml")):
            yield from _file(word, saved)


def _slipway(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    yield from _parsed(slipway.parser().parse_args, words)
    for word in words:
        if word.endswith(".yaml"):
            yield from _file(word, saved)


def _parsed(parse: Callable[[list[str]], Any], words: Sequence[str]) -> Iterator[str]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parse(list(words))
    except SystemExit:
        yield said.getvalue().strip().splitlines()[-1]


def _kubectl(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    if words[0] == "slipway":  # the plugin
        yield from _slipway(words[1:], saved)
        return
    words = _without_namespace(words)
    verb, *rest = words
    known = _kubectl_flags(verb)
    if not known:
        yield f"kubectl has no verb {verb!r}"
        return
    for name in (word.partition("=")[0] for word in rest if word.startswith("-")):
        if name not in known:
            yield f"kubectl {verb} has no flag {name!r}"
    if "-f" in rest:
        yield from _file(rest[rest.index("-f") + 1], saved)
    for file in (w.partition("=")[2] for w in rest if w.startswith("--from-file=")):
        yield from _file(file, saved)
    yield from _kubectl_kind(verb, rest)


def _without_namespace(words: Sequence[str]) -> list[str]:
    if "-n" not in words:
        return list(words)
    at = words.index("-n")
    return [*words[:at], *words[at + 2 :]]


def _kubectl_kind(verb: str, rest: Sequence[str]) -> Iterator[str]:
    if verb in {"apply", "create"} or not rest or rest[0].startswith("-"):
        return
    kind, separator, _ = rest[0].partition("/")
    if verb == "explain":
        yield from _explained(rest[0])
    elif kind not in _KINDS and (separator or verb != "logs"):
        yield f"no kind {kind!r} that Slipway has to do with"


def _explained(path: str) -> Iterator[str]:
    first, *fields = path.split(".")
    (version,) = _crd()["spec"]["versions"]
    node = version["schema"]["openAPIV3Schema"]
    if first not in {"mdep", v1alpha1.PLURAL}:
        yield f"nobody judges kind {first!r}"
        return
    for field in fields:
        node = node.get("properties", {}).get(field)
        if node is None:
            yield f"no field {field!r}"
            return


@functools.cache
def _crd() -> dict[str, Any]:
    (path,) = (REPOSITORY / "crds").glob("*.yaml")
    read: dict[str, Any] = yaml.safe_load(path.read_text())
    return read


@functools.cache
def _kubectl_flags(verb: str) -> frozenset[str]:
    """Return the flags that kubectl's own help lists for a verb; none when it has no such verb."""
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run([kubectl, verb, "--help"], capture_output=True, text=True, check=False)
    if done.returncode or f"kubectl {verb}" not in done.stdout:
        return frozenset()
    short_and_long = r"^ +(?:(-\w), )?(--[\w-]+)="
    found = {flag for pair in re.findall(short_and_long, done.stdout, re.M) for flag in pair}
    created = {"--from-file", "--from-literal", "--tcp"} if verb == "create" else set[str]()
    return frozenset((found | created) - {""})


def _helm(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    verb, *rest = words
    if verb not in _HELM_VERBS:
        yield f"nobody judges helm {verb}"
        return
    flags = _HELM_FLAGS | _HELM_VERBS[verb]
    yield from (f"nobody judges {w!r}" for w in rest if w.startswith("-") and w not in flags)
    values = [rest[i + 1] for i, w in enumerate(rest) if w in _HELM_WITH_VALUE]
    for key in (v.partition("=")[0] for v in values if "=" in v):
        yield from _value(key)
    if verb == "upgrade":
        names = [w for w in rest if not w.startswith("-") and w not in values]
        yield from _file(names[1], saved)


def _value(key: str) -> Iterator[str]:
    node: Any = yaml.safe_load((REPOSITORY / "charts" / "slipway" / "values.yaml").read_text())
    for name in key.split("."):
        if not isinstance(node, dict) or name not in node:
            yield f"the chart has no value {key!r}"
            return
        node = node[name]


def _curl(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    for word in words:
        if word.startswith("-") or word in _CURL_FLAGS:
            if word not in _CURL_FLAGS:
                yield f"nobody judges {word!r}"
        elif word.startswith("@"):
            yield from _file(word[1:], saved)
        elif ": " in word:
            continue  # a header, behind -H
        elif not _ROUTE.fullmatch(urlsplit(word).path):
            yield f"the runtime has no path {urlsplit(word).path!r}"


def _oras(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    match words:
        case ["push", _, file]:
            yield from _file(file, saved)
        case _:
            yield "nobody judges this of oras"


def _pip(words: Sequence[str], saved: set[str]) -> Iterator[str]:
    """Only what is tried is shown: the versions in the locks of the clients, and this project."""
    verb, *requirements = words
    if ours := [extras for r in requirements for extras in re.findall(r"^\.\[([\w,-]+)\]$", r)]:
        known = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        names = {name for extras in ours for name in extras.split(",")}
        yield from (f"no extra {n!r}" for n in names - set(known["optional-dependencies"]))
        return
    if verb != "install" or not requirements:
        yield f"nobody judges pip {verb}"
    locks = [lock.read_text() for lock in (REPOSITORY / "requirements" / "clients").glob("*.txt")]
    for requirement in requirements:
        pin = re.sub(r"\[[\w,-]+\]", "", requirement)
        if not any(f"{pin} \\" in lock for lock in locks):
            yield f"{requirement!r} is in no lock of requirements/clients"


_JUDGES: Final[dict[str, Judge]] = {
    "curl": _curl,
    "export": _export,
    "helm": _helm,
    "kubectl": _kubectl,
    "make": _make,
    "oras": _oras,
    "pip": _pip,
    "python": _python,
    "slipway": _slipway,
    "slipway-runtime": _runtime,
}
