"""Images with boxes: DIOR, DOTA, xView, CrowdAI, and whatever comes as COCO JSON, VOC XML or DOTA text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsdata.sources.base import Fetched, FetchError, Item, Listing
from rsdata.sources.dense import Dense, check_grid, check_size, lists_of, sample_of, tile_id
from rsdata.sources.detection_presets import DETECTION, DetectionName, DetectionSet, Format

if TYPE_CHECKING:
    from rsdata.annotations.archive import AnnotatedImage
    from rsdata.annotations.found import Facts
    from rsdata.curate.tiling import Window
    from shards.dataset import Target

_SHARED = 0.25
"""Most that two random tiles have in common, as a share of a tile."""


class Detection(Dense):
    """Images with boxes, and outlines where the archive has them; large images are cut into tiles."""

    kind: Literal["detection"] = "detection"
    preset: DetectionName | None = Field(None, description="a known archive: its layout, classes and tiles")
    format: Format | None = Field(None, description="of the annotations (default: that of the preset)")
    annotations: str = Field(
        "", description="path under the root: of the JSON, or with named parts: labels/{id}.xml"
    )
    windows: int | None = Field(
        None,
        gt=0,
        le=10_000,
        description="instead of a grid this many tiles of an image at random, sharing less than a quarter",
    )
    visible: float = Field(
        0.7, gt=0, le=1, description="share of an object that must lie in a tile to count there"
    )

    title: ClassVar[str] = "images with boxes: COCO JSON, VOC XML, DOTA text, xView GeoJSON"
    url: ClassVar[str] = "a folder, or a URL of an archive"

    @model_validator(mode="before")
    @classmethod
    def _lay_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("preset") not in DETECTION:
            return values
        known = DETECTION[values["preset"]]
        laid: dict[str, Any] = {name: getattr(known, name) for name in ("format", "images", "annotations")}
        if known.tile_px is not None:
            laid |= {
                "tile_px": known.tile_px,
                "overlap_px": known.overlap_px if "tile_px" not in values else 0,
            }
        return {**laid, **values}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.format is None or not self.images or not self.annotations:
            raise ValueError("give --preset, or --format, --images and --annotations")
        if self.windows is not None and (self.tile_px is None or self.overlap_px):
            raise ValueError("windows: needs --tile-px, and no --overlap-px")
        return self

    @property
    def known(self) -> DetectionSet | None:
        """Facts of the preset, if there is one."""
        return DETECTION[self.preset] if self.preset else None

    def set_targets(self, classes: list[str]) -> list[Target]:
        """The boxes."""
        from shards.dataset import Target
        from shards.targets import BOXES

        return [Target(member=BOXES, classes=classes)]

    def listing(self) -> Listing:
        """Read all annotations, and the headers of images where their size is not known and tiles are wanted.

        Raises:
            ConfigError: files that are not there or not of the format, or no images with annotations.
        """
        from rsdata.annotations import archive

        notes: Counter[str] = Counter()
        folder = self.folder()
        assert self.format is not None
        found = archive.read(folder, self.format, self.images, self.annotations, self.class_list())
        lists = lists_of(folder, self.split_file, self.known.lists if self.known else "")
        notes += found.notes
        splits = self.splits_of({image.path: image.split for image in found.images}, lists, notes)
        items = [
            item
            for image in found.images
            if image.path in splits
            for item in self._items(folder, image, splits[image.path])
        ]
        return Listing(items, found.classes, dict(notes))

    def fetch(self, item: Item) -> Fetched:
        """One image or tile with its boxes."""
        from rsdata.annotations.found import Facts, tidy
        from rsdata.curate.tiling import cut
        from rsdata.pictures import read_picture
        from shards.failures import FailureClass
        from shards.targets import BOXES, encode_boxes

        facts = Facts.load(item.facts)
        if facts.error is not None:
            raise FetchError(FailureClass(facts.error[0]), facts.error[1], "plan")
        picture = read_picture(
            self.folder(), item.urls[0], item.sizes[0], window=facts.window, bands=self.band_names,
            dtype=self.dtype, max_pixels=self.max_pixels,
        )  # fmt: skip
        check_size(facts, picture.whole)
        notes = Counter(facts.notes)
        if facts.window is None:
            boxes, changed = tidy(facts.boxes, picture.width, picture.height)
            notes += changed
        else:
            boxes, lost = cut(facts.boxes, facts.window, self.visible)
            notes += Counter({"boxes left out of a tile: too little of them is in it": lost})
        labels = sorted({box.label for box in boxes})
        notes += Counter({"images without objects": int(not boxes)})
        gsd_m = facts.gsd_m or (self.known.gsd_m if self.known else None)
        return sample_of(
            item, picture, {BOXES: encode_boxes(boxes)}, window=facts.window, labels=labels, notes=notes,
            gsd_m=gsd_m, licence=self.set_licence(),
        )  # fmt: skip

    def _items(self, folder: Path, image: AnnotatedImage, split: str) -> Iterator[Item]:
        """The image as an item, or its tiles, or one that says why it cannot be had."""
        from msgspec.structs import replace

        from rsdata.annotations.found import Facts, rows_of, tidy
        from rsdata.curate.tiling import touches
        from rsdata.pictures import size_of

        about, error = image.about, image.error
        width, height = about.width, about.height
        if error is None and self.tile_px is not None:
            try:
                if not width:
                    width, height = size_of(folder / image.path, self.max_pixels)
                check_grid(width, height, self.tile_px - self.overlap_px)
            except FetchError as fault:
                error = (str(fault.kind), fault.reason)
        facts = Facts(width=width, height=height, gsd_m=about.gsd_m, error=error)
        if error is not None or self.tile_px is None:
            told = facts if error else replace(facts, rows=rows_of(about.boxes), notes=dict(about.notes))
            yield self._item(image, split, told)
            return
        boxes, changed = tidy(about.boxes, width, height)
        for number, window in enumerate(self._windows(image.path, width, height)):
            inside = rows_of([box for box in boxes if touches(box, window)])
            notes = (
                dict(changed + Counter(about.notes)) if number == 0 else {}
            )  # an image has each oddity once
            yield self._item(image, split, replace(facts, rows=inside, window=window, notes=notes))

    def _item(self, image: AnnotatedImage, split: str, facts: Facts) -> Item:
        return Item(
            id=tile_id(image.path, facts.window),
            urls=(image.path,),
            sizes=(image.size,),
            split=split,
            group=image.path,
            facts=facts.dump(),
        )

    def _windows(self, path: str, width: int, height: int) -> list[Window]:
        from rsdata.curate.tiling import random_tiles, tiles
        from shards.random import stream

        assert self.tile_px is not None
        if self.windows is None:
            return tiles(width, height, self.tile_px, self.overlap_px)
        key = (stream("detection/windows"), self.seed, stream(path))
        return random_tiles(width, height, self.tile_px, self.windows, _SHARED, *key)
