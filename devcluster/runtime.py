"""The door to a cluster's containerd: images and tasks, through its socket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devcluster.commands import Words, run, succeeds
from devcluster.errors import DevclusterError

NAMESPACE: Final = "k8s.io"
"""The kubelet's namespace in containerd."""


@dataclass(frozen=True, slots=True)
class ContainerRuntime:
    """One cluster's containerd."""

    socket: Path

    def is_serving(self) -> bool:
        """Whether it answers, with its CRI plugin loaded."""
        if not self.socket.exists():
            return False
        try:
            lines = self._ctr("plugins", "ls", timeout_s=5).splitlines()
        except DevclusterError:
            return False
        # TYPE ID PLATFORMS STATUS, in columns
        return any(row[1:2] == ["cri"] and row[-1] == "ok" for row in map(str.split, lines))

    def images(self) -> set[str]:
        """References of the images the node has."""
        return set(self._ctr("images", "ls", "-q").split())

    def import_archive(self, archive: Path) -> None:
        """Import an OCI or Docker archive with the references it carries."""
        self._ctr("images", "import", archive, timeout_s=600)

    def kill_tasks(self) -> None:
        """Kill and delete every task, as far as containerd still answers."""
        if not self.is_serving():
            return
        for task in self._ctr("tasks", "ls", "-q").split():
            prefix = ["ctr", "--address", str(self.socket), "--namespace", NAMESPACE, "tasks"]
            succeeds([*prefix, "delete", "--force", task])

    def _ctr(self, *arguments: str | Path, timeout_s: float = 30) -> str:
        prefix: Words = ["ctr", "--address", self.socket, "--namespace", NAMESPACE]
        return run([*prefix, *arguments], timeout_s=timeout_s)
