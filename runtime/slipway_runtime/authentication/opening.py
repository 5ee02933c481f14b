"""Put a guard together: what is asked for, where its files are, and who reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from slipway_runtime.authentication.api_keys import keys_of_lines, keys_of_secret
from slipway_runtime.authentication.files import Files, Folder
from slipway_runtime.authentication.guard import Guard, Verifier
from slipway_runtime.authentication.policy import Policy


@dataclass(frozen=True, slots=True)
class Authentication:
    """Who may ask, and where that is written."""

    policy: Policy
    files: Files


def open_guard(asked: Authentication, realm: str, rejected: Callable[[str], None]) -> Guard:
    """Read the keys for the first time.

    Raises:
        ConfigError: there are none that could be used.
    """
    return Guard(realm, asked.policy, asked.files, _builder(asked), rejected)


def _builder(asked: Authentication) -> Callable[[Mapping[str, bytes]], Verifier]:
    if asked.policy.type == "JWT":
        # Late: most models are asked with keys, or without any.
        from slipway_runtime.authentication.tokens import tokens_of

        return partial(tokens_of, asked.policy)
    return keys_of_secret if isinstance(asked.files, Folder) else keys_of_lines
