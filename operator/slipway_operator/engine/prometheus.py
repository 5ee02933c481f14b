"""Asking a Prometheus one question, in bounds.

Who writes a ModelDeployment chooses the address: so the answer is bounded in bytes and time, is
followed nowhere else, and the operator's own token goes to the operator's own Prometheus alone.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from slipway_operator.engine.bounded import BoundedClient, NoAnswer
from slipway_operator.plan.queries import Question
from slipway_operator.verdict.promql import Reading, reading

TIMEOUT_S: Final = 5.0
_NOBODY: Final = (
    "spec.rollout.analysis.prometheus.address is empty, and the operator knows no Prometheus"
    " (prometheus.address of the chart)"
)
_TOKEN: Final = "token"  # noqa: S105 - the name of a file
_CA: Final = "ca.crt"


@dataclass(slots=True)
class Prometheus:
    """Asks, with the operator's credentials where they belong."""

    client: BoundedClient
    address: str = ""
    """The operator's own."""
    folder: Path | None = None
    """Where `token` and `ca.crt` for it lie, if there are any; both may be exchanged any time."""
    timeout_s: float = TIMEOUT_S
    _trusted: tuple[bytes, ssl.SSLContext] | None = field(default=None, init=False)

    async def ask(self, question: Question) -> Reading:
        """Ask; whatever happens, it is a number or a reason why there is none."""
        address = question.address or self.address
        if not address:
            return Reading(None, _NOBODY)
        url = f"{address}/api/v1/query?{urlencode({'query': question.query})}"
        try:
            is_own = address == self.address
            answer = await self.client.ask(
                url,
                headers=self._headers() if is_own else None,
                timeout_s=self.timeout_s,
                trust=self._trust() if is_own else None,
            )
        except NoAnswer as error:
            return Reading(None, str(error).replace(url, address))
        except (OSError, ssl.SSLError, UnicodeError) as error:
            return Reading(None, f"credentials for {address}: {type(error).__name__}: {error}")
        return reading(answer.status, answer.body)

    def _headers(self) -> dict[str, str] | None:
        token = self._read(_TOKEN).decode("ascii").strip()
        return {"Authorization": f"Bearer {token}"} if token else None

    def _trust(self) -> ssl.SSLContext | None:
        """The certificates to trust; made anew only when they were exchanged."""
        found = self._read(_CA)
        if not found:
            return None
        if self._trusted is None or self._trusted[0] != found:
            context = ssl.create_default_context(cadata=found.decode("ascii"))
            self._trusted = found, context
        return self._trusted[1]

    def _read(self, name: str) -> bytes:
        path = self.folder / name if self.folder else None
        return path.read_bytes() if path and path.is_file() else b""
