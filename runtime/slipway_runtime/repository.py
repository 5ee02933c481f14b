"""Load and unload the model on request: laptops only, behind `serve --allow-repository`.

Where the file lies was told on the command line; no request can name another, nor bring one. A
load looks at the file again, checks it in a process of its own, warms it beside the loop, and only
then lets it take the other's place. One thing happens at a time. Who asks for a load while another
is under way gets the result of one that began after it asked, and shares it with all who did so.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from slipway_runtime.errors import LoadFailed, ModelNotReady, NotFound, SupplyError, shown
from slipway_runtime.inference.dataplane import DataPlane
from slipway_runtime.inference.model import Origin
from slipway_runtime.inference.threads import in_thread
from slipway_runtime.onnx_scan import is_rewritten
from slipway_runtime.pipeline.spec import Pipeline
from slipway_runtime.supply.digest import ModelWriter, check_digest, copy_file, file_digest
from slipway_runtime.supply.folder import fused_file

log: Final = logging.getLogger(__name__)

_REVISION_DIGITS: Final = 10


def revision_of(digest: str) -> str:
    """A laptop has no operator that numbers revisions: the bytes are the revision.

    >>> revision_of("sha256:0123456789abcdef")
    '0123456789'
    """
    return digest.removeprefix("sha256:")[:_REVISION_DIGITS]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the model comes from, as the command line told."""

    locate: Callable[[], Path]
    """Finds the file, fetching it where that is needed; may take long, raises SupplyError."""
    max_bytes: int
    validate_timeout_s: float


class Repository:
    """Loads and unloads the one model of a data plane; belongs to its loop."""

    def __init__(self, dataplane: DataPlane, source: Source) -> None:
        self._dataplane: Final = dataplane
        self._source: Final = source
        self._turn: Final = asyncio.Lock()
        self._begun = 0
        self._done = 0
        self._good: Final = {dataplane.config.digest}
        self.failure = ""
        """Why the last load failed; empty after a good one."""

    async def load(self) -> None:
        """Serve what the file holds now; the same bytes again change nothing.

        Raises:
            LoadFailed: the file cannot be served; what was served goes on.
            ModelNotReady: the server is draining.
        """
        ticket = self._begun + 1
        async with self._turn:
            if self._done < ticket:
                self._begun = number = self._begun + 1
                self.failure = await self._attempt()
                self._done = number
            if self.failure:
                raise LoadFailed(self.failure)

    async def unload(self) -> None:
        """Answer what has begun, then let the model go.

        Raises:
            ModelNotReady: the server is draining.
        """
        async with self._turn:
            self._check_open()
            await self._dataplane.unload()
            log.info("unloaded", extra={"model": self._dataplane.config.name})

    async def _attempt(self) -> str:
        """Load once; what went wrong, or nothing."""
        self._check_open()
        name = self._dataplane.config.name
        try:
            await self._load()
        except SupplyError as err:
            log.warning("load failed", extra={"model": name, "cause": str(err)})
            kept = "the one before goes on" if self._dataplane.loaded else "none is loaded"
            return f"model {shown(name)}: cannot be loaded, {kept}; {err}"
        return ""

    async def _load(self) -> None:
        found = await in_thread(self._found)
        if self._is_served(found[1]):
            return
        # A copy: the file may change between its check and its load.
        with TemporaryDirectory(prefix="slipway-") as folder:
            model = Path(folder) / "model.onnx"
            digest = await in_thread(lambda: self._checked(found[0], model))
            if not self._is_served(digest):
                served = await in_thread(lambda: self._rewritten(model))
                await self._dataplane.load(served, Origin(revision_of(digest), digest))
        log.info("loaded", extra={"model": self._dataplane.config.name, "digest": digest})

    def _is_served(self, digest: str) -> bool:
        served = self._dataplane.loaded
        return served is not None and served.origin.digest == digest

    def _found(self) -> tuple[Path, str]:
        model = self._source.locate()
        try:
            return model, file_digest(model)
        except OSError as err:
            raise _unreadable(model, err) from err

    def _checked(self, source: Path, copy: Path) -> str:
        """Copy and check a file, where nothing in it can harm this process; its digest."""
        # Late: it needs onnx, and pods, which have no repository, start without that.
        from slipway_runtime.supply.validate import validated

        with ModelWriter(copy.parent, max_bytes=self._source.max_bytes) as writer:
            try:
                copy_file(source, writer)
            except OSError as err:
                raise _unreadable(source, err) from err
            digest, head = writer.digest, writer.head
            check_digest("model.digest", digest, self._dataplane.config.model.digest, head)
            writer.commit(copy)
        if digest not in self._good:
            validated(copy, timeout_s=self._source.validate_timeout_s)
            self._good.add(digest)
        return digest

    def _rewritten(self, model: Path) -> Path:
        """What is served of a file that was checked."""
        graph = self._dataplane.config.model.optimization.graph
        if not is_rewritten(model, graph):
            return model
        from slipway_runtime.pipeline.process import fuse

        out = fused_file(model)
        timeout_s = self._source.validate_timeout_s
        fuse(model, Pipeline(), out, graph=graph, timeout_s=timeout_s)
        return out

    def _check_open(self) -> None:
        if self._dataplane.is_draining:
            raise ModelNotReady("server is draining; retry elsewhere")


def _unreadable(model: Path, err: OSError) -> NotFound:
    reason = os.strerror(err.errno or 0)
    return NotFound(f"model: {shown(str(model))} cannot be read ({reason})")
