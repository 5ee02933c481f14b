"""Talk HTTP to a store: redirects by our own rules, and patience with what may pass."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from slipway_runtime.errors import AccessDenied, InvalidConfig, NotFound, Unavailable, clipped
from slipway_runtime.supply.retry import Patience, retry_after_s
from slipway_runtime.supply.uri import redacted

log: Final = logging.getLogger(__name__)

MAX_REDIRECTS: Final = 5
_PROGRESS_BYTES: Final = 2**20
"""An attempt that brought less is no progress: each costs the store a request."""
_DENIED: Final = frozenset({401, 403, 407, 451})
_GONE: Final = frozenset({404, 410})
_TRANSIENT: Final = frozenset({408, 425, 429})

Result = TypeVar("Result")


class Interrupted(Exception):
    """An attempt failed in a way that another one may not."""

    def __init__(self, cause: str, retry_after_s: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after_s: Final = retry_after_s


class Store:
    """An HTTP client with our rules; use as a context manager."""

    def __init__(self, patience: Patience) -> None:
        timeout = httpx.Timeout(patience.read_timeout_s, connect=patience.connect_timeout_s)
        # Compressed transfer would break ranges and lengths.
        headers = {"accept-encoding": "identity", "user-agent": "slipway-runtime"}
        self.patience: Final = patience
        self._client: Final = httpx.Client(timeout=timeout, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.close()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Open a GET, following redirects; the body is not read yet.

        Credentials stay with the host they were meant for.

        Raises:
            Interrupted: the network failed.
            InvalidConfig: a redirect leads where we do not go.
        """
        try:
            for _ in range(MAX_REDIRECTS + 1):
                with self._client.stream("GET", url, headers=headers) as response:
                    if not response.has_redirect_location:
                        yield response
                        return
                    target = _redirected(url, response.headers["location"])
                if _origin(target) != _origin(url):
                    headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
                url = target
        except httpx.HTTPError as err:
            raise Interrupted(f"{type(err).__name__}: {clipped(str(err), 200)}") from err
        except httpx.InvalidURL as err:
            raise InvalidConfig(
                f"model.uri: got {redacted(url)!r}, expected a URL ({err})"
            ) from err
        raise InvalidConfig(
            f"model.uri: {redacted(url)!r} is still a redirect, expected at most {MAX_REDIRECTS}"
        )

    def patiently(
        self, uri: str, attempt: Callable[[], Result], received: Callable[[], int] = lambda: 0
    ) -> Result:
        """Make an attempt until it succeeds, or fails for good, or too often without progress.

        Args:
            uri: named in the error.
            attempt: raises Interrupted where another one may succeed.
            received: bytes so far; more of them reset the count of failures.

        Raises:
            Unavailable: too many failures in a row.
        """
        failures = 0
        while True:
            before = received()
            try:
                return attempt()
            except Interrupted as err:
                failures = 1 if received() - before >= _PROGRESS_BYTES else failures + 1
                if failures >= self.patience.attempts:
                    raise Unavailable(
                        f"model.uri: {redacted(uri)!r} failed {failures} times in a row ({err}); "
                        "check that the store can be reached from the cluster"
                    ) from err
                pause_s = self.patience.pause_s(failures, err.retry_after_s)
                log.warning(
                    "attempt failed",
                    extra={"uri": redacted(uri), "cause": str(err), "pause_s": round(pause_s, 1)},
                )
                self.patience.sleep(pause_s)


def check_status(response: httpx.Response, uri: str) -> None:
    """Pass success on, and name everything else.

    Raises:
        AccessDenied, NotFound, InvalidConfig: the store's final word.
        Interrupted: it may answer otherwise later.
    """
    status = response.status_code
    if status < 300:
        return
    said = f"{status} {response.reason_phrase}".strip()
    if status in _DENIED:
        raise AccessDenied(
            f"model.uri: {redacted(uri)!r} answers {said}; "
            "check that it may be read without credentials"
        )
    if status in _GONE:
        raise NotFound(f"model.uri: {redacted(uri)!r} answers {said}; check the URI")
    if status >= 500 or status in _TRANSIENT:
        raise Interrupted(f"answers {said}", retry_after_s(response.headers.get("retry-after")))
    raise InvalidConfig(
        f"model.uri: {redacted(uri)!r} answers {said}, expected 200 OK; check the URI"
    )


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
        raise InvalidConfig(
            f"model.uri: {redacted(url)!r} redirects to {redacted(target)!r}, expected https"
            f"{'' if old.scheme == 'https' else ' or http'}"
        )
    # A store has no business with the metadata services of the cloud we run in.
    if _is_link_local(new.hostname or ""):
        raise InvalidConfig(
            f"model.uri: {redacted(url)!r} redirects to a link-local address, which is refused"
        )
    return target


def _is_link_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
