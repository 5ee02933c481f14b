"""Write the `*_pb2` modules of the gRPC wires: `python runtime/generate_proto.py [FOLDER]`.

`make proto` runs it; a test compares the result with what is committed.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

from grpc_tools import protoc

ROOT: Final = Path(__file__).resolve().parent
PROTOS: Final = sorted((ROOT / "slipway_runtime/protocols/proto").glob("*.proto"))


def generate(folder: Path) -> None:
    """Write the modules under `folder`, in the same tree as the sources."""
    for proto in PROTOS:
        status = protoc.main(
            [
                "protoc",
                f"-I{ROOT}",
                f"-I{files('grpc_tools') / '_proto'}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                str(proto),
            ]
        )
        if status:
            raise SystemExit(f"{proto.name}: protoc ended with {status}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
