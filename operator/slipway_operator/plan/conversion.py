"""The steps that make another file of a model before it is served, in the Job and in every pod.

A model of another format becomes ONNX, and one that is to be optimised becomes smaller.

Three containers after each other: `fetch` has the credentials and never reads the model, `convert`
may run what the model's author wrote and has nothing but the model, `admit` hashes and checks what
came of it. Only the last one writes where the model is served from.

Lives here: turning a pod that fetches into one that converts.
Stays out: when that is due (`supply.py`), and what the steps do (the runtime's `convert/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway_operator.api.v1alpha1 import Samples
from slipway_operator.plan.names import Manifest
from slipway_operator.plan.sources import (
    MOUNTS,
    SAMPLES,
    SAMPLES_FILE,
    samples_mount,
    samples_volume,
)

CONVERT: Final = "convert"
ADMIT: Final = "admit"
_ORIGINAL: Final = "original"
_CONVERTED: Final = "converted"
_SCRATCH: Final = "scratch"
_RESOLVE: Final = "--resolve"
_CONVERT_RESOURCES: Final[Manifest] = {
    "requests": {"cpu": "100m", "memory": "256Mi"},
    "limits": {"cpu": "1", "memory": "2Gi"},
}
"""TensorFlow alone takes half a gigabyte."""
_KNOWN_SETTINGS: Final = frozenset(
    f"SLIPWAY_RUNTIME_{name}" for name in ("CONFIG_JSON", "CONVERT_TIMEOUT_S", "LOG_LEVEL")
)
"""What the converting container is told; other variables may hold what it should not see."""


def is_converting(pod_template: Mapping[str, Any]) -> bool:
    """Whether pods of a template convert their model."""
    containers = (pod_template.get("spec") or {}).get("initContainers") or ()
    return any(container.get("name") == CONVERT for container in containers)


def converting(
    pod: Manifest,
    place: str,
    image: str,
    *,
    has_resources: bool,
    samples: Samples | None = None,
) -> Manifest:
    """Put the three steps in the place of the one that fetches.

    Args:
        pod: spec of a pod whose first container of `place` fetches.
        place: `initContainers` in serving pods, `containers` in the supply Job.
        image: the converter's.
        has_resources: the spec says what the steps get; it holds for all three.
        samples: what the converting step gets to compare on, and to calibrate with.
    """
    fetch, *others = pod[place]
    into = fetch["args"][fetch["args"].index("--into") + 1]
    steps = [
        _fetch(fetch),
        _with_samples(_convert(fetch, image, has_resources=has_resources), samples),
        _admit(fetch, into),
    ]
    volumes = [*pod["volumes"]]
    volumes += [{"name": name, "emptyDir": {}} for name in (_ORIGINAL, _CONVERTED, _SCRATCH)]
    if samples is not None:  # what calibrates has to be there, whatever else it is for
        volumes = [volume for volume in volumes if volume["name"] != SAMPLES]
        volumes.append(samples_volume(samples))
    if place == "initContainers":
        placed: Manifest = {place: [*steps, *others]}
    else:  # a Job ends with its containers: the last step is one, the others come before
        placed = {"initContainers": steps[:-1], place: [steps[-1], *others]}
    return {**pod, **placed, "volumes": volumes}


def _fetch(fetch: Manifest) -> Manifest:
    args = [word for word in fetch["args"] if word != _RESOLVE]
    args[args.index("--into") + 1] = f"/{_ORIGINAL}"
    mounts = [_mount(_ORIGINAL), *(m for m in fetch["volumeMounts"] if m["name"] != "models")]
    return {**fetch, "args": [*args, "--as-is"], "volumeMounts": mounts}


def _convert(fetch: Manifest, image: str, *, has_resources: bool) -> Manifest:
    mounts = [
        _mount(_ORIGINAL, readOnly=True),
        _mount(_CONVERTED),
        {"name": _SCRATCH, "mountPath": "/tmp"},  # noqa: S108 - a mount point in the container
    ]
    environment = [e for e in fetch.get("env", ()) if e["name"] in _KNOWN_SETTINGS]
    convert = {
        **fetch,
        "name": CONVERT,
        "image": image,
        "args": [
            "convert-supplied",
            *_config(fetch),
            *("--original", f"/{_ORIGINAL}"),
            *("--into", f"/{_CONVERTED}"),
        ],
        "resources": fetch["resources"] if has_resources else dict(_CONVERT_RESOURCES),
        "volumeMounts": [*mounts, *(m for m in fetch["volumeMounts"] if m["name"] == "config")],
    }
    return _with_environment(convert, environment)


def _with_samples(convert: Manifest, samples: Samples | None) -> Manifest:
    if samples is None:
        return convert
    return {
        **convert,
        "args": [*convert["args"], "--samples", SAMPLES_FILE],
        "volumeMounts": [*convert["volumeMounts"], samples_mount()],
    }


def _admit(fetch: Manifest, into: str) -> Manifest:
    mounts = [_mount(_ORIGINAL, readOnly=True), _mount(_CONVERTED, readOnly=True)]
    return {
        **fetch,
        "name": ADMIT,
        "args": [
            "admit",
            *_config(fetch),
            *([_RESOLVE] if _RESOLVE in fetch["args"] else ()),
            *("--original", f"/{_ORIGINAL}"),
            *("--converted", f"/{_CONVERTED}"),
            *("--into", into),
        ],
        "volumeMounts": [
            *mounts, *(m for m in fetch["volumeMounts"] if m["name"] not in MOUNTS)
        ],
    }  # fmt: skip


def _config(fetch: Manifest) -> list[str]:
    args = fetch["args"]
    return ["--config", args[args.index("--config") + 1]] if "--config" in args else []


def _mount(volume: str, **more: Any) -> Manifest:
    return {"name": volume, "mountPath": f"/{volume}", **more}


def _with_environment(container: Manifest, environment: list[Manifest]) -> Manifest:
    without = {key: value for key, value in container.items() if key != "env"}
    return without | ({"env": environment} if environment else {})
