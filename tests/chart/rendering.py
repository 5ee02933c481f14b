"""Drive a real Helm on the chart and read what it renders.

Lives here: calling `helm`, splitting renderings into objects, and finding them by kind.
Stays out: what is right about a rendering (the tests beside this module say that).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CHART: Final = REPOSITORY / "charts" / "slipway"
SCENARIOS: Final = sorted((CHART / "ci").glob("*-values.yaml"))
NAMESPACE: Final = "slipway-system"

PLACEHOLDER_CRD: Final = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: modeldeployments.slipway.dev
spec:
  group: slipway.dev
  scope: Namespaced
  names: {kind: ModelDeployment, plural: modeldeployments}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        description: A placeholder; braces such as {{ .Values.replicas }} are no template.
        type: object
"""

Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm ended with an error; the message is what it wrote to standard error."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """All objects that one call of `helm template` has printed, and their text."""

    text: str
    objects: tuple[Manifest, ...]

    def of_kind(self, kind: str) -> list[Manifest]:
        """Return the objects of a kind, in the order of the rendering."""
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str = "") -> Manifest:
        """Return the only object of a kind, or of a kind and name."""
        (found,) = [o for o in self.of_kind(kind) if name in ("", o["metadata"]["name"])]
        return found

    @property
    def pod(self) -> Manifest:
        """The pod template's spec of the operator's Deployment."""
        spec: Manifest = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Manifest:
        """The only container of the operator's pod."""
        (container,) = self.pod["containers"]
        found: Manifest = container
        return found

    @property
    def environment(self) -> dict[str, object]:
        """The container's environment: value or source by name."""
        return {
            variable["name"]: variable.get("value", variable.get("valueFrom"))
            for variable in self.container["env"]
        }


@dataclass(frozen=True, slots=True)
class Helm:
    """A Helm binary, run without any cluster."""

    binary: Path
    home: Path

    def run(self, *arguments: str | Path) -> str:
        """Run Helm and return its standard output.

        Raises:
            HelmError: the exit status is not 0.
        """
        done = subprocess.run(
            [self.binary, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "HOME": str(self.home), "KUBECONFIG": os.devnull},
        )
        if done.returncode != 0:
            raise HelmError(done.stderr)
        return done.stdout

    def template(
        self,
        chart: Path,
        *,
        values: Mapping[str, object] | None = None,
        files: Sequence[Path] = (),
        release: str = "slipway",
    ) -> Rendering:
        """Render the chart, first with value files, then with values on top of them."""
        arguments: list[str | Path] = ["template", release, chart, "--namespace", NAMESPACE]
        for file in files:
            arguments += ["--values", file]
        if values is not None:
            overlay = self.home / "overlay.yaml"
            overlay.write_text(yaml.safe_dump(dict(values)))
            arguments += ["--values", overlay]
        text = self.run(*arguments)
        return Rendering(text, tuple(found for found in yaml.safe_load_all(text) if found))


def copy_of_chart(into: Path, crds: Mapping[str, str]) -> Path:
    """Copy the chart and give the copy these CRD files, by name; returns the copy's path."""
    copied = into / "slipway"
    shutil.copytree(CHART, copied)
    folder = copied / "files" / "crds"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in crds.items():
        (folder / name).write_text(text)
    return copied


def nested(path: str, value: object) -> dict[str, Any]:
    """Return the values that set one dotted path.

    >>> nested("a.b", 1)
    {'a': {'b': 1}}
    """
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value
