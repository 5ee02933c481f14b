"""Models that lie in a ConfigMap, which the pod mounts as a folder."""

from __future__ import annotations

from pathlib import Path

from slipway_runtime.errors import NotFound
from slipway_runtime.supply.digest import ModelWriter, copy_file
from slipway_runtime.supply.uri import configmap_key


def fetch_configmap(uri: str, writer: ModelWriter, *, folder: Path) -> None:
    """Copy the key's bytes.

    Raises:
        NotFound: the ConfigMap has no such key; the text names those it has.
        InvalidConfig: the URI is not `configmap://NAME/KEY`.
    """
    name, key = configmap_key(uri)
    source = folder / key
    if not source.is_file():
        keys = sorted(path.name for path in folder.glob("*") if not path.name.startswith(".."))
        raise NotFound(
            f"model.uri: ConfigMap '{name}' has no key '{key}', expected one of "
            f"{', '.join(keys) or 'its keys, and it has none'}"
        )
    copy_file(source, writer)
