"""Stream one file from a store, and go on where a cut attempt stopped.

It goes on only when the store proves with a validator (a strong ETag, or Last-Modified) that the
bytes are still the same ones, or when their digest is known and will prove it; otherwise it starts
again. Memory use is one chunk, whatever the size.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

import httpx

from slipway_runtime.errors import Unsupported
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.http import NOBODY, Interrupted, Store, check_status
from slipway_runtime.supply.identity import Headers, Identity
from slipway_runtime.supply.progress import Progress
from slipway_runtime.supply.uri import redacted


class Download:
    """One file on its way into a writer."""

    def __init__(
        self,
        store: Store,
        url: str,
        writer: ModelWriter,
        identity: Identity,
        digest: str | None = None,
    ) -> None:
        self._store: Final = store
        self._url: Final = url
        self._writer: Final = writer
        self._identity: Final = identity
        self._digest = digest
        """Proof of the bytes, in place of a validator; None where there is none."""
        self._validator: str | None = None
        self._is_joined = False

    def run(self) -> None:
        """Fetch it all.

        Raises:
            SupplyError: it cannot be had.
        """
        self._store.patiently(self._url, self._attempt, lambda: self._writer.size_bytes)

    def _attempt(self) -> None:
        with self._store.get(self._url, self._headers()) as response:
            if response.status_code < 300 or not self._identity.challenged(response):
                self._receive(response)
                return
        with self._store.get(self._url, self._headers()) as response:
            self._receive(response)

    def _headers(self) -> Headers:
        return {**self._identity.headers(self._url), **self._range()}

    def _range(self) -> Headers:
        span = {"range": f"bytes={self._writer.size_bytes}-"}
        if not self._writer.size_bytes:
            return {}
        if self._validator:
            return {**span, "if-range": self._validator}
        return span if self._digest else {}

    def _receive(self, response: httpx.Response) -> None:
        if response.status_code == 416:  # what we have is longer than what is there now
            self._writer.restart()
            raise Interrupted("the file has changed between two attempts")
        check_status(response, self._url, self._identity)
        _refuse_encoding(response, self._url)
        self._is_joined = self._continues(response)
        if not self._is_joined:
            self._writer.restart()
        self._validator = _validator(response)
        self._stream(response)
        self._check_joined()

    def _check_joined(self) -> None:
        """Take what does not fit together for an accident, once: the whole file will tell."""
        if self._is_joined and self._digest not in (None, self._writer.digest):
            self._digest = None
            self._writer.restart()
            raise Interrupted("what was taken up again has another digest than the whole file")

    def _continues(self, response: httpx.Response) -> bool:
        """Whether the answer is the rest of what we have; a 200 is the whole file again."""
        if response.status_code != 206:
            return False
        unit, _, span = response.headers.get("content-range", "").partition(" ")
        if unit != "bytes" or not span.startswith(f"{self._writer.size_bytes}-"):
            self._writer.restart()
            self._validator = None
            raise Interrupted("the store answers with another range than was asked for")
        found = _validator(response)
        if found and self._validator and found != self._validator:
            # It has not understood If-Range: these are the rest of other bytes.
            self._writer.restart()
            self._validator = None
            raise Interrupted("the file has changed between two attempts")
        return True

    def _stream(self, response: httpx.Response) -> None:
        length = response.headers.get("content-length", "")
        left = int(length) if length.isdecimal() else None
        total = None if left is None else self._writer.size_bytes + left
        if total is not None:
            self._writer.expect(total)
        pace = _Pace(self._store)
        progress = Progress(total)
        for chunk in response.iter_raw():
            self._writer.write(chunk)
            progress.advance(len(chunk), self._writer.size_bytes)
            pace.check(len(chunk))
        if total is not None and self._writer.size_bytes != total:
            raise Interrupted(
                f"the store sent {self._writer.size_bytes} bytes, it announced {total}"
            )


class _Pace:
    """Refuses to wait for ever on a store that drips."""

    def __init__(self, store: Store) -> None:
        self._patience: Final = store.patience
        self._since_s = monotonic()
        self._bytes = 0

    def check(self, received_bytes: int) -> None:
        self._bytes += received_bytes
        elapsed_s = monotonic() - self._since_s
        if elapsed_s < self._patience.read_timeout_s:
            return
        if self._bytes < self._patience.min_bytes_per_s * elapsed_s:
            raise Interrupted(f"the store sent {self._bytes} bytes in {elapsed_s:.0f}s")
        self._since_s, self._bytes = monotonic(), 0


def fetch_http(
    uri: str,
    writer: ModelWriter,
    store: Store,
    *,
    identity: Identity = NOBODY,
    digest: str | None = None,
) -> None:
    """Fetch an http(s) URI into the writer.

    Args:
        uri: of one file.
        writer: receives its bytes.
        store: how to talk HTTP.
        identity: who asks.
        digest: of the file, where it is known; the caller compares it.

    Raises:
        SupplyError: it cannot be had.
    """
    Download(store, uri, writer, identity, digest).run()


def _validator(response: httpx.Response) -> str | None:
    """What If-Range may carry: a weak ETag does not promise equal bytes."""
    etag: str | None = response.headers.get("etag")
    if etag and not etag.startswith("W/"):
        return etag
    modified: str | None = response.headers.get("last-modified")
    return modified


def _refuse_encoding(response: httpx.Response, url: str) -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Unsupported(
            f"model.uri: {redacted(url)!r} is sent with content-encoding {encoding!r}, "
            "expected none; store the file uncompressed"
        )
