"""`slipway`, `kubectl slipway`: look at ModelDeployments, and steer their rollouts.

Exit status: 0 done, 1 refused, ignored or not answered, 2 wrong arguments or file, 130 Ctrl-C.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command; say plainly what is missing."""
    try:
        from slipway_operator.cli.command import run
    except ModuleNotFoundError as error:
        return _missing(error, "operator")
    try:
        return run(sys.argv[1:] if arguments is None else arguments)
    except ModuleNotFoundError as error:  # what draws is imported late
        return _missing(error, "operator,cli")


def _missing(error: ModuleNotFoundError, extras: str) -> int:
    sys.stderr.write(
        f"slipway: the module {error.name!r} is missing;"
        f" install it with: pip install '.[{extras}]' in the project's folder\n"
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
