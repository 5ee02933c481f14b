"""The supply step as its container runs it: its arguments, its mounts, its message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from tests.stores.source import Secret
from tests.unit.runtime.processes import runtime, serving_document


@dataclass(frozen=True, slots=True)
class Ended:
    """How a step ended."""

    code: int
    message: dict[str, Any]
    log: str
    took_s: float
    model: Path

    @property
    def reason(self) -> str:
        """Why there is no model; empty where there is one."""
        return str(self.message.get("failure", {}).get("reason", ""))

    @property
    def why(self) -> str:
        """The same in words."""
        return str(self.message.get("failure", {}).get("message", ""))


def fetched(
    folder: Path,
    uri: str,
    *,
    secret: Secret | None = None,
    ca: Path | None = None,
    model: dict[str, Any] | None = None,
    resolve: bool = False,
    pinned: dict[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    cosign_key: Path | None = None,
    more: Sequence[str] = (),
) -> Ended:
    """Fetch a model; no secret may stand in anything that the step says or leaves."""
    folder.mkdir(exist_ok=True)
    document = {**serving_document(uri), **(pinned or {})}
    document["model"] |= model or {}
    flags: list[object] = ["--into", folder / "models", "--termination-message", folder / "message"]
    flags += more
    if resolve:
        flags.append("--resolve")
    if secret is not None:
        document["model"]["credentials"] = {"secretName": "login"}
        flags += ["--credentials-dir", _mounted(secret, folder / "credentials")]
    if ca is not None:
        document["model"]["caBundle"] = {"configMap": {"name": "ca", "key": "ca.crt"}}
        flags += ["--ca-file", ca]
    if cosign_key is not None:
        flags += ["--cosign-key", cosign_key]
    begun = monotonic()
    done = runtime("fetch", *flags, config_json=json.dumps(document), **(settings or {}))
    took_s = monotonic() - begun
    told = (folder / "message").read_text()
    facts = folder / "models" / "model.json"
    everything = told + done.stderr + done.stdout + (facts.read_text() if facts.exists() else "")
    for key, value in (secret or {}).items():
        if not key.startswith(("AWS_ENDPOINT", "AWS_ACCESS", "username")):
            assert value not in everything, key
    return Ended(
        done.returncode, json.loads(told), done.stderr, took_s, folder / "models" / "model.onnx"
    )


def _mounted(secret: Secret, folder: Path) -> Path:
    """Lay a Secret out as the kubelet does."""
    data = folder / "..2026"
    data.mkdir(parents=True)
    (folder / "..data").symlink_to("..2026")
    for key, value in secret.items():
        (data / key).write_text(value)
        (folder / key).symlink_to(f"..data/{key}")
    return folder
