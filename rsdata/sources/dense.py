"""What sources of boxes and of masks share: options, splits, tiles, and the sample of an image or tile."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsdata.sources.base import Fetched, FetchError, Item
from rsdata.sources.rooted import Rooted
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rsdata.annotations.found import Facts
    from rsdata.pictures import Picture
    from rsdata.sources.detection_presets import DetectionSet
    from rsdata.sources.segmentation_presets import SegmentationSet
    from shards.dataset import Member

_MOST_TILES = 100_000
"""Of one image: 130,000 x 130,000 px in tiles of 416."""


class Dense(Rooted):
    """Options that sources with boxes and with masks share."""

    images: str = Field("", description="path under the root with named parts: {split}/images/{id}.png")
    split_file: tuple[Path, ...] = Field(
        (), description="lists of images, one a line, named after their splits; give it repeatedly"
    )
    test_fraction: float = Field(0.0, ge=0, lt=1, description="share of the images for test (exact, seeded)")
    val_fraction: float = Field(0.0, ge=0, lt=1, description="share of the images for val (exact, seeded)")
    classes: Path | None = Field(None, description="text file, a class name a line: the order of labels")
    tile_px: int | None = Field(
        None, gt=0, description="cut images into tiles with this side (default: as published)"
    )
    overlap_px: int = Field(0, ge=0, description="what neighbouring tiles share, pixels")
    band_names: tuple[str, ...] = Field(
        (), description="bands of TIFFs that are not 8-bit RGB, in order; stored without loss as .b2nd"
    )
    dtype: Literal["uint8", "uint16", "int16", "float32"] = Field(
        "uint8", description="type of the pixels, with --band-names"
    )
    max_pixels: int = Field(300_000_000, gt=0, description="refuse images with more pixels")
    preset: str | None = Field(None, description="a known archive")

    extra_columns: ClassVar[dict[str, str]] = {
        "image": "string",
        "left": "int32",
        "top": "int32",
        "labels": "list<int32>",
    }
    together: ClassVar[bool] = True  # tiles of one image follow each other, so that it is decoded once
    where: ClassVar[frozenset[str]] = Rooted.where | {
        "classes",
        "split_file",
    }  # what they say is in the plan

    @model_validator(mode="after")
    def _can_be_cut(self) -> Self:
        if self.tile_px is not None and self.overlap_px >= self.tile_px:
            raise ValueError(
                f"overlap_px: tiles of {self.tile_px} px that share {self.overlap_px} never move on; choose fewer"
            )
        if self.dtype != "uint8" and not self.band_names:
            raise ValueError("dtype: is of bands that --band-names names; leave it out for 8-bit RGB")
        if self.split_file and (self.val_fraction or self.test_fraction):
            raise ValueError("split_file: leave out --val-fraction and --test-fraction, the lists decide")
        return self

    @property
    @abstractmethod
    def known(self) -> DetectionSet | SegmentationSet | None:
        """Facts of the preset, if there is one; boxes and masks have a table each."""

    def set_name(self) -> str:
        """Name of the set: that of the preset, if there is one."""
        return self.name or self.preset or self.kind

    def set_licence(self) -> str:
        """Licence of the preset; a folder alone does not tell."""
        return self.known.licence if self.known else "unknown"

    def set_attribution(self) -> str:
        """Name and page of the preset."""
        return f"{self.preset}; {self.known.url}" if self.known else super().set_attribution()

    def shard_size(self) -> int | None:
        """Of tiles as many as make about 256 MB; the sizes of files tell nothing of them."""
        if self.tile_px is None or self.samples_per_shard is not None:
            return self.samples_per_shard
        width = {"uint8": 0.4, "uint16": 1.2, "int16": 1.2, "float32": 3.0}[self.dtype]
        return max(1, min(10_000, int(256e6 / (self.tile_px**2 * (len(self.band_names) or 3) * width))))

    def set_members(self) -> list[Member] | None:
        """The bands where it is not 8-bit RGB."""
        if not self.band_names:
            return None
        from rsdata.pictures import members_of

        return members_of(self.band_names, self.dtype)

    def class_list(self) -> list[str]:
        """The names in --classes, else those of the preset; empty: as the annotations have them.

        Raises:
            ConfigError: it cannot be read, names none, or one twice.
        """
        if self.classes is None:
            return list(self.known.classes) if self.known else []
        from rsdata.sources.split_files import read_lines

        names = [line for line in read_lines(self.classes) if line]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ConfigError(f"{self.classes}: {twice[0]!r} stands there twice")
        return names

    def splits_of(
        self, images: dict[str, str | None], lists: list[Path], notes: Counter[str]
    ) -> dict[str, str]:
        """The split of each image: of the lists, else of its path, else by share; what no list names is left out.

        Args:
            images: path of each image -> the split that its path tells.
            lists: lists of the splits.
            notes: where left-out images are counted.
        """
        from rsdata.sources.patterns import counted, shares
        from rsdata.sources.split_files import read_names

        if lists:
            named = read_names(lists)
            out, used = {}, set()
            for path in images:
                name = path.rsplit("/", 1)[-1]
                known = next((n for n in (path, name, name.rsplit(".", 1)[0]) if n in named), None)
                if known is not None:
                    out[path] = named[known]
                    used.add(known)
            counted(
                notes, "names in the lists of splits without an annotated image", len(named.keys() - used)
            )
            counted(notes, "images left out: in no list of a split", len(images) - len(out))
            return out
        told = {path: split for path, split in images.items() if split is not None}
        if told:
            if self.val_fraction or self.test_fraction:
                raise ConfigError(
                    f"{self.root}: its folders tell the splits; leave out --val-fraction and --test-fraction"
                )
            return told
        return shares(images, val=self.val_fraction, test=self.test_fraction, seed=self.seed)


def lists_of(folder: Path, given: tuple[Path, ...], pattern: str) -> list[Path]:
    """The lists of splits: those that are given, else those that a preset's archive holds, where it holds any."""
    if given or not pattern:
        return list(given)
    from rsdata.sources.split_files import SPLITS

    found = [folder / pattern.replace("{split}", name) for name in dict.fromkeys(SPLITS.values())]
    return [path for path in found if path.is_file()]


