"""What a test knows of a store: the same questions for every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Secret = Mapping[str, str]
"""Keys and values of a Secret."""


class Source(Protocol):
    """A store that has a model, behind credentials and a certificate of the tests' authority."""

    address: tuple[str, int]
    is_guarded: bool
    """Whether it refuses those who show nothing."""

    def put(self, name: str, content: bytes) -> None:
        """Store a file."""

    def put_folder(self, name: str, files: Mapping[str, bytes]) -> None:
        """Store files below a folder."""

    def folder_uri(self, name: str, port: int | None = None) -> str:
        """Address a folder."""

    def uri(self, name: str, port: int | None = None) -> str:
        """Address a file, at another port where a relay stands in between."""

    def settings(self, port: int | None = None) -> Mapping[str, str]:
        """Give the runtime's settings that lead here instead of to the internet."""

    def secret(self, port: int | None = None) -> Secret:
        """Give the Secret with which it may be read."""

    def wrong_secret(self) -> Secret:
        """Give a Secret that the store refuses."""
