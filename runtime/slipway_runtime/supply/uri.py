"""Model URIs: which scheme, which parts, and what of them may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from slipway_runtime.errors import InvalidConfig, Unsupported

SERVED_SCHEMES: Final = ("https", "http", "s3", "gs", "oci", "hf", "pvc", "configmap")
LAPTOP_SCHEMES: Final = (*SERVED_SCHEMES, "file")

_CONFIGMAP: Final = re.compile(r"configmap://([a-z0-9][-a-z0-9.]*)/([-._a-zA-Z0-9]+)")
_OCI: Final = re.compile(
    r"oci://(?P<host>[a-zA-Z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?)"
    r"/(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?/?"
)


_WITH_FOLDERS: Final = ("s3://", "gs://", "oci://", "hf://", "pvc://", "file://")
_ARCHIVES: Final = (".tar.gz", ".tgz", ".tar", ".zip")
_CLAIM: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_HUB: Final = re.compile(
    r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/?#@]+))?/(?P<path>[^?#]*)", re.ASCII
)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


@dataclass(frozen=True, slots=True)
class ObjectURI:
    """An object in a bucket, or with a slash at the end all below it; the key without escapes."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class HubURI:
    """A file or folder of a repository on a hub; the revision is a commit, a branch or a tag."""

    repository: str
    revision: str
    path: str


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


def is_folder(uri: str) -> bool:
    """Whether a URI names everything below it; web servers do not tell what that is.

    >>> is_folder("s3://models/digits/"), is_folder("https://example.com/download/")
    (True, False)
    """
    return uri.endswith("/") and uri.startswith(_WITH_FOLDERS)


def is_archive(uri: str) -> bool:
    """Whether a URI names a file that is to be unpacked.

    >>> is_archive("https://example.com/digits.tar.gz?download=true"), is_archive("s3://m/a.onnx")
    (True, False)
    """
    path = uri.partition("?")[0].partition("#")[0]
    return path.endswith(_ARCHIVES) and not uri.startswith(("oci://", "configmap://"))


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


def object_uri(uri: str) -> ObjectURI:
    """Take `s3://BUCKET/KEY` or `gs://BUCKET/KEY` apart; `%20` and the like are undone.

    >>> object_uri("s3://models/digits/model%201.onnx")
    ObjectURI(bucket='models', key='digits/model 1.onnx')

    Raises:
        InvalidConfig: it is not of that form, or the key has steps that a client would resolve.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, path = rest.partition("/")
    key = unquote(path)
    is_key = key or uri.endswith("/")  # without a key, the folder is the bucket
    if not _BUCKET.fullmatch(bucket) or not is_key or re.search(r"[?#]", path) or _has_steps(key):
        raise InvalidConfig(
            f"model.uri: got {redacted(uri)!r}, expected {scheme}://BUCKET/KEY of a file, or with "
            "a slash at the end of a folder, without '.' or '..' between slashes; "
            "write ? # and % in a key as %3F %23 and %25"
        )
    return ObjectURI(bucket, key)


def claim_path(uri: str) -> tuple[str, str]:
    """Take `pvc://CLAIM/PATH` apart; `%20` and the like are undone.

    >>> claim_path("pvc://models/digits/2.onnx")
    ('models', 'digits/2.onnx')

    Raises:
        InvalidConfig: it is not of that form, or the path has steps that lead up.
    """
    claim, slash, rest = uri.removeprefix("pvc://").partition("/")
    path = unquote(rest)
    if (
        not _CLAIM.fullmatch(claim)
        or not slash
        or path.startswith("/")
        or "\0" in path
        or _has_steps(path)
    ):
        raise InvalidConfig(
            f"model.uri: got {redacted(uri)!r}, expected pvc://CLAIM/PATH of a file, or with a "
            "slash at the end of a folder, without '.' or '..' between slashes"
        )
    return claim, path


def hub_uri(uri: str) -> HubURI:
    """Take `hf://ORG/REPO[@REVISION]/PATH` apart; the revision defaults to `main`.

    >>> hub_uri("hf://org/digits@v1.0/onnx/model.onnx")
    HubURI(repository='org/digits', revision='v1.0', path='onnx/model.onnx')

    Raises:
        InvalidConfig: it is not of that form.
    """
    match = _HUB.fullmatch(uri)
    steps = match and any(
        _has_steps(unquote(part)) for part in (match["repository"], match["path"])
    )
    if not match or steps:
        raise InvalidConfig(
            f"model.uri: got {redacted(uri)!r}, expected hf://ORG/REPO[@REVISION]/PATH"
        )
    return HubURI(match["repository"], unquote(match["revision"] or "main"), unquote(match["path"]))


def is_loopback(host: str) -> bool:
    """Whether a host is this one: nothing goes over a wire, and plain HTTP will do."""
    return host in _LOOPBACK


def _has_steps(path: str) -> bool:
    """Whether a path has steps that a client would resolve."""
    return bool({".", ".."} & set(path.split("/")))


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
