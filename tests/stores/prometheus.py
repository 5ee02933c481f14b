"""A real Prometheus, out of Debian's package, which is unpacked and not installed: no service."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from devcluster.cache import file_lock, folder
from tests.stores.server import Server, free_port

_PACKAGE: Final = "prometheus"
_CONFIG: Final = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: pods
  file_sd_configs: [{{files: ["{folder}/targets.json"], refresh_interval: 5s}}]
"""


def program() -> Path:
    """Download and unpack it, once."""
    home = folder("bin") / "prometheus-debian"
    with file_lock("prometheus"):
        if not home.is_dir():
            with tempfile.TemporaryDirectory(dir=folder("bin")) as made:
                _unpack(Path(made))
                shutil.move(Path(made) / "unpacked", home)
    return home / "usr" / "bin" / "prometheus"


def _unpack(into: Path) -> None:
    download = ["apt-get", "download", _PACKAGE]
    if subprocess.run(download, cwd=into, capture_output=True, timeout=300, check=False).returncode:
        subprocess.run(["apt-get", "update"], capture_output=True, timeout=600, check=True)
        subprocess.run(download, cwd=into, capture_output=True, timeout=300, check=True)
    (package,) = into.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", package, into / "unpacked"], timeout=300, check=True)


class Prometheus:
    """One process that scrapes what it is told to, every second."""

    def __init__(self, home: Path) -> None:
        self._home, port = home, free_port("127.0.0.1")
        self.address = f"http://127.0.0.1:{port}"
        self.scrape({})
        (home / "prometheus.yml").write_text(_CONFIG.format(folder=home))
        command = [
            program(), f"--config.file={home}/prometheus.yml",
            f"--storage.tsdb.path={home}/data", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        self._server = Server(command, home / "prometheus.log", is_up=self._is_ready)

    def scrape(self, targets: dict[str, dict[str, str]]) -> None:
        """Scrape these addresses, and give their series these labels."""
        found = [{"targets": [at], "labels": labels} for at, labels in targets.items()]
        draft = self._home / "targets.draft"
        draft.write_text(json.dumps(found))
        draft.replace(self._home / "targets.json")

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/-/ready", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._server.__exit__(kind, error, trace)
