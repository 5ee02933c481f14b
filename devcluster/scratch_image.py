"""Write a small `FROM scratch` image as an archive, without any image builder.

One layer, a few files, byte for byte the same for the same input. The format is Docker's archive
(`manifest.json`, a configuration, a layer), which containerd imports.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def write_scratch_image(
    archive: Path,
    reference: str,
    files: Mapping[str, Path],
    *,
    entrypoint: Sequence[str],
    user: str = "65532:65532",
) -> None:
    """Write an image whose root holds only `files`.

    Args:
        archive: where to; it appears whole or not at all.
        reference: the image's name with its tag.
        files: path in the image, without a leading slash, to the file on disk; all executable.
        entrypoint: the command.
        user: numeric user and group.
    """
    layer = _tar({name: path.read_bytes() for name, path in files.items()}, mode=0o755)
    machine = platform.machine()
    config = {
        "architecture": ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint), "User": user, "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "devcluster"}],
    }
    config_bytes = json.dumps(config, sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    members = {
        config_name: config_bytes,
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    draft = archive.with_suffix(".draft")
    draft.write_bytes(_tar(members, mode=0o644))
    draft.replace(archive)


def _tar(members: Mapping[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = mode
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
