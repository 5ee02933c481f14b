"""A table of routes: what answers a path, and what the description tells of it.

Lives here: the table. Stays out: what the routes answer (`rest.py`), and how they are described
(`openapi.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]


class Told(NamedTuple):
    """One operation, as the description tells it."""

    path: str
    verb: str
    summary: str
    operation: str
    """Its name, that generated clients use."""


class Routes:
    """The routes of one surface, in the order they are looked through."""

    def __init__(self, title: str, release: str) -> None:
        self.title: Final = title
        self.release: Final = release
        self.routes: Final[list[Route]] = []
        self.told: Final[list[Told]] = []

    def get(self, path: str, *, summary: str = "") -> Callable[[Handler], Handler]:
        """Answer GET; one without a summary is not told."""
        return self._adding("GET", path, summary)

    def post(self, path: str, *, summary: str = "") -> Callable[[Handler], Handler]:
        """Answer POST; one without a summary is not told."""
        return self._adding("POST", path, summary)

    def _adding(self, verb: str, path: str, summary: str) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            name = getattr(handler, "__name__", "answer")
            route = Route(path, handler, methods=[verb], name=name)
            route.methods = {verb}  # it adds HEAD, which none of the protocols has
            self.routes.append(route)
            if summary:
                self.told.append(Told(path, verb.lower(), summary, f"{name}{path}"))
            return handler

        return add
