"""The bytes of image files become pixels, before the graph: decode, resize and crop by Pillow.

The only door to Pillow, which is an extra: imported for a pipeline that decodes, and late.

ONNX has no decoder that a server may use: that of onnxruntime-extensions ends the process when a
file is no JPEG (decision 0031). What follows the decoding and changes the size belongs here too:
then all images of a batch have one size.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from slipway_runtime.errors import InvalidTensor
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.pipeline.ahead import picture_steps
from slipway_runtime.pipeline.spec import CenterCrop, DecodeImage, Pipeline, Resize

# Our own bound is the user's, is checked before anything is decoded, and says which field it is.
Image.MAX_IMAGE_PIXELS = None
_FORMATS: Final = ("PNG", "JPEG", "WEBP")
_FILTERS: Final = {
    "Nearest": Image.Resampling.NEAREST,
    "Bilinear": Image.Resampling.BILINEAR,
    "Bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True, slots=True)
class PictureReader:
    """Makes pixels of files, as the first steps of a pipeline say."""

    max_pixels: int
    steps: tuple[Any, ...]

    @classmethod
    def of(cls, pipeline: Pipeline) -> PictureReader | None:
        """The reader of a pipeline; None when it decodes nothing."""
        own = picture_steps(pipeline)
        if not own or not isinstance(own[0].step, DecodeImage):
            return None
        return cls(own[0].step.max_pixels, tuple(item.step for item in own[1:]))

    def read(self, name: str, files: Sequence[bytes]) -> Tensor:
        """Read a batch: UINT8 [batch, height, width, 3].

        Raises:
            InvalidTensor: a file is no image, or too large, or another size than the first.
        """
        if not files:
            raise InvalidTensor(f"input {name!r}: no image, expected at least one")
        pixels: list[Tensor] = []
        budget = self.max_pixels
        for number, file in enumerate(files):
            image, spent = self._pixels(f"input {name!r}: data[{number}]", file, budget)
            budget -= max(spent, image.shape[0] * image.shape[1])
            pixels.append(image)
        shapes = {image.shape for image in pixels}
        if len(shapes) > 1:
            sizes = ", ".join(sorted(f"{width} x {height}" for height, width, _ in shapes))
            raise InvalidTensor(
                f"input {name!r}: images of {sizes} pixels, expected one size; "
                "a step resize after decodeImage gives them one"
            )
        return np.stack(pixels)

    def _pixels(self, where: str, file: bytes, budget: int) -> tuple[Tensor, int]:
        """The pixels of a file, and how many it had before they were resized."""
        try:
            with Image.open(io.BytesIO(file), formats=_FORMATS) as found:
                spent = found.width * found.height
                self._check(where, found.size, budget)
                image = found.convert("RGB")
        except UnidentifiedImageError as err:
            raise InvalidTensor(f"{where} is no image, expected {', '.join(_FORMATS)}") from err
        except InvalidTensor:
            raise
        except Exception as err:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
            raise InvalidTensor(f"{where} is a broken image ({type(err).__name__})") from err
        for step in self.steps:
            image = self._changed(where, image, step, budget)
        return np.asarray(image), spent

    def _check(self, where: str, size: tuple[int, int], budget: int) -> None:
        width, height = size
        if width * height > budget:
            raise InvalidTensor(
                f"{where} has {width} x {height} pixels, "
                f"expected at most {self.max_pixels} in all images of a request together"
            )

    def _changed(
        self, where: str, image: Image.Image, step: Resize | CenterCrop, budget: int
    ) -> Image.Image:
        if isinstance(step, CenterCrop):
            return _cropped(where, image, step)
        size = _size(image, step)
        self._check(where, size, budget)
        return image.resize(size, _FILTERS[step.method])


def _size(image: Image.Image, step: Resize) -> tuple[int, int]:
    if step.shortest_side is None:
        return step.width or 1, step.height or 1
    shorter = min(image.size)
    width, height = (side * step.shortest_side // shorter for side in image.size)
    return width, height


def _cropped(where: str, image: Image.Image, step: CenterCrop) -> Image.Image:
    left, top = (image.width - step.width) // 2, (image.height - step.height) // 2
    if left < 0 or top < 0:
        raise InvalidTensor(
            f"{where} has {image.width} x {image.height} pixels, expected at least "
            f"{step.width} x {step.height}; a step resize before centerCrop makes them larger"
        )
    return image.crop((left, top, left + step.width, top + step.height))
