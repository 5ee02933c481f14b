"""What Triton is told about a model: its `config.pbtxt`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_BATCH: int = 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor behind the batch dimension; `datatype` as in `TYPE_FP32`."""

    name: str
    datatype: str
    dims: tuple[int, ...]


def config(name: str, path: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """Describe a model of the python backend: batches of up to 32 without waiting for company."""
    return "\n".join(
        [
            f'name: "{name}"',
            'backend: "python"',
            f"max_batch_size: {MAX_BATCH}",
            f"input [{', '.join(map(_tensor, inputs))}]",
            f"output [{', '.join(map(_tensor, outputs))}]",
            "dynamic_batching { max_queue_delay_microseconds: 0 }",
            "instance_group [{ count: 1, kind: KIND_CPU }]",
            f'parameters {{ key: "path" value {{ string_value: "{path}" }} }}',
            "",
        ]
    )


def _tensor(tensor: Tensor) -> str:
    dims = ", ".join(map(str, tensor.dims))
    return f'{{ name: "{tensor.name}" data_type: TYPE_{tensor.datatype} dims: [{dims}] }}'
