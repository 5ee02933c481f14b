"""Run the proxy: `python -m tests.cluster.faultproxy KUBECONFIG`, until standard input ends.

The first line of standard output is JSON: the port of the API server's double and the control
port.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.cluster.faultproxy.server import Proxy, control, double, listening
from tests.cluster.faultproxy.upstream import Cluster, Upstream


async def serve(kubeconfig: Path) -> None:
    """Serve both ports until the parent closes its end of standard input, or dies."""
    async with Upstream(Cluster.read(kubeconfig)) as upstream:
        proxy = Proxy(upstream)
        async with listening(double(proxy)) as port, listening(control(proxy)) as control_port:
            sys.stdout.write(json.dumps({"port": port, "control": control_port}) + "\n")
            sys.stdout.flush()
            await _end_of_input()
            proxy.rules.clear()


async def _end_of_input() -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    loop.remove_reader(sys.stdin)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
