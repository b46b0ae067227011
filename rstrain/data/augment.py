"""What is random about a view, drawn in one place: a pure function of (seed, epoch, sample, view). numpy only.

The worker, the device and the exact mode apply the same numbers. Distributions are torchvision's: RandomResizedCrop
(ten attempts, then the centre), ColorJitter, RandomGrayscale, and MoCo's GaussianBlur.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import permutations
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rstrain.data.config import AugmentConfig
from shards.random import choice, stream, uniform

_BOX, _FLIP, _COLOR, _ORDER = (stream(f"augment/{name}") for name in ("box", "flip", "color", "order"))
_WINDOW, _SOLARIZE = stream("augment/window"), stream("augment/solarize")
_ATTEMPTS = 10
_ORDERS = np.array(list(permutations(range(4))))

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey (ITU-R BT.601), as PIL and torchvision use them."""


class Cut(NamedTuple):
    """Geometry of one view: the crop in shares of the whole image, then what is done to the resized square."""

    top: float
    left: float
    height: float
    width: float
    hflip: bool
    vflip: bool
    turns: int


@dataclass(frozen=True)
class Params:
    """Drawn numbers, each with the shape of the address: [B] or [V, B]."""

    top: Ints
    """Corner and size of the crop, pixels of the frame: the image as `resize` and `center_crop` would leave it."""
    left: Ints
    height: Ints
    width: Ints
    frame_height: Ints
    frame_width: Ints
    frame_top: Ints
    """Where the frame lies in the resized image: its middle with `center_crop`, anywhere with `window`."""
    frame_left: Ints
    resized_height: Ints
    """The image after `resize` and before `center_crop`."""
    resized_width: Ints
    hflip: NDArray[np.bool_]
    vflip: NDArray[np.bool_]
    turns: Ints
    """Quarter turns, counter-clockwise, 0 … 3."""
    brightness: Floats
    """Factors; 1 changes nothing."""
    contrast: Floats
    saturation: Floats
    hue: Floats
    """Full circles."""
    gray: NDArray[np.bool_]
    sigma: Floats
    """Of the blur, pixels of the view; 0 for none."""
    solarize: NDArray[np.bool_]
    gray_first: NDArray[np.bool_]
    order: Ints
    """Which of the 24 orders the four colour operations run in; only the clamps of the exact mode can tell."""

    def __getitem__(self, at: int | tuple[int, ...]) -> Self:
        """The numbers of one view."""
        return type(self)(*(getattr(self, field.name)[at] for field in fields(self)))

    @property
    def box(self) -> Floats:
        """The crop as top, left, height, width in shares of the whole image, [..., 4]."""
        top = (self.top + self.frame_top) / self.resized_height
        left = (self.left + self.frame_left) / self.resized_width
        sides = (self.height / self.resized_height, self.width / self.resized_width)
        return np.stack([top, left, *sides], axis=-1)

    def zoom(self, width: ArrayLike, size: int) -> NDArray[np.float32]:
        """Pixels of the stored image, `width` wide, that one pixel of a view of side `size` spans; left to right."""
        return (self.width * (np.asarray(width) / self.resized_width) / size).astype(np.float32)

    def cuts(self) -> NDArray[np.object_]:
        """A `Cut` for each view, with the shape of the address."""
        numbers = (*np.moveaxis(self.box, -1, 0), self.hflip, self.vflip, self.turns)
        cuts = list(map(Cut, *(np.ravel(column).tolist() for column in numbers)))
        out = np.empty(len(cuts), object)
        for i, cut in enumerate(cuts):  # a slice would take the tuples apart
            out[i] = cut
        return out.reshape(self.top.shape)

    @property
    def operations(self) -> Ints:
        """The colour operations in their order: 0 brightness, 1 contrast, 2 saturation, 3 hue; [..., 4]."""
        return np.asarray(_ORDERS[self.order])

    def folded(self, bands: int = 3) -> NDArray[np.float32]:
        """Colour and blur in few numbers, whatever the order drawn: every operation is linear but for its clamp.

        Three bands, [..., 20]: matrices A and P (3 x 3, row-major), sigma and whether to solarize: a pixel x of an
        image of mean m becomes A x + P m. Hue turns about the grey axis, which at 0, 120 and 240 degrees is what HSV
        does. Other numbers of bands have neither saturation nor hue, [..., 5]: gain, offset (times the mean of all
        bands), whether every band becomes the mean of all (the grey of SSL4EO-S12), sigma and whether to solarize.
        """
        if bands != 3:
            gain, offset = self.brightness * self.contrast, self.brightness * (1 - self.contrast)
            scalars = (gain, offset, self.gray, self.sigma, self.solarize)
            return np.stack(scalars, axis=-1).astype(np.float32)
        eye = np.eye(3)
        gray = np.outer(np.ones(3), LUMA)
        on_pixel = np.where((self.gray & self.gray_first)[..., None, None], gray, eye)
        on_mean = np.zeros((*self.sigma.shape, 3, 3))
        brightness, contrast, saturation = (
            factor[..., None, None] for factor in (self.brightness, self.contrast, self.saturation)
        )
        linear = np.stack(  # of brightness, contrast, saturation, hue: what each does to a pixel …
            [brightness * eye, contrast * eye, saturation * eye + (1 - saturation) * gray, _turn(self.hue)],
            axis=-3,
        )
        for step in np.moveaxis(self.operations, -1, 0):
            matrix = np.take_along_axis(linear, step[..., None, None, None], axis=-3)[..., 0, :, :]
            towards = np.where(
                (step == 1)[..., None, None], (1 - contrast) * gray, 0.0
            )  # … and the mean grey adds
            on_pixel, on_mean = matrix @ on_pixel, matrix @ on_mean + towards @ (on_pixel + on_mean)
        last = np.where((self.gray & ~self.gray_first)[..., None, None], gray, eye)
        flat = [(last @ matrix).reshape(*self.sigma.shape, 9) for matrix in (on_pixel, on_mean)]
        return np.concatenate([*flat, self.sigma[..., None], self.solarize[..., None]], axis=-1).astype(
            np.float32
        )


