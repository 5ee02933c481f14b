"""The operator as a user has it: the chart, installed by Helm."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from devcluster.addons import helm_program
from devcluster.kube import kubectl
from tests.kubeapi import Api, Manifest, eventually

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "slipway"
SYSTEM: Final = "slipway-system"
RELEASE: Final = "slipway"
DEPLOYMENT: Final = "slipway-operator"
_PODS: Final = "app.kubernetes.io/component=operator"


class Installation:
    """One release of the chart."""

    def __init__(
        self, kubeconfig: Path, api: Api, images: Mapping[str, str], registry: str
    ) -> None:
        self._kubeconfig, self._api = kubeconfig, api
        self._values = {
            **_image("image", images["operator"]),
            **_image("runtimeImage", images["runtime"]),
            "insecureRegistries": f"{{{registry}}}",
            **_image("converterImage", images.get("converter", ":")),
        }

    def upgrade(self) -> None:
        """Install, or upgrade with the same values, and wait until the operator is ready."""
        # The CRD may be there already: other tests apply it, and an earlier release keeps it.
        adopt = ["--take-ownership", "--force-conflicts"]
        self._helm(
            "upgrade", "--install", RELEASE, str(CHART), "--create-namespace",
            "--wait", "--timeout", "2m", *adopt,
            *(word for k, v in self._values.items() for word in ("--set", f"{k}={v}")),
        )  # fmt: skip

    def uninstall(self) -> None:
        """Remove the release and wait until its pods are gone."""
        self._helm("uninstall", RELEASE, "--wait", "--timeout", "1m")
        eventually(
            lambda: not self._api.find("Pod", SYSTEM, _PODS),
            "the operator's pods are gone",
            timeout_s=60,
        )

    def restart(self) -> None:
        """Replace the operator's pods one by one, as a user does, and wait for the end."""
        target = f"deployment/{DEPLOYMENT}"
        _run([str(kubectl()), "-n", SYSTEM, "rollout", "restart", target], self._kubeconfig)
        _run(
            [str(kubectl()), "-n", SYSTEM, "rollout", "status", target, "--timeout=100s"],
            self._kubeconfig,
        )

    def deployment(self) -> Manifest:
        """The operator's Deployment."""
        found = self._api.get("Deployment", SYSTEM, DEPLOYMENT)
        assert found is not None
        return found

    def pods(self) -> list[Manifest]:
        """The operator's pods that are not on their way out."""
        found = self._api.find("Pod", SYSTEM, _PODS)
        return [p for p in found if not p["metadata"].get("deletionTimestamp")]

    def rights(self) -> set[tuple[str, str, str]]:
        """What the chart grants the operator: API group, resource, verb."""
        roles = (
            self._api.get("ClusterRole", None, DEPLOYMENT),
            self._api.get("Role", SYSTEM, DEPLOYMENT),
        )
        return {
            (group, resource, verb)
            for role in roles
            for rule in (role or {})["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    def leader(self) -> str | None:
        """The pod that holds the Lease; None while nobody does."""
        lease = self._api.get("Lease", SYSTEM, "slipway-operator")
        holder: str = (lease or {}).get("spec", {}).get("holderIdentity", "")
        return holder if holder in {p["metadata"]["name"] for p in self.pods()} else None

    def until_settled(self) -> str:
        """Wait until a leader has looked at everything and has nothing left to do; name it."""
        seen: list[tuple[str, float]] = []

        def settled() -> str | None:
            if (leader := self.leader()) is None:
                return None
            total = self._metric(leader, "slipway_reconcile_total")
            seen.append((leader, total))
            is_idle = total > 0 and self._metric(leader, "slipway_queue_depth") == 0
            # Sixteen looks are about a second without a reconcile.
            return leader if is_idle and seen[-16:] == [seen[-1]] * 16 else None

        return eventually(settled, "the operator has settled", timeout_s=60, describe=lambda: seen)

    def _metric(self, pod: str, name: str) -> float:
        """Sum of a metric's samples; 0 while the pod does not answer."""
        path = f"{self._api.path('Pod', SYSTEM, f'{pod}:8080')}/proxy/metrics"
        answer = self._api.http.get(path)
        lines = answer.text.splitlines() if answer.is_success else []
        return sum(float(ln.rpartition(" ")[2]) for ln in lines if re.match(rf"{name}[ {{]", ln))

    def _helm(self, *arguments: str) -> str:
        return _run([str(helm_program()), *arguments, "--namespace", SYSTEM], self._kubeconfig)


def _run(command: list[str], kubeconfig: Path) -> str:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=180, check=False
    )
    assert not done.returncode, f"{' '.join(command[:4])} … failed:\n{done.stderr[-3000:]}"
    return done.stdout


def _image(prefix: str, reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {f"{prefix}.repository": repository, f"{prefix}.tag": tag}
