"""Model URIs: which scheme, which parts, and what of them may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from slipway_runtime.errors import InvalidConfig, Unsupported

SERVED_SCHEMES: Final = ("https", "http", "oci", "configmap")
LAPTOP_SCHEMES: Final = (*SERVED_SCHEMES, "file")

_CONFIGMAP: Final = re.compile(r"configmap://([a-z0-9][-a-z0-9.]*)/([-._a-zA-Z0-9]+)")
_OCI: Final = re.compile(
    r"oci://(?P<host>[a-zA-Z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)"
    r"/(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class OCIReference:
    """An artifact in a registry; `digest` is that of its manifest."""

    host: str
    repository: str
    tag: str
    digest: str | None

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest where there is one, it cannot move."""
        return self.digest or self.tag


def scheme_of(uri: str, *, served: tuple[str, ...] = SERVED_SCHEMES) -> str:
    """Tell the scheme of a URI that this release serves.

    Raises:
        Unsupported: another scheme, naming those that work.
    """
    scheme, separator, _ = uri.partition("://")
    if separator and scheme in served:
        return scheme
    works = ", ".join(f"{name}://" for name in served)
    raise Unsupported(
        f"model.uri: got {redacted(uri)!r}, expected one of {works}; copy the model there"
    )


def configmap_key(uri: str) -> tuple[str, str]:
    """Split `configmap://NAME/KEY`.

    Raises:
        InvalidConfig: it is not of that form.
    """
    match = _CONFIGMAP.fullmatch(uri)
    if not match:
        raise InvalidConfig(f"model.uri: got {redacted(uri)!r}, expected configmap://NAME/KEY")
    return match[1], match[2]


def oci_reference(uri: str) -> OCIReference:
    """Take `oci://HOST/REPO[:TAG][@sha256:…]` apart; the tag defaults to `latest`.

    Raises:
        InvalidConfig: it is not of that form.
    """
    match = _OCI.fullmatch(uri)
    if not match:
        raise InvalidConfig(
            f"model.uri: got {redacted(uri)!r}, expected oci://HOST/REPO[:TAG][@sha256:…]"
        )
    return OCIReference(
        match["host"], match["repository"], match["tag"] or "latest", match["digest"]
    )


def file_path(uri: str) -> str:
    """The path of a `file://` URI."""
    return unquote(urlsplit(uri).path)


def redacted(url: str) -> str:
    """A URL without what may be secret: user info, query and fragment.

    >>> redacted("https://me:secret@example.com/m.onnx?X-Amz-Signature=abc")
    'https://example.com/m.onnx'
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("://")[0] + "://…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
