"""Talk HTTP to a store: redirects by our own rules, and patience with what may pass."""

from __future__ import annotations

import ipaddress
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from slipway_runtime.errors import (
    AccessDenied,
    InvalidConfig,
    NotFound,
    Unavailable,
    Unsupported,
    Untrusted,
    clipped,
    shown,
)
from slipway_runtime.supply.address import is_refused, refused_as_written, refused_of
from slipway_runtime.supply.identity import Identity
from slipway_runtime.supply.retry import Patience, retry_after_s
from slipway_runtime.supply.route import Route
from slipway_runtime.supply.uri import redacted

log: Final = logging.getLogger(__name__)

MAX_REDIRECTS: Final = 5
_PORTS: Final = {"http": 80, "https": 443}
_MAX_DOCUMENT_BYTES: Final = 4 * 2**20
_PROGRESS_BYTES: Final = 2**20
"""An attempt that brought less is no progress: each costs the store a request."""
_DENIED: Final = frozenset({401, 403, 407, 451})
_GONE: Final = frozenset({404, 410})
_TRANSIENT: Final = frozenset({408, 425, 429})
_FOR_EVERY_HOST: Final = frozenset({"accept", "range", "if-range"})
"""Headers that say nothing about who asks; the others stay with the host they were made for."""
NOBODY: Final = Identity()

Result = TypeVar("Result")


class Interrupted(Exception):
    """An attempt failed in a way that another one may not."""

    def __init__(self, cause: str, retry_after_s: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after_s: Final = retry_after_s


class Store:
    """An HTTP client with our rules; use as a context manager."""

    def __init__(self, patience: Patience, route: Route | None = None) -> None:
        self.patience: Final = patience
        self._route: Final = route or Route()
        self._clients: Final[dict[str | None, httpx.Client]] = {}
        self._open: Final = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def _client(self, url: str) -> httpx.Client:
        """One client per way out: a redirect may lead from a proxy's side to a direct one."""
        proxy = self._route.proxy_of(url)
        if proxy not in self._clients:
            patience = self.patience
            client = httpx.Client(
                timeout=httpx.Timeout(patience.read_timeout_s, connect=patience.connect_timeout_s),
                # Compressed transfer would break ranges and lengths.
                headers={"accept-encoding": "identity", "user-agent": "slipway-runtime"},
                verify=self._route.trust(),
                proxy=proxy,
                # The route says all about proxies, those of the environment included.
                trust_env=False,
            )
            self._clients[proxy] = self._open.enter_context(client)
        return self._clients[proxy]

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str], *, told_by: str | None = None
    ) -> Iterator[httpx.Response]:
        """Open a GET, following redirects; the body is not read yet.

        Credentials stay with the host they were meant for. A store may not send us to a metadata
        service: what its URLs resolve to is looked at before, and where we are connected after.

        Args:
            url: what the spec names, unless
            told_by: is the URL of the store that has named it.
            headers: of the first request.

        Raises:
            Interrupted: the network failed.
            Untrusted: the store's certificate is not one we trust.
            InvalidConfig: a redirect leads where we do not go.
        """
        try:
            for _ in range(MAX_REDIRECTS + 1):
                if told_by is not None:
                    self._refuse_metadata(told_by, url)
                with self._client(url).stream("GET", url, headers=headers) as response:
                    if told_by is not None:
                        self._refuse_peer(told_by, url, response)
                    if not response.has_redirect_location:
                        yield response
                        return
                    target = _redirected(url, response.headers["location"])
                if _origin(target) != _origin(url):
                    headers = {k: v for k, v in headers.items() if k.lower() in _FOR_EVERY_HOST}
                told_by, url = url, target
        except httpx.HTTPError as err:
            if problem := _certificate_problem(err):
                raise Untrusted(
                    f"model.uri: {redacted(url)!r} shows a certificate that is not trusted "
                    f"({problem}); give its authority's certificate in model.caBundle"
                ) from err
            raise Interrupted(f"{type(err).__name__}: {clipped(str(err), 200)}") from err
        except httpx.InvalidURL as err:
            raise InvalidConfig(
                f"model.uri: got {redacted(url)!r}, expected a URL ({err})"
            ) from err
        raise InvalidConfig(
            f"model.uri: {redacted(url)!r} is still a redirect, expected at most {MAX_REDIRECTS}"
        )

    def _refuse_metadata(self, told_by: str, url: str) -> None:
        # As the client reads it, not as urlsplit does: it is the client that goes there.
        target = httpx.URL(url)
        host, port = target.raw_host.decode("ascii"), target.port or _PORTS[target.scheme]
        if self._route.proxy_of(url) is not None:
            found = refused_as_written(host)
        else:
            try:
                found = refused_as_written(host) or refused_of(host, port)
            except (OSError, UnicodeError) as err:
                raise Interrupted(f"{shown(host)} cannot be resolved ({err})") from err
        if found:
            raise _metadata(told_by, url, found)

    def _refuse_peer(self, told_by: str, url: str, response: httpx.Response) -> None:
        """Whom a name stands for may change between two questions: look who has answered."""
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        if peer is None or self._route.proxy_of(url) is not None:
            return
        found = str(peer[0]).partition("%")[0]
        if is_refused(ipaddress.ip_address(found)):
            raise _metadata(told_by, url, found)

    def post(self, url: str, form: Mapping[str, str]) -> httpx.Response:
        """Send a form, and read the answer; redirects are not followed.

        Raises:
            Interrupted: the network failed.
            Untrusted: the store's certificate is not one we trust.
        """
        try:
            return self._client(url).post(url, data=dict(form))
        except httpx.HTTPError as err:
            if problem := _certificate_problem(err):
                raise Untrusted(
                    f"{redacted(url)!r} shows a certificate that is not trusted ({problem}); "
                    "give its authority's certificate in model.caBundle"
                ) from err
            raise Interrupted(f"{type(err).__name__}: {clipped(str(err), 200)}") from err

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


