"""`slipway-operator`, `python -m slipway_operator`: run the operator.

Exit status: 0 after SIGTERM, 1 when it failed, 2 when it was set up wrongly.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Read the settings and run; say plainly what is missing."""
    try:
        from slipway_operator.run import start
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"slipway-operator: the module {error.name!r} is missing;"
            " install it with: pip install '.[operator]' in the project's folder\n"
        )
        return 2
    return start(dict(os.environ))


if __name__ == "__main__":
    sys.exit(main())
