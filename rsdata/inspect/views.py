"""A view as arrays: one for each of its members, and what people see of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import decode, decode_bands
from shards.dataset import Member
from shards.index import Index


def view_members(index: Index, row: int) -> list[tuple[Member | None, NDArray[Any]]]:
    """The arrays [H, W, C] of a view with what dataset.json says of each; None where the set has one kind or another.

    Raises:
        ShardError: damaged bytes.
        ImageError: whole bytes that do not decode.
    """
    members = index.info.members
    several = len(index.info.bands) > len(members[0].bands)
    if not several and not members[0].ending.endswith("b2nd"):
        return [(None, np.asarray(decode(index.table["member"][row].as_py(), index.read(row))))]
    data = index.read_parts(row, [member.ending for member in members])
    return [(m, decode_bands(m.ending, data[m.ending], len(m.bands))) for m in members]


def colours(index: Index, row: int) -> NDArray[Any]:
    """Red, green and blue [H, W, 3] as they are stored, or the first band three times, on the grid of the view.

    Raises:
        ShardError: damaged bytes.
        ImageError: whole bytes that do not decode.
    """
    height, width = (index.table[name][row].as_py() for name in ("height", "width"))
    planes: dict[str, NDArray[Any]] = {}
    for member, pixels in view_members(index, row):
        bands = index.info.bands if member is None else member.bands
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if len(bands) != pixels.shape[2]:  # a grey image of an RGB set
            return np.ascontiguousarray(pixels[..., [0, 1, 2] if pixels.shape[2] >= 3 else [0, 0, 0]])
        planes |= {band.name: pixels[..., place] for place, band in enumerate(bands)}
    names = list(planes)
    shown = index.info.rgb or (names[:3] if len(names) >= 3 else names[:1] * 3)
    return np.stack([_fitted(planes[name], height, width) for name in shown], axis=-1)


def stretched(images: Sequence[NDArray[Any]]) -> list[NDArray[np.uint8]]:
    """The views of a place as people see them, uint8 [H, W, 3]; 8-bit ones as they are.

    Others share one stretch, so that seasons can be compared: black is the 2 % quantile of each band, white lies as far
    above it as the 98 % quantile of the brightest band, and of the views the median counts: a clouded one among them
    does not darken the rest. Ground without contrast (water) is grey, lighter under more haze.
    """
    wide = [image for image in images if image.dtype != np.uint8]
    if wide:
        ends = np.array(
            [np.nanpercentile(image, (2, 50, 98), axis=(0, 1)) for image in wide]
        )  # views, ends, bands
        low, middle, _ = np.median(ends, axis=0)
        span = np.median((ends[:, 2] - ends[:, 0]).max(axis=1))
        apart = 4 * np.median(np.abs(ends[:, 1] - middle).max(axis=1))  # between views, more than within one
        if apart > span:
            low, span = middle - apart / 2, apart
        low, span = low.astype(np.float32), np.float32(max(span, 1e-9))
    out = []
    for image in images:
        if image.dtype != np.uint8:
            level = (image.astype(np.float32) - low) / span * 255
            image = np.nan_to_num(level).clip(0, 255).astype(np.uint8)
        out.append(np.ascontiguousarray(image))
    return out


def _fitted(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    if plane.shape == (height, width):
        return plane
    import cv2

    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_NEAREST))