def _turn(circles: Floats) -> Floats:
    """Rotation of RGB about the grey axis, [..., 3, 3]."""
    angle = 2 * np.pi * circles[..., None, None]
    mean = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    out: Floats = mean + np.cos(angle) * (np.eye(3) - mean) + np.sin(angle) * cross
    return out


def draw(
    config: AugmentConfig,
    seed: int,
    epoch: ArrayLike,
    row: ArrayLike,
    view: ArrayLike,
    *,
    height: ArrayLike,
    width: ArrayLike,
    plain: Sequence[int] = (),
) -> Params:
    """Draw the views at some addresses (arrays broadcast); `height` and `width` are those of the stored images.

    Views whose number is in `plain` are cropped and nothing else.
    """
    number = np.asarray(view)
    active = ~np.isin(number, plain)

    def chance(name: Literal["jitter", "grayscale", "blur", "solarize"]) -> Floats:
        first, other = config.chances(name)
        return np.where(number == 0, first, other) * active

    where = (seed, epoch, row, view)
    resized_h, resized_w = resized(np.asarray(height, np.int64), np.asarray(width, np.int64), config.resize)
    frame_h, frame_w = resized_h, resized_w
    if config.center_crop:
        frame_h, frame_w = (np.minimum(side, config.resize) for side in (resized_h, resized_w))
    frame_top, frame_left = (
        np.rint((whole - part) / 2.0).astype(np.int64)
        for whole, part in ((resized_h, frame_h), (resized_w, frame_w))
    )
    if config.window:
        frame_h = frame_w = np.minimum(np.minimum(resized_h, resized_w), config.window)
        u = uniform(_WINDOW, *where, count=2)
        frame_top = (u[..., 0] * (resized_h - frame_h + 1)).astype(np.int64)
        frame_left = (u[..., 1] * (resized_w - frame_w + 1)).astype(np.int64)
    top, left, box_h, box_w = _crop(config, uniform(_BOX, *where, count=4 * _ATTEMPTS), frame_h, frame_w)
    flip = uniform(_FLIP, *where, count=3)
    u = uniform(_COLOR, *where, count=8)
    jitter = u[..., 0] < chance("jitter")
    return Params(
        top=top,
        left=left,
        height=box_h,
        width=box_w,
        **{
            name: np.broadcast_to(value, top.shape)
            for name, value in (
                ("frame_height", frame_h),
                ("frame_width", frame_w),
                ("frame_top", frame_top),
                ("frame_left", frame_left),
                ("resized_height", resized_h),
                ("resized_width", resized_w),
            )
        },
        hflip=flip[..., 0] < config.hflip * active,
        vflip=flip[..., 1] < config.vflip * active,
        turns=(flip[..., 2] * 4).astype(np.int64) * (config.rotate & active),
        brightness=_factor(jitter, u[..., 1], config.brightness),
        contrast=_factor(jitter, u[..., 2], config.contrast),
        saturation=_factor(jitter, u[..., 3], config.saturation),
        hue=np.where(jitter, (2 * u[..., 4] - 1) * config.hue, 0.0),
        gray=u[..., 5] < chance("grayscale"),
        sigma=np.where(u[..., 6] < chance("blur"), _between(u[..., 7], *config.blur_sigma), 0.0),
        solarize=uniform(_SOLARIZE, *where, count=1)[..., 0] < chance("solarize"),
        gray_first=np.full(top.shape, config.gray_first),
        order=choice(len(_ORDERS), _ORDER, *where),
    )


