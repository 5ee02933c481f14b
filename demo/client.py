"""A client inside the cluster: asks the model again and again and tells each second what it got.

Runs in a pod of the runtime's image (which has httpx) and needs nothing else; `demo` puts this file
into a ConfigMap. One line of JSON a second, all of it totals: sent, failed, and by version answers
(`version V`), failures that the version itself answered (`failed V`), and milliseconds (`ms V`);
beside them when a version was last heard of (`last V`, seconds since the epoch) and when it first
failed (`bad V`). Half of the requests keep their connection, the others open one each, as different
clients do.
"""

import collections
import itertools
import json
import os
import ssl
import sys
import time
from typing import Any

import httpx

PAUSE_S = 0.02
UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The requests are plain HTTP; reading the system's certificates for each would take longer."""


def main() -> None:
    """Ask until the time is over or the pod ends."""
    url, bodies = os.environ["MODEL_URL"], json.loads(os.environ["REQUEST_BODIES"])
    headers = {"Host": os.environ["MODEL_HOST"]} if "MODEL_HOST" in os.environ else {}
    until = time.monotonic() + float(os.environ["SECONDS"])
    kept = httpx.Client(timeout=10, verify=UNUSED)
    total: collections.Counter[str] = collections.Counter()
    second = time.monotonic() + 1
    asked = itertools.cycle(itertools.product(bodies, (kept, None)))
    for body, client in asked:
        note(total, client, url, json.dumps(body), headers)
        if time.monotonic() >= second:
            tell(total)
            second += 1
        if time.monotonic() >= until:
            break
        time.sleep(PAUSE_S / 2)  # a steady load, not a wait
    tell(total)


def note(
    total: "collections.Counter[str]", client: Any, url: str, body: str, headers: dict[str, str]
) -> None:
    """Send one request; count it, and by which version it was answered or why it failed."""
    began = time.monotonic()
    total["sent"] += 1
    try:
        if client:
            answer = client.post(url, content=body, headers=headers)
        else:
            answer = httpx.post(url, content=body, headers=headers, timeout=10, verify=UNUSED)
    except httpx.HTTPError as error:
        total.update(["failed", f"error {type(error).__name__}"])
        return
    version = answer.headers.get("X-Model-Version", "")
    total[f"ms {version}"] += round(1000 * (time.monotonic() - began))
    total[f"last {version}"] = round(time.time())
    if answer.status_code == 200:
        total[f"version {version or '?'}"] += 1
        return
    total.update(["failed", f"status {answer.status_code}"])
    if version:
        total[f"failed {version}"] += 1
        total.setdefault(f"bad {version}", round(time.time()))


def tell(total: "collections.Counter[str]") -> None:
    """Write one line."""
    sys.stdout.write(json.dumps({"failed": 0, **total}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
