"""Requests to the API server: dict in, dict out, one path for all kinds.

Lives here: timeouts, the token bucket, content types, metrics of requests.
Stays out: what to write (`plan/`) and whether a write is needed (`apply.py`).
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from slipway_operator import __version__
from slipway_operator.api.managers import FIELD_MANAGER
from slipway_operator.kube.connection import Connection
from slipway_operator.kube.errors import NotFound, Throttled, Unavailable, from_response
from slipway_operator.kube.kinds import EVENT, MODEL_DEPLOYMENT, Kind, kind_of

Manifest = dict[str, Any]

PAGE_SIZE: Final = 200
"""Objects that are read at once: 200 Deployments are 2 MB of JSON, and 12 MB as dicts."""
# With a parameter: the client library would otherwise escape what YAML cannot read (`_yaml`).
_APPLY: Final = "application/apply-patch+yaml; charset=utf-8"
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_MERGE: Final = "application/merge-patch+json"
_JSON: Final = "application/json"
_JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one resource version, or a page of them."""

    items: list[Manifest]
    resource_version: str


class Bucket(Protocol):
    """Something that says when a request may go."""

    async def take(self, *, patient: bool = False) -> None:
        """Wait for a turn; `patient`: let all others go first."""

    def pause(self, seconds: float) -> None:
        """Give no turn for a while."""


