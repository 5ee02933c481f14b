"""How long a simulated life is, and how many are lived.

In the tests they are the same each time, so that what passes once passes always. `make hunt` lives
many others (`SLIPWAY_HUNT`: how many), to find what no test has found yet.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, Phase, settings

_HUNTED: Final = int(os.environ.get("SLIPWAY_HUNT", "0"))

LIFE: Final = settings(
    max_examples=_HUNTED or 30,
    stateful_step_count=30,
    deadline=None,
    # Shrinking a life of thirty steps takes minutes; the failing one is printed as it is.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
