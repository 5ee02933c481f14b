"""The guard: asked about the head of every request, before anything of its body is read.

It keeps what the files say. Whether they have changed is looked at once a second; what cannot be
read changes nothing, and is told. Keys and tokens stand in no log, metric or message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from slipway_runtime.authentication.files import Files, Version
from slipway_runtime.authentication.policy import Policy
from slipway_runtime.authentication.shown import API_KEY, AUTHORIZATION
from slipway_runtime.errors import ConfigError, Unauthenticated
from slipway_runtime.inference.threads import in_thread

log: Final = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
_TWICE: Final = "credentials: the header came twice, expected it once"

Headers = Iterable[tuple[bytes, bytes]]


class Verifier(Protocol):
    """Who knows which credentials are valid now."""

    def __len__(self) -> int:
        """How many keys there are."""

    def fault(self, authorization: bytes | None, api_key: bytes | None) -> str:
        """Say what is wrong with the credentials that were shown; nothing when they are valid."""


class Guard:
    """Admits requests, or refuses them."""

    def __init__(
        self,
        realm: str,
        policy: Policy,
        files: Files,
        build: Callable[[Mapping[str, bytes]], Verifier],
        rejected: Callable[[str], None],
    ) -> None:
        """Read the files for the first time.

        Args:
            realm: the model's name, which a client is told.
            policy: what is asked for.
            files: where the keys are.
            build: makes a verifier of their content, or raises ConfigError.
            rejected: told of every refusal.

        Raises:
            ConfigError: there are no keys that could be used.
        """
        self.policy: Final = policy
        self._challenge: Final = f'Bearer realm="{realm}"'
        self._files: Final = files
        self._build: Final = build
        self._rejected: Final = rejected
        self._problem = ""
        self._seen: Version | None = self._version()
        self._verifier: Verifier = build(files.read())
        if not len(self._verifier):
            raise ConfigError(
                "authentication: there is no key, so nobody could ask; "
                "put one into the Secret, ConfigMap or file"
            )

    def admits(self, headers: Headers) -> bool:
        """Tell whether a request with this head may go on."""
        return not self._fault(headers)

    def check(self, headers: Headers) -> None:
        """Let a request go on, or count and refuse it.

        Raises:
            Unauthenticated: its credentials are missing, or not valid.
        """
        if fault := self._fault(headers):
            self._rejected(Unauthenticated.__name__)
            raise self._refusal(fault)

    def status(self) -> dict[str, Any]:
        """What there is to know, for people who look."""
        return {
            "type": self.policy.type,
            "keys": len(self._verifier),
            "problem": self._problem or None,
        }

    async def follow(self) -> None:
        """Take over what changes in the files, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            version = self._version()
            if version != self._seen:
                await self._reload(version)

    async def _reload(self, version: Version | None) -> None:
        try:
            verifier = await in_thread(lambda: self._build(self._files.read()))
        except ConfigError as err:
            self._seen, self._problem = version, str(err)
            log.error("keys not reloaded; those before stay valid", extra={"cause": str(err)})
            return
        # It may have changed while it was read: then the next look reads it again.
        self._seen, self._problem = version, ""
        self._verifier = verifier
        if len(verifier):
            log.info("keys reloaded", extra={"keys": len(verifier)})
        else:
            log.warning("there is no key any more; every request is refused")

    def _version(self) -> Version | None:
        """What is there now; None where nothing is, which reading then explains."""
        try:
            return self._files.version()
        except OSError:
            return None

    def _fault(self, headers: Headers) -> str:
        authorization = api_key = None
        for name, value in headers:
            if name == AUTHORIZATION:
                if authorization is not None:
                    return _TWICE
                authorization = value
            elif name == API_KEY:
                if api_key is not None:
                    return _TWICE
                api_key = value
        return self._verifier.fault(authorization, api_key)

    def _refusal(self, fault: str) -> Unauthenticated:
        """RFC 6750: a request without credentials is told no error code."""
        error = Unauthenticated(fault)
        is_missing = fault.startswith("credentials: none")
        told = "" if is_missing else f', error="invalid_token", error_description="{fault}"'
        error.challenge = self._challenge + told
        return error
