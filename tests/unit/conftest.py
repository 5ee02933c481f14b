"""How the properties are tested: with the same examples each time, so that what passes, passes.

`make hunt` (`SLIPWAY_HUNT`) draws others, to find what no test has found yet.
"""

from __future__ import annotations

import os

from hypothesis import settings

# A deadline measures the machine: others build on it while the tests run.
settings.register_profile("slipway", deadline=None, derandomize="SLIPWAY_HUNT" not in os.environ)
settings.load_profile("slipway")