def tile_id(path: str, window: tuple[int, int, int, int] | None) -> str:
    """The id of an item: the path of its image, with the corner of the tile before the ending."""
    if window is None:
        return path
    stem, dot, ending = path.rpartition(".")
    return f"{stem or ending}-{window[0]}-{window[1]}{dot}{ending if stem else ''}"


def check_grid(width: int, height: int, step: int) -> None:
    """Refuse to cut an image that has no pixels, or more tiles than anybody wants: annotations and headers may lie.

    Raises:
        FetchError: either.
    """
    from shards.failures import FailureClass

    if width < 1 or height < 1:
        raise FetchError(FailureClass.INVALID, f"its annotation is for {width} x {height} px", "plan")
    if (count := -(-width // step) * -(-height // step)) > _MOST_TILES:
        raise FetchError(
            FailureClass.REFUSED,
            f"{width} x {height} px make {count:,} tiles; at most {_MOST_TILES:,} are cut (--tile-px)",
            "plan",
        )


def check_size(facts: Facts, whole: tuple[int, int]) -> None:
    """Refuse annotations of an image of another size: they would lie beside their objects.

    Raises:
        FetchError: the sizes differ.
    """
    from shards.failures import FailureClass

    if facts.width and whole != (facts.width, facts.height):
        raise FetchError(
            FailureClass.INVALID,
            f"is {whole[0]} x {whole[1]} px; its annotation is for {facts.width} x {facts.height} px",
            "check",
        )


def sample_of(
    item: Item,
    picture: Picture,
    targets: Mapping[str, bytes],
    *,
    window: tuple[int, int, int, int] | None,
    labels: list[int],
    notes: Counter[str],
    gsd_m: float | None,
    licence: str,
) -> Fetched:
    """An image or tile with its targets; `labels` are the classes that occur in it."""
    from rsdata.sources.members import json_member
    from shards.sample import Sample, View

    about = {"id": item.id, "image": item.urls[0], "split": item.split, "window": window, "labels": labels}
    left, top = (window or (0, 0))[:2]
    view = View(
        member=picture.member,
        width=picture.width,
        height=picture.height,
        split=item.split,
        lon=picture.lon,
        lat=picture.lat,
        gsd_m=gsd_m,
        source=item.urls[0],
        licence=licence,
        extra={"image": item.urls[0], "left": left, "top": top, "labels": labels},
    )
    notes = notes + Counter([picture.note] if picture.note else [])
    members = {picture.member: picture.data, **targets, "json": json_member(about)}
    return Fetched(Sample(item.key, members, (view,)), picture.histogram, notes=+notes)
