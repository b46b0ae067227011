"""Pixels of any number of bands and any depth as bytes: one Blosc2 array a member, a chunk a band.

The bytes are a contiguous frame of C-Blosc2 with its n-dimensional layer (`b2nd`, little endian): Zstandard at level 1
after the bytes are shuffled and each is subtracted from its neighbour. A band is a chunk of its own, so some bands decode without the others. `docs/payload.md` says why
and reads one in ten lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import ImageError

MAX_VALUES = 300_000_000
"""Pixels times bands; more are refused before anything is decoded."""
DTYPES = ("uint8", "uint16", "int16", "float32")
"""numpy names of the types that a payload may have."""

_MAGIC, _LENGTH_AT = b"\x9e\xa8b2frame\x00", 16
_BLOCK = 1 << 19
"""Bytes of a block at most: what the filters work on at once stays in a core's cache."""


def encode_raster(pixels: NDArray[Any]) -> bytes:
    """Lossless bytes of [C, H, W], the same for the same pixels on any machine with any number of threads.

    Raises:
        ImageError: not three axes, an empty one, too many values, or a type that is not in `DTYPES`.
    """
    _check(pixels.shape, pixels.dtype)
    import blosc2

    _, height, width = pixels.shape
    rows = min(height, max(1, _BLOCK // (width * pixels.itemsize)))
    array = blosc2.asarray(
        np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")),
        chunks=(1, height, width),
        blocks=(1, rows, width),
        contiguous=True,
        cparams={
            "codec": blosc2.Codec.ZSTD,
            "clevel": 1,
            "typesize": pixels.itemsize,
            "filters": [blosc2.Filter.SHUFFLE, blosc2.Filter.BYTEDELTA],
            "filters_meta": [0, pixels.itemsize],
            "splitmode": blosc2.SplitMode.ALWAYS_SPLIT,
            "nthreads": 1,
        },
        dparams={"nthreads": 1},
    )
    return bytes(array.to_cframe())


def decode_raster(data: bytes, bands: Sequence[int] | None = None) -> NDArray[Any]:
    """The array [C, H, W]; with `bands`, these positions only, in this order.

    What the header declares is checked before memory is taken or anything is decompressed.

    Raises:
        ImageError: not such a payload, larger than `MAX_VALUES`, or damaged.
    """
    if data[: len(_MAGIC)] != _MAGIC:
        raise ImageError(f"not an array of bands (begins with {data[:8]!r}; expected a Blosc2 frame)")
    if int.from_bytes(data[_LENGTH_AT : _LENGTH_AT + 8], "big") != len(data):
        raise ImageError(
            f"truncated or damaged array of bands ({len(data):,} bytes; its header says otherwise)"
        )
    import blosc2

    try:
        array = blosc2.ndarray_from_cframe(data)
        _check(array.shape, array.dtype)
        count, height, width = array.shape
        if array.chunks != (1, height, width) or array.schunk.nchunks != count:
            raise ImageError(
                f"an array with chunks {array.chunks}; expected one band a chunk (1, {height}, {width})"
            )
        if bands is None:
            return np.asarray(array[:])
        out = np.empty((len(bands), height, width), array.dtype)
        for place, band in enumerate(bands):
            out[place] = array[band]
        return out
    except (RuntimeError, ValueError, TypeError, SyntaxError) as error:
        raise ImageError(f"damaged array of bands ({error})") from None


def _check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise ImageError(f"pixels of shape {shape}; expected [bands, height, width]")
    if dtype.name not in DTYPES:
        raise ImageError(f"{dtype} pixels; a payload of bands is one of {', '.join(DTYPES)}")
    if shape[0] * shape[1] * shape[2] > MAX_VALUES:
        raise ImageError(
            f"{shape[0]} bands of {shape[1]} x {shape[2]} px are more than {MAX_VALUES:,} values together"
        )
