"""Run a model on zeros: the first inference is slow, and some models cannot run at all.

Free dimensions become 1. Where only the batch is free and the inputs are floats, zeros are a
request that the model has to answer. Elsewhere a failure proves nothing: 1 may be a size that it
cannot take, and 0 or an empty word a value (a divisor, a number to parse).
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Final

import numpy as np

from slipway_runtime.errors import InferenceFailed, InvalidModel, InvalidTensor, clipped
from slipway_runtime.inference.datatypes import DTYPES, Tensor
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.inference.signature import Signature, TensorSpec

log: Final = logging.getLogger(__name__)


def warm_up(session: Session, requests: int) -> float | None:
    """Run the model `requests` times on zeros.

    Returns:
        Seconds of the last run; None where none was, or none succeeded.

    Raises:
        InvalidModel: it fails on an input that it has to take.
    """
    feeds = {spec.name: _zeros(spec) for spec in session.signature.inputs}
    outputs = [spec.name for spec in session.signature.outputs]
    took_s = None
    try:
        for _ in range(requests):
            begun_s = perf_counter()
            session.run(feeds, outputs, Cancellation())
            took_s = perf_counter() - begun_s
    except (InferenceFailed, InvalidTensor) as err:
        if _is_certain(session.signature):
            raise InvalidModel(f"model: warm-up on zeros failed ({err})") from err
        log.warning("warm-up skipped", extra={"cause": clipped(str(err), 400)})
    return took_s


def _zeros(spec: TensorSpec) -> Tensor:
    shape = [1 if size == -1 else size for size in spec.shape]
    return np.full(shape, "" if spec.datatype == "BYTES" else 0, DTYPES[spec.datatype])


def _is_certain(signature: Signature) -> bool:
    """Whether zeros with a batch of 1 must work."""
    return all(
        spec.shape and -1 not in spec.shape[1:] and DTYPES[spec.datatype].kind == "f"
        for spec in signature.inputs
    )
