"""Which extra of the distribution brings which package, and what is said where one is missing.

Lives here: the one table of it, and the check that a spec is held to before anything is fetched or
loaded for it. Imports nothing that is installed: who lacks everything has to be able to say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from slipway_runtime.errors import MissingExtra

EXIT_MISSING_EXTRA: Final = 3

BROUGHT_BY: Final[Mapping[str, str]] = {
    "PIL": "images",
    "tokenizers": "texts",
    "cryptography": "access",
    "jwt": "access",
}
"""The extra of `pyproject.toml` by the module that it brings: those that only some specs need."""
_BASE: Final = "runtime"


def require(where: str, *modules: str) -> None:
    """Check that what a field of the spec needs is installed; nothing is imported.

    Raises:
        MissingExtra: a module is not; names the field, the module and the extra.
    """
    for module in modules:
        if find_spec(module) is None:
            raise MissingExtra(f"{where}: {missing(module)}")


def missing(module: str) -> str:
    """Say that a module is missing, and what to do.

    >>> missing("PIL")
    "module 'PIL' is missing; install the extra: pip install '.[images]' in the project's folder"
    """
    extra = BROUGHT_BY.get(module.partition(".")[0], _BASE)
    return (
        f"module {module!r} is missing; install the extra: "
        f"pip install '.[{extra}]' in the project's folder"
    )
