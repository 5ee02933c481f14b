"""Start, check and end the processes of one cluster, by their records.

Level-triggered: each call compares what should run with what does, so that it may be repeated after
any crash. A process whose command line or configuration changed is replaced.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devcluster.cache import content_key, write_if_changed
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.kube import answers
from devcluster.layout import Layout
from devcluster.network import netns_path
from devcluster.processes import (
    ProcessRecord,
    end,
    is_alive,
    read_record,
    spawn,
    write_record,
)
from devcluster.progress import log_excerpt, say, wait_until
from devcluster.runtime import ContainerRuntime

START_TIMEOUT_S: Final = 90.0
HUNG_AFTER_S: Final = 20.0
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process as `status` shows it."""

    name: str
    pid: int
    is_alive: bool
    log: Path


@dataclass(frozen=True, slots=True)
class Supervisor:
    """The processes of one cluster."""

    layout: Layout

    def statuses(self) -> dict[str, ProcessStatus]:
        """Every process that was started and not ended by us, by name."""
        found = {}
        for path in sorted(self.layout.records.glob("*.json")):
            record = read_record(path)
            pid = record.pid if record else 0
            name = path.stem
            found[name] = ProcessStatus(name, pid, is_alive(record), self.layout.log(name))
        return found

    def ensure_started(self, component: Component) -> bool:
        """Start a component unless it runs as it should; tell whether it was started."""
        record = self._record(component.name)
        key = _key(component)
        if record is not None and is_alive(record):
            if record.key == key:
                return False
            say(f"{component.name}: its configuration changed, restarting it")
            end(record, grace_s=component.grace_s)
        elif record is not None:
            say(f"{component.name}: process {record.pid} is gone, starting it again")
        self._start(component, key)
        return True

    def ensure_healthy(self, component: Component) -> bool:
        """Start a component if need be, wait until it is healthy, and replace it if it hangs.

        Raises:
            DevclusterError: it ends or does not become healthy; carries the end of its log.
        """
        started = self.ensure_started(component)
        if not started and not self._healthy_within(component, HUNG_AFTER_S):
            say(f"{component.name}: runs but does not answer, restarting it")
            self.restart(component)
            return True
        self.wait_healthy(component)
        return started

    def restart(self, component: Component) -> None:
        """End a component if it runs, start it, and wait until it is healthy."""
        self.end(component.name, grace_s=component.grace_s)
        self._start(component, _key(component))
        self.wait_healthy(component)

    def wait_healthy(self, component: Component) -> None:
        """Wait until a started component is healthy."""
        log = self.layout.log(component.name)

        def healthy() -> bool:
            if not is_alive(self._record(component.name)):
                raise DevclusterError(f"{component.name}: ended while starting{log_excerpt(log)}")
            return self.is_healthy(component)

        what = f"{component.name} to become healthy"
        wait_until(healthy, what, timeout_s=START_TIMEOUT_S, log=log, poll_s=0.05)

    def is_healthy(self, component: Component) -> bool:
        """Whether a component runs and answers."""
        if not is_alive(self._record(component.name)):
            return False
        if component.health_url:
            return answers(component.health_url)
        return ContainerRuntime(self.layout.containerd_socket).is_serving()

    def end(self, name: str, *, grace_s: float) -> None:
        """End a process if it runs, and forget it."""
        record = self._record(name)
        if record is not None:
            end(record, grace_s=grace_s)
            self._record_path(name).unlink(missing_ok=True)

    def _healthy_within(self, component: Component, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while not self.is_healthy(component):
            if time.monotonic() > deadline or not is_alive(self._record(component.name)):
                return False
            time.sleep(0.1)
        return True

    def _start(self, component: Component, key: str) -> None:
        for path, text in component.files.items():
            write_if_changed(path, text)
        enter = ["nsenter", f"--net={netns_path(self.layout.name)}"]
        if component.working_folder is not None:
            component.working_folder.mkdir(parents=True, exist_ok=True)
            enter.append(f"--wd={component.working_folder}")
        # A bare environment: a proxy meant for this shell would swallow the API server's own calls.
        environment = {"PATH": SYSTEM_PATH, "HOME": os.path.expanduser("~"), **component.env}
        log = self.layout.log(component.name)
        record = spawn([*enter, *component.argv], log=log, key=key, env=environment)
        write_record(self._record_path(component.name), record)

    def _record(self, name: str) -> ProcessRecord | None:
        return read_record(self._record_path(name))

    def _record_path(self, name: str) -> Path:
        return self.layout.records / f"{name}.json"


def _key(component: Component) -> str:
    files = [f"{path}={text}" for path, text in sorted(component.files.items())]
    env = [f"{name}={value}" for name, value in sorted(component.env.items())]
    return content_key([*component.argv, *files, *env])
