"""Thresholds of trees, from 64 bits to the 32 that ONNX has. Pure.

LightGBM and scikit-learn's histogram trees compare with 64-bit thresholds. Rounded to nearest, a
threshold can pass a 32-bit input that it did not pass before; rounded down, it divides 32-bit
inputs exactly as the original does:

    threshold 1.2 (64 bit); the input nearest to it, 1.2000000477 (32 bit), is above: it goes right
    nearest 32-bit threshold 1.2000000477: the input is not above, it would go left
    next 32-bit number below, 1.1999999285: the input is above, it goes right
"""

from __future__ import annotations

import numpy as np


def rounded_down(threshold: float) -> float:
    """The largest 32-bit number that is not above a 64-bit one.

    >>> rounded_down(1.2), rounded_down(1.5)
    (1.1999999284744263, 1.5)
    """
    near = np.float32(threshold)
    if float(near) > threshold:
        near = np.nextafter(near, np.float32(-np.inf))
    return float(near)
