"""The converting process: `python -m slipway_runtime.convert.child`, a task in, JSON lines out.

It reads the original with its own library, which for pickles means running what they say. Nobody
believes more of its answer than its form; the model it leaves is validated again by others.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import warnings
from time import monotonic
from typing import Any, Final, TextIO

from slipway_runtime.convert.network import cut_off
from slipway_runtime.convert.task import Task
from slipway_runtime.convert.work import work
from slipway_runtime.errors import InvalidModel, SupplyError, clipped
from slipway_runtime.inference.container import cap_memory

_MAX_REASON_BYTES: Final = 600
_NO_NEW_PRIVS: Final = 38
_DIE_WITH_PARENT: Final = 1
_MAX_FILE_BYTES: Final = 32 * 2**30


def main() -> int:
    """Do one task; print its steps and its end."""
    task = Task.model_validate_json(sys.stdin.read())
    open_network = _restrict()
    with _own_output() as output:

        def tell(message: dict[str, Any]) -> None:
            output.write(json.dumps(message) + "\n")
            output.flush()

        if open_network:
            tell({"step": f"not cut off the network ({open_network})"})
        start_s = monotonic()
        tell(_end(task, lambda step: tell({"step": f"{monotonic() - start_s:5.1f} s  {step}"})))
    return 0


def _end(task: Task, progress: Any) -> dict[str, Any]:
    try:
        report = work(task, progress)
    except SupplyError as err:
        return err.told()
    except ModuleNotFoundError as err:
        return {"missing": err.name or str(err)}
    except MemoryError:
        return _refusal("needs more memory than there is; raise the memory limit")
    except Exception as err:  # noqa: BLE001  # whatever a library raises on a model that it cannot read
        text = clipped(" ".join(str(err).split()), _MAX_REASON_BYTES)
        return _refusal(
            f"cannot be read or converted as {task.format} ({type(err).__name__}: {text})"
        )
    return {"report": report.model_dump(by_alias=True, mode="json")}


def _refusal(text: str) -> dict[str, Any]:
    return InvalidModel(f"model: {text}").told()


@contextlib.contextmanager
def _own_output() -> Any:
    """Keep standard output for ourselves: libraries print, and their prints are no JSON."""
    sys.stdout.flush()
    mine: TextIO = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with mine:
        yield mine


def _restrict() -> str:
    """No core dumps, no endless file, no more rights than now, no more memory than there is.

    And no network; returns why there is one, where it cannot be taken away.
    """
    warnings.simplefilter("default")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    libc = ctypes.CDLL(None)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    cap_memory()
    return cut_off()


if __name__ == "__main__":
    sys.exit(main())
