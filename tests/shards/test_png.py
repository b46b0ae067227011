"""Lossless PNG that other readers agree on."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from shards.codec import decode
from shards.png import encode_png

SHAPES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])),
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["uint8", "uint16"]).flatmap(lambda kind: arrays(kind, SHAPES)))
def test_what_is_written_is_read_back(pixels: np.ndarray) -> None:
    data = encode_png(pixels)
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    np.testing.assert_array_equal(decode("png", data), flat)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).dtype == pixels.dtype
    if pixels.dtype == np.uint8:
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(np.asarray(image), flat)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2), np.float32), np.zeros((0, 2), np.uint8), np.zeros(3)],
)
def test_what_a_png_cannot_hold_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pixels"):
        encode_png(pixels)
