"""The operator, with a kopf that overlooks every change of our CRD, as it now and then does.

After an event of a CRD kopf reads the API server's list of kinds once, which may come later.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from kopf._core.reactor import observation

from slipway_operator import run

_process = observation.process_discovered_resource_event


async def _overlooking(*, raw_event: Any, **more: Any) -> None:
    if raw_event["object"]["spec"]["group"] == "slipway.dev" and raw_event["type"] != "DELETED":
        return
    await _process(raw_event=raw_event, **more)


observation.process_discovered_resource_event = _overlooking

if __name__ == "__main__":
    sys.exit(run.start(os.environ))