def resized(height: Ints, width: Ints, short: int) -> tuple[Ints, Ints]:
    """Size after torchvision's `Resize(short)`: the short side becomes `short`, the long one is rounded down; 0 changes nothing."""
    if not short:
        return height, width
    least = np.minimum(height, width)
    return (
        np.where(height <= width, short, short * height // least),
        np.where(width <= height, short, short * width // least),
    )


def _crop(config: AugmentConfig, u: Floats, frame_h: Ints, frame_w: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Top, left, height, width as `RandomResizedCrop.get_params` draws them."""
    low, high = config.ratio
    u = u.reshape(*u.shape[:-1], _ATTEMPTS, 4)
    frame_h, frame_w = (np.broadcast_to(side, u.shape[:-2]) for side in (frame_h, frame_w))
    area = (frame_h * frame_w)[..., None] * _between(u[..., 0], *config.scale)
    ratio = np.exp(_between(u[..., 1], np.log(low), np.log(high)))
    w = np.rint(np.sqrt(area * ratio))
    h = np.rint(np.sqrt(area / ratio))
    fits = (w > 0) & (w <= frame_w[..., None]) & (h > 0) & (h <= frame_h[..., None])
    first = fits.argmax(axis=-1)[..., None]  # of the attempts that fit; 0 where none does

    def chosen(values: Floats) -> Floats:
        return np.take_along_axis(values, first, axis=-1)[..., 0]

    frame_ratio = frame_w / frame_h
    any_fits = fits.any(axis=-1)
    h = np.where(any_fits, chosen(h), np.where(frame_ratio < low, np.rint(frame_w / low), frame_h)).astype(
        np.int64
    )
    w = np.where(any_fits, chosen(w), np.where(frame_ratio > high, np.rint(frame_h * high), frame_w)).astype(
        np.int64
    )
    h, w = np.clip(h, 1, frame_h), np.clip(w, 1, frame_w)
    top = np.where(any_fits, (chosen(u[..., 2]) * (frame_h - h + 1)).astype(np.int64), (frame_h - h) // 2)
    left = np.where(any_fits, (chosen(u[..., 3]) * (frame_w - w + 1)).astype(np.int64), (frame_w - w) // 2)
    return top, left, h, w


def _between(u: Floats, low: float, high: float) -> Floats:
    return low + (high - low) * u


def _factor(jitter: NDArray[np.bool_], u: Floats, strength: float) -> Floats:
    return np.where(jitter, _between(u, max(0.0, 1 - strength), 1 + strength), 1.0)
