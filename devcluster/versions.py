"""Versions of everything the cluster is made of, read from `versions.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

VERSIONS_FILE: Final = Path(__file__).with_name("versions.toml")


@dataclass(frozen=True, slots=True)
class Versions:
    """The pinned versions; one value per line of `versions.toml`."""

    go_minimum: str
    go_pypi: str
    kubernetes: str
    metrics_server: str
    gateway_api: str
    helm: str
    kwok: str
    keda: str
    traefik: str
    h2spec: str
    minio: str
    fake_gcs_server: str
    cosign: str
    base_suite: str
    base_packages: tuple[str, ...]
    debian_packages: tuple[str, ...]


@cache
def versions() -> Versions:
    """Read the pinned versions, once per process."""
    raw = tomllib.loads(VERSIONS_FILE.read_text())
    return Versions(
        go_minimum=raw["go"]["minimum"],
        go_pypi=raw["go"]["pypi"],
        kubernetes=raw["controlplane"]["kubernetes"],
        metrics_server=raw["addons"]["metrics_server"],
        gateway_api=raw["addons"]["gateway_api"],
        helm=raw["addons"]["helm"],
        kwok=raw["addons"]["kwok"],
        keda=raw["addons"]["keda"],
        traefik=raw["addons"]["traefik"],
        h2spec=raw["tests"]["h2spec"],
        minio=raw["tests"]["minio"],
        fake_gcs_server=raw["tests"]["fake_gcs_server"],
        cosign=raw["tests"]["cosign"],
        base_suite=raw["base_image"]["suite"],
        base_packages=tuple(raw["base_image"]["packages"]),
        debian_packages=tuple(raw["debian"]["packages"]),
    )
