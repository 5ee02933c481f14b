"""A proxy in front of a real API server that does, on request, what real ones do on bad days.

It runs in its own process: a server in the operator's loop would count as one of kopf's hung tasks.

```python
with FaultProxy(kubeconfig) as proxy:
    run_the_operator(proxy.kubeconfig)
    proxy.inject(Fault(answers.unavailable(), verbs=READS, duration_s=90))
    fault = proxy.inject(Fault(Drop(forwarded=True), verbs=WRITES, skip=2))  # the third write
    await proxy.until_fired(fault, timeout_s=10)
    assert [seen.path for seen in proxy.requests(verbs=WRITES)] == [...]
```

Modules: `faults` (the values), `answers` (refusals in the API server's words), `target` (what a
request asks for), `client` (for tests), `upstream`, `rules` and `server` (the other process).
"""

from tests.cluster.faultproxy import answers
from tests.cluster.faultproxy.client import FaultProxy, FaultProxyError
from tests.cluster.faultproxy.faults import (
    EVERY,
    READS,
    WRITES,
    Answer,
    Cause,
    Cut,
    Delay,
    Drop,
    Expire,
    Fault,
    Hang,
    Refuse,
    Seen,
    Swallow,
    crash_at_write,
)

__all__ = [
    "FaultProxy",
    "FaultProxyError",
    "Fault",
    "Seen",
    "EVERY",
    "READS",
    "WRITES",
    "Answer",
    "Cause",
    "Cut",
    "Delay",
    "Drop",
    "Expire",
    "Hang",
    "Refuse",
    "Swallow",
    "answers",
    "crash_at_write",
]
