"""A client inside the cluster: asks the model again and again and tells each second what it got.

Runs in a pod of the runtime's image (which has httpx) and needs nothing else; `demo` puts this file
into a ConfigMap. One line of JSON a second: sent, failed, and answers by version. Half of the
requests keep their connection, the others open one each, as different clients do.
"""

import collections
import json
import os
import sys
import time
from typing import Any

import httpx

PAUSE_S = 0.02


def main() -> None:
    """Ask until the time is over or the pod ends."""
    url, body = os.environ["MODEL_URL"], os.environ["REQUEST_BODY"]
    until = time.monotonic() + float(os.environ["SECONDS"])
    kept = httpx.Client(timeout=10)
    total: collections.Counter[str] = collections.Counter()
    second = time.monotonic() + 1
    while time.monotonic() < until:
        for client in (kept, None):
            total.update(ask(client, url, body))
        if time.monotonic() >= second:
            tell(total)
            second += 1
        time.sleep(PAUSE_S)
    tell(total)


def ask(client: Any, url: str, body: str) -> list[str]:
    """Send one request; count it, and by which version it was answered or why it failed."""
    try:
        answer = (client or httpx).post(url, content=body)
    except httpx.HTTPError as error:
        return ["sent", "failed", f"error {type(error).__name__}"]
    if answer.status_code != 200:
        return ["sent", "failed", f"status {answer.status_code}"]
    return ["sent", f"version {answer.headers.get('X-Model-Version', '?')}"]


def tell(total: "collections.Counter[str]") -> None:
    """Write one line."""
    sys.stdout.write(json.dumps({"failed": 0, **total}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
