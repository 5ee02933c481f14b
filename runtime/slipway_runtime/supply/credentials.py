"""The Secret of a model's store, as the folder in which the kubelet mounts it.

Lives here: reading it, and saying what it lacks without saying what it has.
Stays out: what its keys mean to a store (`identity.py`, `s3.py`, `gs.py`, `oci.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from slipway_runtime.errors import InvalidConfig

_MAX_BYTES: Final = 64 * 2**10
"""A Secret may have 1 MiB; no key of ours is so long."""


class Credentials:
    """Keys and values of a Secret; its text never shows a value."""

    def __init__(self, name: str, values: Mapping[str, str]) -> None:
        self.name: Final = name
        self._values: Final = dict(values)

    def __repr__(self) -> str:
        return f"Credentials({self.name!r}, keys {sorted(self._values)})"

    @property
    def remedy(self) -> str:
        """What a person does about a refusal."""
        return f"check the credentials in Secret {self.name!r}"

    def get(self, *keys: str) -> str | None:
        """The value of the first of these keys that has one."""
        return next((value for key in keys if (value := self._values.get(key))), None)

    def login(self) -> tuple[str, str] | None:
        """A user name and its password, as in a Secret of type kubernetes.io/basic-auth."""
        username, password = self.get("username"), self.get("password")
        return (username, password) if username and password else None

    def lacks(self, *expected: str) -> str:
        """Say that none of the expected keys is there."""
        return (
            f"model.credentials: Secret {self.name!r} has the keys "
            f"{', '.join(sorted(self._values)) or 'none'}, expected {' or '.join(expected)}"
        )


def read_credentials(name: str, folder: Path) -> Credentials:
    """Read a mounted Secret.

    Raises:
        InvalidConfig: it is not mounted, or a value is no text for a header.
    """
    if not folder.is_dir():
        raise InvalidConfig(
            f"model.credentials: Secret {name!r} is not mounted at {str(folder)!r}; "
            "outside of a cluster, give a folder of its keys with --credentials-dir DIR"
        )
    files = [path for path in folder.iterdir() if not path.name.startswith("..") and path.is_file()]
    return Credentials(name, {path.name: _value(name, path) for path in files})


def _value(name: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            # Editors and `echo` leave a line end, which is no part of a password.
            return file.read(_MAX_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise InvalidConfig(
            f"model.credentials: key {path.name!r} of Secret {name!r} cannot be read as text"
        ) from err