class TokenBucket:
    """Let `rate_per_s` requests pass in the mean and `burst` at once."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate, self._burst = rate_per_s, float(burst)
        self._tokens, self._at = float(burst), 0.0
        self._closed_until = 0.0

    async def take(self, *, patient: bool = False) -> None:
        """Wait for a turn; turns are given in the order of asking, patient ones when none waits."""
        loop = asyncio.get_running_loop()
        self._refill(loop.time())
        while patient and self._tokens < 1:
            await asyncio.sleep((1 - self._tokens) / self._rate)
            self._refill(loop.time())
        self._tokens -= 1
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self._rate)
        if (ahead := self._closed_until - loop.time()) > 0:
            await asyncio.sleep(ahead * random.uniform(1, 1 + _JITTER))

    def _refill(self, now: float) -> None:
        since = now - self._at if self._at else 0.0
        self._tokens, self._at = min(self._burst, self._tokens + since * self._rate), now

    def pause(self, seconds: float) -> None:
        """Give no turn for a while; those who wait go on at times that differ a little."""
        self._closed_until = max(self._closed_until, asyncio.get_running_loop().time() + seconds)


Observer = Callable[[str, str, int], None]
"""Told of each answer: verb, kind, HTTP status (0: none)."""


class KubeClient:
    """The API server, for one process; writes wait for the bucket."""

    def __init__(
        self,
        connection: Connection,
        bucket: Bucket,
        *,
        observe: Observer = lambda verb, kind, status: None,
        fence: Callable[[], None] = lambda: None,
        timeout_s: float = 10.0,
        write_timeout_s: float = 5.0,
    ) -> None:
        """Connect nothing yet.

        Args:
            connection: where, and who we are.
            bucket: paces writes.
            observe: told of each answer.
            fence: raises when children and status may not be written (any more); asked at the
                last moment, after the wait for the bucket.
            timeout_s: of reads.
            write_timeout_s: of writes; no longer than the Lease outlasts the leadership.
        """
        self._api = ApiClient(connection.configuration)
        self._api.user_agent = f"slipway-operator/{__version__}"
        self._bucket = bucket
        self._observe = observe
        self._fence = fence
        self._timeout_s = timeout_s
        self._write_timeout_s = write_timeout_s

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""
        return await self._call("GET", kind, kind.path(namespace, name))

    async def serves(self, kind: Kind) -> bool:
        """Tell whether the API server has a kind; one of another project may be missing."""
        try:
            found = await self._call("GET", kind, kind.group_path)
        except NotFound:
            return False
        return any(r.get("name") == kind.plural for r in found.get("resources") or ())

    async def list_all(self, kind: Kind, namespace: str | None = None) -> Listing:
        """Read all objects that the operator watches of a kind."""
        pages = [page async for page in self.pages(kind, namespace)]
        return Listing([m for page in pages for m in page.items], pages[0].resource_version)

    async def pages(self, kind: Kind, namespace: str | None = None) -> AsyncIterator[Listing]:
        """Read them page by page; each has the resource version of the whole."""
        query = {"limit": str(PAGE_SIZE)}
        if kind.label_selector:
            query["labelSelector"] = kind.label_selector
        if kind.field_selector:
            query["fieldSelector"] = kind.field_selector
        while True:
            page = await self._call("LIST", kind, kind.path(namespace), query)
            about = page["metadata"]
            yield Listing(page.pop("items"), str(about.get("resourceVersion", "")))
            if not about.get("continue"):
                return
            query["continue"] = about["continue"]

    async def apply(self, manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
        """Write an object by server-side apply; the answer is the live object."""
        kind, meta = kind_of(manifest), manifest["metadata"]
        path = kind.path(meta["namespace"], meta["name"])
        return await self._write("PATCH", kind, path, manifest, _APPLY, _apply_query(manager))

    async def judged(self, manifest: Manifest) -> Manifest:
        """Let the API server judge an object without storing it; the answer has its defaults.

        Raises:
            ApiError: it would refuse the object.
        """
        kind, meta = kind_of(manifest), manifest["metadata"]
        path = kind.path(meta["namespace"], meta["name"])
        query = {**_apply_query("slipway-plan"), "dryRun": "All"}
        return await self._write("PATCH", kind, path, manifest, _APPLY, query)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Write the status of an object; `resourceVersion` in it makes it compare-and-swap."""
        kind, meta = kind_of(manifest), manifest["metadata"]
        path = kind.path(meta["namespace"], meta["name"]) + "/status"
        return await self._write("PATCH", kind, path, manifest, _APPLY, _apply_query())

    async def delete(self, manifest: Manifest) -> None:
        """Delete exactly this object as it was seen, its dependants in the background."""
        kind, meta = kind_of(manifest), manifest["metadata"]
        options = {
            "preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "propagationPolicy": "Background",
        }
        path = kind.path(meta["namespace"], meta["name"])
        await self._write("DELETE", kind, path, options, _JSON, {})

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""
        kind = kind_of(manifest)
        path = kind.path(manifest["metadata"]["namespace"])
        return await self._write("POST", kind, path, manifest, _JSON, {})

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object; `resourceVersion` in it makes it compare-and-swap."""
        kind, meta = kind_of(manifest), manifest["metadata"]
        path = kind.path(meta["namespace"], meta["name"])
        return await self._write("PUT", kind, path, manifest, _JSON, {})

    async def merge(self, manifest: Manifest) -> Manifest:
        """Change some fields of an object."""
        kind, meta = kind_of(manifest), manifest["metadata"]
        path = kind.path(meta["namespace"], meta["name"])
        return await self._write("PATCH", kind, path, manifest, _MERGE, {})

    async def annotate(
        self, kind: Kind, namespace: str, name: str, notes: Mapping[str, str], manager: str
    ) -> Manifest:
        """Set annotations of an object, and touch nothing else of it."""
        patch = {"metadata": {"annotations": dict(notes)}}
        path, query = kind.path(namespace, name), {"fieldManager": manager}
        return await self._write("PATCH", kind, path, patch, _MERGE, query)

    async def _write(
        self,
        method: str,
        kind: Kind,
        path: str,
        body: Mapping[str, Any],
        content_type: str,
        query: Mapping[str, str],
    ) -> Manifest:
        if kind.plural != "leases":  # a crowded queue must not cost the leadership
            # Five hundred new ModelDeployments have as many statuses to be told before Events are.
            await self._bucket.take(patient=kind is EVENT)
        if kind.is_child or kind is MODEL_DEPLOYMENT:
            self._fence()
        try:
            return await self._call(method, kind, path, query, body, content_type)
        except Throttled as throttled:
            # The API server asks this process, not this object: the others wait, too.
            self._bucket.pause(throttled.retry_after_s)
            raise

    async def _call(
        self,
        verb: str,
        kind: Kind,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
    ) -> Manifest:
        status = 0
        try:
            status, raw, retry_after = await self._request(verb, path, query, body, content_type)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            cause = f"{type(error).__name__}: {error}"
            raise Unavailable(0, "NoAnswer", f"{verb} {path}: {cause}") from error
        finally:
            self._observe(verb, kind.kind, status)
        if status >= 300:
            raise from_response(status, raw, retry_after)
        return _parsed(raw, f"{verb} {path}", status)

    async def _request(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        content_type: str,
    ) -> tuple[int, bytes, str | None]:
        method = "GET" if verb == "LIST" else verb
        resource = path + (f"?{urlencode(query)}" if query else "")
        request = await self._api.param_serialize(
            method,
            resource,
            header_params={"Content-Type": content_type, "Accept": _JSON},
            body=_yaml(body) if content_type == _APPLY and body is not None else body,
            auth_settings=["BearerToken"],
        )
        limit_s = self._timeout_s if method == "GET" else self._write_timeout_s
        async with asyncio.timeout(limit_s):
            answer = await self._api.call_api(*request, _request_timeout=limit_s)
            return answer.status, await answer.read(), answer.getheader("Retry-After")


def _parsed(raw: bytes, request: str, status: int) -> Manifest:
    """Read an answer; a proxy's page with status 200 is no answer."""
    try:
        answer = json.loads(raw)
    except ValueError as error:
        raise Unavailable(status, "NoAnswer", f"{request}: the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise Unavailable(status, "NoAnswer", f"{request}: the answer is not an object")
    return answer


def _yaml(body: Mapping[str, Any]) -> bytes:
    """Write JSON that is YAML, too: no surrogates (an emoji is one character), no bare controls."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()


def _apply_query(manager: str = FIELD_MANAGER) -> dict[str, str]:
    return {"fieldManager": manager, "force": "true", "fieldValidation": "Strict"}
