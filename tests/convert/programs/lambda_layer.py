"""Save a network whose Lambda layer plants a file: `lambda_layer.py MODEL MARKER`.

Runs in the converter's environment. The layer runs whenever the network is asked, so MARKER is
there afterwards; whoever loads MODEL and makes the file again has run the code.
"""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np


def main() -> None:
    """Build, ask once, and save by the file's ending."""
    model, marker = sys.argv[1:]

    # Its default keeps the path in the file, and the body needs no names of this program.
    def planted(x: Any, path: Any = marker) -> Any:
        open(path, "w").close()
        return x

    layer = keras.layers.Lambda(planted, output_shape=(4,))
    network = keras.Sequential([keras.layers.Input((4,)), layer, keras.layers.Dense(2)])
    network(np.zeros((1, 4), np.float32))
    network.save(model)


if __name__ == "__main__":
    main()
