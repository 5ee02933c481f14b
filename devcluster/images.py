"""The project's images, built without a registry or a container engine's daemon.

Lives here: the base image, the operator's, the runtime's and the converter's, with PyTorch or
without, and the archives of them.
A tag is the hash of everything that goes in, so an image that exists is never built again, and a
reference never changes its meaning. buildah's storage is the project's own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from devcluster.cache import (
    content_key,
    file_lock,
    folder,
    keep_newest,
    repository_root,
    tree_entries,
)
from devcluster.commands import Words, run, run_long, succeeds
from devcluster.errors import DevclusterError
from devcluster.versions import versions

HALVES: Final = ("operator", "runtime")
CONVERTER: Final = "converter"
"""The image that converts models of other formats, 2 GB: built only where it is asked for."""
CONVERTER_TORCH: Final = "converter-torch"
"""The same with PyTorch on top."""
_ON_TOP: Final = {CONVERTER_TORCH: CONVERTER}
"""Images whose base is another one of ours."""
KEPT_ARCHIVES: Final = 3
KEPT_LAYERS: Final = 80
"""Some ten builds of both images, about 3 GB."""
BASE_TIMEOUT_S: Final = 1800.0
BUILD_TIMEOUT_S: Final = 3600.0
CERTIFICATES: Final = Path("/etc/ssl/certs")
PIP_SETTINGS: Final = ("INDEX_URL", "EXTRA_INDEX_URL", "TRUSTED_HOST", "PROXY", "TIMEOUT")


def copied_paths(dockerfile: str) -> list[str]:
    """What a Dockerfile copies out of its context, sorted; copies between stages are left out.

    >>> copied_paths("COPY pyproject.toml README.md ./")
    ['README.md', 'pyproject.toml']
    """
    text = re.sub(r"\\\s*\n", " ", dockerfile)
    sources: set[str] = set()
    for instruction, rest in re.findall(r"^\s*(COPY|ADD)\s+(.+)$", text, re.MULTILINE | re.I):
        words = rest.split()
        if any(word.startswith("--from") for word in words):
            continue
        paths = [word for word in words if not word.startswith("--")]
        if paths[0].startswith("["):
            raise DevclusterError(f"{instruction} {rest}: use the form without brackets")
        sources.update(path.strip("/") for path in paths[:-1])
    return sorted(sources)


def pip_configuration(environment: Mapping[str, str]) -> str:
    """A pip.conf for inside the build: this machine's index and certificates, from `PIP_*`."""
    lines = ["[global]", f"cert = {CERTIFICATES}/ca-certificates.crt"]
    given = {name: environment.get(f"PIP_{name}") for name in PIP_SETTINGS}
    lines += [
        f"{name.lower().replace('_', '-')} = {value}" for name, value in given.items() if value
    ]
    return "\n".join(lines) + "\n"


def uv_configuration(environment: Mapping[str, str]) -> str:
    """A uv.toml for inside the build: the system's certificates, the index of `UV_*` or `PIP_*`."""
    lines = ["native-tls = true"]
    index = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL")
    if index := index or environment.get("PIP_INDEX_URL"):
        lines.append(f"index-url = {json.dumps(index)}")
    return "\n".join(lines) + "\n"


def reference(half: str) -> str:
    """The image that the sources of this checkout make: `localhost/slipway-HALF:dev-HASH`."""
    entries = _inputs(half)
    contents = [part for name, path in entries for part in (name, path.read_bytes())]
    base = reference(_ON_TOP[half]) if half in _ON_TOP else _base_key()
    return f"localhost/slipway-{half}:dev-{content_key([base, *contents])}"


def archive_of(image: str) -> Path:
    """The archive of an image that `build` made.

    Raises:
        DevclusterError: there is none.
    """
    found = re.fullmatch(r"localhost/slipway-(?P<half>[a-z-]+):(?P<tag>dev-[0-9a-f]+)", image)
    path = folder("images") / f"{found['half']}-{found['tag']}.tar" if found else None
    if path is None or not path.is_file():
        raise DevclusterError(
            f"image {image!r}: no file, and not built here (python -m devcluster images)"
        )
    return path


def build(half: str) -> str:
    """Build an image and its archive unless they exist, and return its reference."""
    image = reference(half)
    archive = folder("images") / f"{half}-{image.rpartition(':')[2]}.tar"
    if _is_kept(archive):  # before the lock, which another's build may hold for minutes
        return image
    below = build(_ON_TOP[half]) if half in _ON_TOP else None
    with file_lock("images"):
        if _is_kept(archive):
            return image
        base = below or _ensure_base()
        with _context(half) as context:
            _bud(half, image, context, base)
        _export(image, archive)
        for old in keep_newest(archive.parent.glob(f"{half}-dev-*.tar"), KEPT_ARCHIVES):
            _forget(f"localhost/slipway-{half}:{old.stem.removeprefix(f'{half}-')}")
        _prune()
    return image