def asked(store: Store, url: str, identity: Identity = NOBODY) -> tuple[bytes, httpx.Headers]:
    """Read a document that is not the model, patiently; its body and its headers.

    Raises:
        SupplyError: it cannot be had.
    """

    def attempt() -> tuple[bytes, httpx.Headers]:
        with store.get(url, identity.headers(url)) as response:
            if response.status_code < 300 or not identity.challenged(response):
                check_status(response, url, identity)
                return small_body(response), response.headers
        with store.get(url, identity.headers(url)) as response:
            check_status(response, url, identity)
            return small_body(response), response.headers

    return store.patiently(url, attempt)


def check_status(response: httpx.Response, uri: str, identity: Identity = NOBODY) -> None:
    """Pass success on, and name everything else.

    Raises:
        AccessDenied, NotFound, InvalidConfig: the store's final word.
        Interrupted: it may answer otherwise later.
    """
    status = response.status_code
    if status < 300:
        return
    said = identity.said(response)
    if status in _DENIED:
        raise AccessDenied(f"model.uri: {redacted(uri)!r} answers {said}; {identity.remedy}")
    if status in _GONE:
        raise NotFound(f"model.uri: {redacted(uri)!r} answers {said}; check the URI")
    if is_transient(status):
        raise Interrupted(f"answers {said}", retry_after_s(response.headers.get("retry-after")))
    raise InvalidConfig(
        f"model.uri: {redacted(uri)!r} answers {said}, expected 200 OK; check the URI"
    )


def is_transient(status: int) -> bool:
    """Whether a store may answer otherwise later."""
    return status >= 500 or status in _TRANSIENT


def small_body(response: httpx.Response) -> bytes:
    """Read a document that is not the model.

    Raises:
        Unsupported: it has no end.
    """
    raw = bytearray()
    for chunk in response.iter_raw():
        raw += chunk
        if len(raw) > _MAX_DOCUMENT_BYTES:
            raise Unsupported(
                f"model.uri: a document of the store is above {_MAX_DOCUMENT_BYTES} bytes, "
                "expected a small one"
            )
    return bytes(raw)


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
    except ValueError as err:
        raise InvalidConfig(
            f"model.uri: {redacted(url)!r} redirects to {shown(location)}, expected a URL ({err})"
        ) from err
    if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
        raise InvalidConfig(
            f"model.uri: {redacted(url)!r} redirects to {redacted(target)!r}, expected https"
            f"{'' if old.scheme == 'https' else ' or http'}"
        )
    return target


def _metadata(told_by: str, url: str, found: str) -> InvalidConfig:
    return InvalidConfig(
        f"model.uri: {redacted(told_by)!r} leads to {redacted(url)!r} ({found}), which is where "
        "clouds have their metadata services, expected another host; a store has no business there"
    )


def _certificate_problem(err: BaseException | None) -> str | None:
    """Find out why a certificate was refused; None where that was not the trouble."""
    while err is not None:
        if isinstance(err, ssl.SSLCertVerificationError):
            return err.verify_message
        err = err.__cause__ or err.__context__
    return None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
