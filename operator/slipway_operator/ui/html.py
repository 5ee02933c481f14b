"""Elements of HTML and SVG. Texts are escaped by the writer, never put together by hand."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Final

Element = ET.Element
"""What a page is made of."""

_UNPRINTABLE: Final = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 65534, 65535], "�")
"""What neither HTML nor XML can hold."""


def el(tag: str, *children: Element | str | None, **attributes: object) -> Element:
    """Make an element; `class_` and `for_` stand for the words that Python keeps for itself."""
    named = {k.rstrip("_").replace("_", "-"): str(v) for k, v in attributes.items()}
    made = ET.Element(tag, named)
    for child in children:
        _append(made, child)
    return made


def _append(parent: Element, child: Element | str | None) -> None:
    if child is None:
        return
    if not isinstance(child, str):
        parent.append(child)
        return
    text = child.translate(_UNPRINTABLE)
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def document(root: Element) -> bytes:
    """Write a whole page."""
    written = ET.tostring(root, encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{written}\n".encode(errors="replace")
