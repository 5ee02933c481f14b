"""`slipway`, `kubectl slipway`: look at ModelDeployments with the operator's own eyes.

Exit status: 0 done, 1 the cluster refused or did not answer, 2 wrong arguments or a bad file.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command; say plainly what is missing."""
    try:
        from slipway_operator.cli.command import run
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"slipway: the module {error.name!r} is missing;"
            " install it with: pip install 'slipway[operator]'\n"
        )
        return 2
    return run(sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
