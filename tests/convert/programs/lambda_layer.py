"""Save a network whose Lambda layer plants a file: `lambda_layer.py MODEL MARKER`.

Runs in the converter's environment. The layer runs whenever the network is asked, so MARKER is
there afterwards; whoever loads MODEL and makes the file again has run the code.
"""

from __future__ import annotations

import sys

import keras
import numpy as np


def main() -> None:
    """Build, ask once, and save by the file's ending."""
    model, marker = sys.argv[1:]
    # Its code is in the file, with the path as a default; a function's name would be there alone.
    layer = keras.layers.Lambda(
        lambda x, path=marker: (x, open(path, "w").write(""))[0],  # noqa: SIM115  # one expression
        output_shape=(4,),
    )
    network = keras.Sequential([keras.layers.Input((4,)), layer, keras.layers.Dense(2)])
    network(np.zeros((1, 4), np.float32))
    network.save(model)


if __name__ == "__main__":
    main()
