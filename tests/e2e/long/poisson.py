"""A client inside the cluster whose requests come by chance, whatever becomes of them.

Runs in a pod of the runtime's image, which has httpx. Environment: MODEL_URL, REQUEST_BODY, and
PHASES, a list of [requests per second, seconds]. One line of JSON for every five seconds.
"""

import asyncio
import json
import os
import random
import sys
import time
from typing import Any

import httpx

TELL_EVERY_S = 5.0


async def main() -> None:
    """Go through the phases, each request a task of its own: a slow answer delays no other."""
    url, body = os.environ["MODEL_URL"], os.environ["REQUEST_BODY"]
    chance, took, tasks = random.Random(1), list[float](), set[asyncio.Task[None]]()
    tell_at = time.monotonic() + TELL_EVERY_S
    # A connection per request, as of different clients: they spread over the pods.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=30, limits=limits, trust_env=False) as client:
        for rate, seconds in json.loads(os.environ["PHASES"]):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                await asyncio.sleep(chance.expovariate(rate))
                task = asyncio.create_task(ask(client, url, body, took))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                if time.monotonic() >= tell_at:
                    tell(rate, took)
                    took.clear()
                    tell_at += TELL_EVERY_S
        await asyncio.gather(*tasks)


async def ask(client: Any, url: str, body: str, took: list[float]) -> None:
    """Send one request and note how long it took; -1 for one that failed."""
    start = time.monotonic()
    try:
        answer = await client.post(url, content=body)
    except httpx.HTTPError:
        took.append(-1.0)
        return
    took.append(time.monotonic() - start if answer.status_code == 200 else -1.0)


def tell(rate: float, took: list[float]) -> None:
    """Write one line."""
    good = sorted(s for s in took if s >= 0)
    line = {"rate": rate, "sent": len(took), "failed": len(took) - len(good)}
    if good:
        line["p90_ms"] = round(1000 * good[len(good) * 9 // 10], 1)
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
