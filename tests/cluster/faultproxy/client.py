"""Start the proxy in a process of its own and tell it what to break.

Lives here: all that a test uses. A call takes about a millisecond, so a test's loop may make it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any, Final, Self

import yaml
from pydantic import TypeAdapter

from tests.cluster.faultproxy.faults import Fault, Seen, Tally
from tests.cluster.faultproxy.upstream import Cluster

_REPOSITORY: Final = Path(__file__).resolve().parents[3]
_FAULT: Final = TypeAdapter(Fault)
_SEEN: Final = TypeAdapter(list[Seen])
_TALLY: Final = TypeAdapter(Tally)
_START_S: Final = 30.0
_STOP_S: Final = 5.0
_POLL_S: Final = 0.02


class FaultProxyError(Exception):
    """The proxy did not start, has died, or refused an order; the message has its last words."""


class FaultProxy:
    """A running proxy in front of the API server of a kubeconfig; a context manager.

    Clients use `kubeconfig` or `url`, without credentials: the proxy has those of the kubeconfig it
    was given. A client that sends a bearer token of its own is forwarded with that instead.
    """

    kubeconfig: Path
    """A kubeconfig whose only context points at the proxy."""
    url: str
    """The proxy as the API server's address."""

    def __init__(self, kubeconfig: Path) -> None:
        self._upstream = kubeconfig.resolve()

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="faultproxy-")
        folder = Path(self._folder.name)
        self._log = folder / "stderr"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __package__, str(self._upstream)],
                cwd=_REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            ports = self._ports()
            self._control = ports["control"]
            self.url = f"http://127.0.0.1:{ports['port']}"
            self.kubeconfig = folder / "kubeconfig"
            self.kubeconfig.write_text(
                yaml.safe_dump(_kubeconfig(self.url, Cluster.read(self._upstream).namespace))
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()

    def inject(self, fault: Fault) -> int:
        """Play a fault from now on; returns its number. Faults are tried in this order."""
        number: int = self._order("POST", "/faults", _FAULT.dump_json(fault))["number"]
        return number

    def clear(self) -> None:
        """Forget all faults; requests that hang are dropped. What was seen is kept."""
        self._order("DELETE", "/faults")

    def tally(self, number: int) -> Tally:
        """Tell how often a fault has matched and fired; also after `clear()`."""
        return _TALLY.validate_python(self._order("GET", f"/faults/{number}"))

    def requests(
        self,
        *,
        verbs: Set[str] | None = None,
        path: str = "",
        query: str = "",
        user_agent: str = "",
        after: int = 0,
    ) -> list[Seen]:
        """Return what was seen, in the order of arrival.

        Args:
            verbs: Kubernetes verbs, for example `WRITES`; None is all of them.
            path: a pattern that is searched in the path.
            query: a pattern that is searched in the query.
            user_agent: a pattern that is searched in the User-Agent header.
            after: the number of the last request that is not asked for (`mark()`).
        """
        return [
            seen
            for seen in _SEEN.validate_python(self._order("GET", "/requests"))
            if seen.number > after
            and (verbs is None or seen.verb in verbs)
            and re.search(path, seen.path)
            and re.search(query, seen.query)
            and re.search(user_agent, seen.user_agent)
        ]

    def mark(self) -> int:
        """Return the number of the last request, to ask later only for those after it."""
        return max((seen.number for seen in self.requests()), default=0)

    async def until(self, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Wait until a condition holds, for example on `requests()`.

        Raises:
            TimeoutError: it does not within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the condition does not hold after {timeout_s} s")
            await asyncio.sleep(_POLL_S)

    async def until_fired(self, number: int, *, times: int = 1, timeout_s: float) -> None:
        """Wait until a fault was played.

        Raises:
            TimeoutError: it was not within `timeout_s`.
        """
        await self.until(lambda: self.tally(number).fired >= times, timeout_s=timeout_s)

    def _order(self, method: str, path: str, body: bytes | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        except OSError as err:
            raise FaultProxyError(f"the proxy does not answer: {self._last_words()}") from err
        finally:
            connection.close()
        if answer.status != 200:
            raise FaultProxyError(f"{method} {path}: got {answer.status}: {content.decode()}")
        return json.loads(content)

    def _ports(self) -> dict[str, int]:
        assert self._process.stdout is not None
        impatience = threading.Timer(_START_S, self._process.kill)
        impatience.start()
        line = self._process.stdout.readline()
        impatience.cancel()
        if not line:
            raise FaultProxyError(f"the proxy did not start: {self._last_words()}")
        ports: dict[str, int] = json.loads(line)
        return ports

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def _kubeconfig(url: str, namespace: str) -> dict[str, object]:
    name = "faultproxy"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}
        ],
    }
