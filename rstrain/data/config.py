"""How training reads: which views, which augmentation, how many workers. No torch here, so `--help` stays instant."""

from __future__ import annotations

from typing import Literal, Self

import pydantic
from pydantic import Field

from shards.config import Config

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Of red, green and blue, 0 … 255; the usual .485 .456 .406 and .229 .224 .225 times 255."""
IMAGENET_STD = (58.395, 57.12, 57.375)


class AugmentConfig(Config):
    """Random views of an image; the defaults are those of MoCo-v2 (Chen et al. 2020) on fMoW."""

    size: int = Field(224, ge=8, le=4096, description="side of a view, pixels")
    scale: tuple[float, float] = Field((0.2, 1.0), description="area of the crop, share of the image")
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="width over height of the crop")
    resize: int = Field(
        0, ge=0, description="crop as if the short side had been resized to this, pixels; 0: as stored"
    )
    center_crop: bool = Field(False, description="crop inside the central square of side `resize` only")
    window: int = Field(
        0,
        ge=0,
        description="crop inside a random square of this side, pixels of the image, or of its short side where that is "
        "less; 0: anywhere",
    )
    hflip: float = Field(0.5, ge=0, le=1, description="probability of a mirror image, left to right")
    vflip: float = Field(0.0, ge=0, le=1, description="probability of a mirror image, top to bottom")
    rotate: bool = Field(False, description="turn by 0, 90, 180 or 270 degrees")
    jitter: float = Field(0.8, ge=0, le=1, description="probability of colour jitter")
    brightness: float = Field(0.4, ge=0, description="factor within 1 ± this")
    contrast: float = Field(0.4, ge=0, description="factor within 1 ± this")
    saturation: float = Field(0.4, ge=0, description="factor within 1 ± this; RGB only")
    hue: float = Field(0.1, ge=0, le=0.5, description="turn within ± this, full circles; RGB only")
    grayscale: float = Field(
        0.2, ge=0, le=1, description="probability of grey; bands other than RGB: of their mean"
    )
    gray_first: bool = Field(False, description="grey before colour jitter instead of after it")
    blur: float = Field(0.5, ge=0, le=1, description="probability of a Gaussian blur")
    blur_sigma: tuple[float, float] = Field(
        (0.1, 2.0), description="its standard deviation, pixels of a view"
    )
    solarize: float = Field(0.0, ge=0, le=1, description="probability that values from 128 on are inverted")
    jitter_2: float | None = Field(
        None, ge=0, le=1, description="jitter of every view but the first; left out: the same"
    )
    grayscale_2: float | None = Field(
        None, ge=0, le=1, description="grayscale of every view but the first; left out: the same"
    )
    blur_2: float | None = Field(
        None, ge=0, le=1, description="blur of every view but the first; left out: the same"
    )
    solarize_2: float | None = Field(
        None, ge=0, le=1, description="solarize of every view but the first; left out: the same"
    )
    color: Literal["folded", "exact"] = Field(
        "folded",
        description="folded: one colour matrix and one blur; exact: every resize, crop and colour operation by "
        "torchvision on PIL, as the original scripts, about ten times slower",
    )
    where: Literal["auto", "worker", "device"] = Field(
        "auto", description="who applies colour and blur: the worker, or the device to the whole batch"
    )

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        for name, (low, high), top in (
            ("scale", self.scale, 1.0),
            ("ratio", self.ratio, 1000.0),
            ("blur_sigma", self.blur_sigma, 100.0),
        ):
            if not 0 < low <= high <= top:
                raise ValueError(f"{name}={low:g},{high:g}: expected 0 < first <= second <= {top:g}")
        for name, side in (("resize", self.resize), ("window", self.window)):
            if 0 < side < 8:
                raise ValueError(f"{name}={side}: expected 8 pixels or more, or 0")
        if self.window and self.resize:
            raise ValueError("window is in pixels of the image: leave out resize")
        if self.center_crop and not self.resize:
            raise ValueError("center_crop needs resize: the side of the central square")
        if self.color == "exact" and self.where == "device":
            raise ValueError("color=exact runs in the worker (it is PIL's): use where=auto, or color=folded")
        return self

    def chances(self, name: Literal["jitter", "grayscale", "blur", "solarize"]) -> tuple[float, float]:
        """Probability in the first view, and in the others."""
        first: float = getattr(self, name)
        other: float | None = getattr(self, f"{name}_2")
        return first, first if other is None else other

    def on_device(self, device: str) -> bool:
        """Whether colour and blur are left to the device; `auto` leaves them to any device that is no CPU."""
        if self.where == "auto":
            return self.color == "folded" and not device.startswith("cpu")
        return self.where == "device"


class DataConfig(Config):
    """How rows are paired and read ahead."""

    pairs: Literal["self", "temporal", "seasons"] = Field(
        "self",
        description="self: crops of one image; temporal: the second is another view of the same place, or the same "
        "image where there is no other (geography-aware SSL, section 3.2); seasons: views 0 and 3 are one date, views "
        "1 and 2 two more of the same place, drawn with replacement (SeCo, section 3.2)",
    )
    views: int = Field(2, ge=1, le=16, description="views of a sample in a batch")
    plain: tuple[int, ...] = Field((), description="views that are cropped only: no mirror, colour or blur")
    workers: int | None = Field(
        None,
        ge=0,
        description="processes that decode; 0 reads in the training process (default: cores, at most 8)",
    )
    prefetch: int = Field(2, ge=1, description="batches each worker keeps ready")
    block: int = Field(
        256, ge=1, description="neighbouring samples that move together when the order is mixed"
    )
    window: int = Field(64, ge=1, description="blocks that are mixed with each other")