def _is_kept(archive: Path) -> bool:
    """Whether an archive is there; it is then among the newest, which are kept."""
    try:
        os.utime(archive)
    except FileNotFoundError:
        return False
    return True


def push(image: str, registry: str) -> str:
    """Push an image's archive to a registry, on HTTP or HTTPS, and return its name there."""
    name, _, tag = image.rpartition("/")[2].partition(":")
    target = f"{registry}/{name}:{tag}"
    source = f"oci-archive:{archive_of(image)}:{image}"
    copy = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false"]
    run_long(f"pushing {target}", [*copy, source, f"docker://{target}"], timeout_s=900)
    return target


def _inputs(half: str) -> list[tuple[str, Path]]:
    root = repository_root()
    dockerfile = root / f"Dockerfile.{half}"
    if not dockerfile.is_file():
        raise DevclusterError(f"{dockerfile}: missing")
    copied = [root / name for name in copied_paths(dockerfile.read_text())]
    for path in copied:
        if not path.exists():
            raise DevclusterError(f"{dockerfile.name} copies {path.name!r}, which does not exist")
    return list(tree_entries(root, [dockerfile, *copied]))


@contextmanager
def _context(half: str) -> Iterator[Path]:
    """A folder with exactly the files whose content made the tag."""
    with tempfile.TemporaryDirectory(prefix="slipway-image-") as name:
        for relative, path in _inputs(half):
            target = Path(name) / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        yield Path(name)


def _bud(half: str, image: str, context: Path, base: str) -> None:
    with tempfile.TemporaryDirectory(prefix="slipway-pip-") as settings:
        pip, uv = Path(settings) / "pip.conf", Path(settings) / "uv.toml"
        pip.write_text(pip_configuration(os.environ))
        uv.write_text(uv_configuration(os.environ))
        # Mounted, not set in the environment: nothing of this machine's network stays in the image.
        mounts = {CERTIFICATES: CERTIFICATES, pip: "/etc/pip.conf", uv: "/etc/uv/uv.toml"}
        volumes = [f"--volume={source}:{target}:ro" for source, target in mounts.items()]
        arguments = [
            *("--isolation=chroot", "--layers", "--pull=never"),
            *volumes,
            f"--build-arg={'CONVERTER' if half in _ON_TOP else 'PYTHON'}_IMAGE={base}",
            f"--file={context / f'Dockerfile.{half}'}",
            f"--tag={image}",
        ]
        argv: Words = [*_buildah(), "bud", *arguments, context]
        run_long(f"building {image}", argv, timeout_s=BUILD_TIMEOUT_S)


def _ensure_base() -> str:
    """The image that stands for `python:3.12-slim`: a small Debian with python3."""
    image = f"localhost/slipway-base:dev-{_base_key()}"
    if not succeeds([*_buildah(), "inspect", "--type=image", image]):
        with tempfile.TemporaryDirectory(prefix="base-", dir=folder("images")) as name:
            layer = Path(name) / "base.tar"
            run_long(
                "making the base image (40 s, once)", _mmdebstrap(layer), timeout_s=BASE_TIMEOUT_S
            )
            (Path(name) / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
            argv = [*_buildah(), "bud", "--isolation=chroot", f"--tag={image}", name]
            run_long(f"importing {image}", argv, timeout_s=600)
    return image


def _mmdebstrap(layer: Path) -> list[str | Path]:
    packages = f"--include={','.join(versions().base_packages)}"
    return ["mmdebstrap", "--variant=minbase", packages, versions().base_suite, layer]


def _base_key() -> str:
    return content_key(map(str, _mmdebstrap(Path("base.tar"))))


def _export(image: str, archive: Path) -> None:
    draft = archive.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    # Uncompressed: it never leaves this machine, and compressing takes longer than writing.
    argv = [*_buildah(), "push", "--disable-compression", image, f"oci-archive:{draft}:{image}"]
    run_long(f"writing {archive.name}", argv, timeout_s=600)
    draft.replace(archive)


def _prune() -> None:
    """Drop unnamed layers once they are many; each is a cached step, so not after every build."""
    if len(run([*_buildah(), "images", "--all", "--quiet"]).split()) > KEPT_LAYERS:
        # A build that was cut off leaves containers; we hold the lock, so no other build is on.
        run([*_buildah(), "rm", "--all"], timeout_s=300)
        run([*_buildah(), "rmi", "--prune"], timeout_s=300)


def _forget(image: str) -> None:
    if succeeds([*_buildah(), "inspect", "--type=image", image]):
        run([*_buildah(), "rmi", "--force", image], timeout_s=120)


def _buildah() -> list[str]:
    storage = folder("storage")
    place = [f"--root={storage / 'root'}", f"--runroot={storage / 'run'}"]
    return ["buildah", *place, "--storage-driver=overlay"]
