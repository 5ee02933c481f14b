"""Bytes of images, as they should be and as they should not."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from slipway_runtime.errors import InvalidTensor
from slipway_runtime.pipeline.ahead import picture_shape
from slipway_runtime.pipeline.pictures import PictureReader
from slipway_runtime.pipeline.spec import Pipeline

ROWS, COLUMNS = np.mgrid[0:97, 0:131]
PIXELS = np.stack([COLUMNS * 2 % 256, ROWS * 2 % 256, (ROWS + COLUMNS) % 256], -1).astype(np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **options)
    return file.getvalue()


def reader(*steps: Any, **decode: Any) -> PictureReader:
    found = PictureReader.of(pipeline(*steps, **decode))
    assert found is not None
    return found


def pipeline(*steps: Any, **decode: Any) -> Pipeline:
    return Pipeline.model_validate({"preprocess": [{"decodeImage": decode}, *steps]})


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("RGB", "L", "P", "RGBA", "1", "I;16")),
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
    ],
)
def test_every_kind_of_image_becomes_rgb(kind: str, mode: str) -> None:
    file = encoded(kind, Image.fromarray(PIXELS).convert(mode))
    found = reader().read("image", [file])
    wanted = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    assert found.shape == (1, 97, 131, 3)
    assert found.dtype == np.uint8
    assert (found[0] == wanted).all()


def test_images_of_any_size_become_a_batch_of_one_size() -> None:
    small = Image.fromarray(PIXELS[:50, :40])
    steps = ({"resize": {"shortestSide": 24}}, {"centerCrop": {"width": 20, "height": 16}})
    found = reader(*steps).read("image", [encoded("PNG"), encoded("JPEG", small)])
    assert found.shape == (2, 16, 20, 3)
    assert picture_shape(pipeline(*steps)) == (16, 20)
    image = Image.fromarray(PIXELS).resize((32, 24), Image.Resampling.BILINEAR)
    assert (found[0] == np.asarray(image.crop((6, 4, 26, 20)))).all()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is enormous."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


BROKEN_PNG = bytearray(encoded("PNG"))
BROKEN_PNG[60:90] = bytes(30)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(b"", "no image", id="nothing"),
        pytest.param(b"hello" * 20, "no image", id="text"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image", id="svg"),
        pytest.param(encoded("BMP"), "no image", id="a format that is not taken"),
        pytest.param(encoded("GIF"), "no image", id="another one"),
        pytest.param(encoded("JPEG")[:200], "image", id="a cut JPEG"),
        pytest.param(encoded("PNG")[:200], "broken image", id="a cut PNG"),
        pytest.param(bytes(BROKEN_PNG), "broken image", id="a damaged PNG"),
        pytest.param(bomb(40_000, 40_000), "40000 x 40000 pixels", id="a bomb"),
        pytest.param(bomb(2**31 - 1, 2**31 - 1), "image", id="a bomb beyond counting"),
        pytest.param(bomb(0, 5), "image", id="no pixels"),
    ],
)
def test_what_is_no_image_is_refused(file: bytes, expected: str) -> None:
    with pytest.raises(InvalidTensor, match="input 'image': data\\[1\\]") as caught:
        reader().read("image", [encoded("PNG"), file])
    assert expected in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_do_anything_but_read_or_be_refused(noise: bytes, at: int) -> None:
    file = encoded("JPEG")
    try:
        found = reader().read("image", [file[:at] + noise + file[at + len(noise) :]])
    except InvalidTensor:
        return
    assert found.shape[0] == 1


def test_pixels_of_all_images_of_a_request_are_bounded() -> None:
    few = reader({"resize": {"width": 8, "height": 8}}, maxPixels=97 * 131 * 2)
    files = [encoded("PNG")] * 3
    assert few.read("image", files[:2]).shape == (2, 8, 8, 3)
    with pytest.raises(InvalidTensor, match="in all images of a request together"):
        few.read("image", files)


def test_growing_a_tiny_image_is_bounded_too() -> None:
    dot = encoded("PNG", Image.new("RGB", (1, 1)))
    large = reader({"resize": {"width": 8000, "height": 4000}})
    with pytest.raises(InvalidTensor, match="8000 x 4000"):
        large.read("image", [dot] * 2)
    line = encoded("PNG", Image.new("RGB", (60_000, 1)))
    with pytest.raises(InvalidTensor, match="pixels"):
        reader({"resize": {"shortestSide": 4000}}).read("image", [line])


def test_a_crop_of_more_than_there_is_tells_the_remedy() -> None:
    with pytest.raises(InvalidTensor, match="a step resize before centerCrop"):
        reader({"centerCrop": {"width": 500, "height": 10}}).read("image", [encoded("PNG")])


def test_images_of_two_sizes_need_a_resize() -> None:
    with pytest.raises(InvalidTensor, match="131 x 97, 40 x 50"):
        reader().read("image", [encoded("PNG"), encoded("PNG", Image.fromarray(PIXELS[:50, :40]))])
