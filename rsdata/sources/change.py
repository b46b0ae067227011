"""Pairs of images with a mask of what changed, in folders A, B and label: LEVIR-CD and what follows its layout."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rsdata.sources.base import Fetched, FetchError, Item, Listing, read_file
from rsdata.sources.rooted import Rooted
from rsdata.sources.split_files import SPLITS
from shards.errors import ConfigError

if TYPE_CHECKING:
    from shards.dataset import Target

_FOLDERS = ("A", "B", "label")
_CUT = re.compile(r"(_\d{4}){2}\Z")
"""Place of a tile in its scene: `train_386_0512_0768`."""


class Change(Rooted):
    """A before, an after and a mask; a split is a folder or the first word of a name (`train_386_0512_0768.png`)."""

    kind: Literal["change"] = "change"
    gsd_m: float | None = Field(None, gt=0, description="metres a pixel of all images (LEVIR-CD: 0.5)")

    title: ClassVar[str] = "pairs of 8-bit images with masks of changes, in the layout of LEVIR-CD"
    url: ClassVar[str] = "https://justchenhao.github.io/LEVIR/"
    licence: ClassVar[str] = "LEVIR-CD: academic purposes only; else see the archive's page"
    typical_size: ClassVar[str] = "LEVIR-CD: 637 pairs of 1024 px, 2.7 GB"

    def set_targets(self, classes: list[str]) -> list[Target]:
        """The mask."""
        from shards.dataset import Target
        from shards.targets import MASK

        return [Target(member=MASK, classes=["no change", "change"])]

    def listing(self) -> Listing:
        """Every name in A, B and label; one that is not in all three is planned, and fails in sight.

        Raises:
            ConfigError: no such folders, or one that is named as no split.
        """
        root = self.folder()
        parts = [""] if (root / "A").is_dir() else [p for p in _folders(root) if (root / p / "A").is_dir()]
        if not parts:
            raise ConfigError(
                f"{root}: has no folder A; expected A, B and label there, or in train, val and test"
            )
        items: list[Item] = []
        for part in parts:
            at = f"{part}/" if part else ""
            held = [_files(root / f"{at}{folder}") for folder in _FOLDERS]
            for name in sorted(set().union(*held)):
                stem = name.rpartition(".")[0]
                word = part or stem.partition("_")[0]
                if part and part.lower() not in SPLITS:
                    raise ConfigError(f"{root / part}: is named as no split; expected train, val or test")
                split = SPLITS.get(word.lower(), "train")
                items.append(
                    Item(
                        id=at + name,
                        urls=tuple(f"{at}{folder}/{name}" for folder in _FOLDERS),
                        sizes=tuple(sizes.get(name, 0) for sizes in held),
                        split=split,
                        group=at + _CUT.sub("", stem),
                    )
                )
        return Listing(items)

    def fetch(self, item: Item) -> Fetched:
        """Both images and the mask."""
        from rsdata.curate.change_pairs import change_mask
        from rsdata.images import check_image
        from rsdata.sources.members import json_member
        from shards.failures import FailureClass
        from shards.sample import Sample, View
        from shards.stats import Histogram
        from shards.targets import MASK, encode_mask

        root = self.folder()
        data = [read_file(root, url, size) for url, size in zip(item.urls, item.sizes, strict=True)]
        images = [check_image(one) for one in data[:2]]
        mask = change_mask(item.urls[2], data[2])
        sizes = [(image.height, image.width) for image in images]
        if not sizes[0] == sizes[1] == mask.shape:
            raise FetchError(
                FailureClass.INVALID,
                f"{item.id}: A is {sizes[0]}, B {sizes[1]}, the mask {mask.shape} (height, width); they must be equal",
                "check",
            )
        names = [f"{number:03d}.{image.ending}" for number, image in enumerate(images)]
        members = {name: image.data for name, image in zip(names, images, strict=True)}
        members[MASK] = encode_mask(mask)
        members["json"] = json_member(
            {"id": item.id, "split": item.split, "scene": item.group, "changed": round(float(mask.mean()), 6)}
        )
        views = tuple(
            View(
                member=name,
                width=image.width,
                height=image.height,
                split=item.split,
                gsd_m=self.gsd_m,
                source=url,
                licence=self.licence,
            )
            for name, image, url in zip(names, images, item.urls[:2], strict=True)
        )
        notes = {image.note: 1 for image in images if image.note}
        histogram = Histogram.total([image.histogram() for image in images])
        return Fetched(Sample(item.key, members, views), histogram, notes=notes)


def _folders(root: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError as error:
        raise ConfigError(f"{root}: cannot be listed ({error.strerror}); give --root a folder") from None


def _files(folder: Path) -> dict[str, int]:
    """Names and sizes; nothing where there is no such folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {e.name: e.stat().st_size for e in entries if e.is_file() and not e.name.startswith(".")}
