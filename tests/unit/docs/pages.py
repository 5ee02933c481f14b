"""The documents as tests see them: pages, fenced blocks, spans of code, files to be saved."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.unit.repository.files import REPOSITORY

PAGES: Final = [
    *(
        REPOSITORY / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    ),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$", re.M | re.S
)
_SPAN: Final = re.compile(r"`([^`\n]+)`")
_SAVED: Final = re.compile(r"\bSave as `([\w./-]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, without their indentation."""
    return [
        Block(
            found["language"],
            "".join(
                line.removeprefix(found["indent"])
                for line in found["text"].splitlines(keepends=True)
            ),
        )
        for found in _FENCE.finditer(page)
    ]


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page)


def spans(page: str) -> Iterator[str]:
    """Yield what stands between backquotes outside of blocks."""
    for found in _SPAN.finditer(prose(page)):
        yield found[1]


def saved(page: str) -> set[str]:
    """Name the files that the page tells its reader to save."""
    return set(_SAVED.findall(page))


def saved_text(page: str, name: str) -> str:
    """Return the block that follows `Save as NAME`."""
    after = page.partition(f"Save as `{name}`")[2]
    return blocks(after)[0].text
