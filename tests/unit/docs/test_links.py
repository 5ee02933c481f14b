"""What a document points to is there: files, headings, paths of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.docs.pages import PAGES, blocks, prose, saved, spans
from tests.unit.repository.files import PACKAGES, REPOSITORY, relative, tracked

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.M)
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
_SUFFIXES = {".py", ".md", ".yaml", ".json", ".toml", ".txt"}
_ROOTS = (REPOSITORY, *PACKAGES)
_OF_A_POD_OR_READER = {
    "serving.json", "model.json", "request.json", "digits.yaml", "train.py", "key.json",
    "tokenizer.json",
}  # fmt: skip
"""Files that a page speaks of and that lie elsewhere: in a pod, or in the reader's folder."""


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    slugs = (re.sub(r"[^\w\- ]", "", h.lower().replace("`", "")) for h in _HEADING.findall(page))
    return {slug.strip().replace(" ", "-") for slug in slugs}


def broken(page: Path, text: str) -> Iterator[str]:
    """Yield each relative link of a page that leads nowhere."""
    for target in _LINK.findall(prose(text)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            yield target
            continue
        found = anchors(file.read_text() if name else text)
        if anchor and anchor not in found:
            yield target


def folders() -> set[str]:
    """Name every folder that a path of the repository or of a package can begin with."""
    parts = {
        path.relative_to(root).parts[0]
        for root in _ROOTS
        for path in tracked()
        if path.is_relative_to(root)
    }
    return {name for name in parts if any((root / name).is_dir() for root in _ROOTS)}


def missing(text: str) -> Iterator[str]:
    """Yield each path that a text names and that does not exist."""
    known = folders()
    words = [
        *spans(text),
        *(w for b in blocks(text) if b.language == "text" for w in b.text.split()),
    ]
    for word in words:
        if not _PATH.fullmatch(word) or word in _OF_A_POD_OR_READER | saved(text):
            continue
        is_path = "/" in word and word.split("/")[0] in known
        is_file = Path(word).suffix in _SUFFIXES
        if (is_path or is_file) and not any((root / word).exists() for root in _ROOTS):
            yield word


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page, page.read_text())) == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_path_that_is_named_exists(page: Path) -> None:
    assert list(missing(page.read_text())) == []


def test_every_decision_has_its_four_parts_and_its_number() -> None:
    pages = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
    # Numbers are handed out before pages are written, so there may be gaps for a while.
    assert len({page.name[:4] for page in pages}) == len(pages)
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]} "), page.name
        assert _HEADING.findall(text)[1:] == ["Context", "Choice", "Rejected", "Consequence"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("[x](nothing.md)", ["nothing.md"], id="no file"),
        pytest.param("[x](#nowhere)", ["#nowhere"], id="no heading"),
        pytest.param("# A `b` c\n[x](#a-b-c) [y](https://example.com/z)", [], id="all there"),
    ],
)
def test_a_broken_link_is_found(text: str, expected: list[str]) -> None:
    assert list(broken(REPOSITORY / "README.md", text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("`plan/nothing.py`", ["plan/nothing.py"], id="no module"),
        pytest.param("`operator/nowhere`", ["operator/nowhere"], id="no folder"),
        pytest.param("`engine/cache.py`, `charts/slipway`, `mdep/digits`", [], id="all there"),
    ],
)
def test_a_path_that_does_not_exist_is_found(text: str, expected: list[str]) -> None:
    assert list(missing(text)) == expected
