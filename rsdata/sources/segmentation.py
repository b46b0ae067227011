"""Images with masks: LoveDA, FloodNet, SpaceNet buildings, and any pairs, polygons on the ground or COCO outlines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsdata.sources.base import Fetched, FetchError, Item, Listing, read_file
from rsdata.sources.dense import Dense, check_grid, check_size, sample_of, tile_id
from rsdata.sources.segmentation_presets import SEGMENTATION, MaskKind, SegmentationName, SegmentationSet
from shards.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rsdata.annotations.archive import AnnotatedImage
    from rsdata.annotations.found import Facts
    from rsdata.pictures import Picture
    from shards.dataset import Target


class Segmentation(Dense):
    """Images with a class for each pixel: from mask files, or from polygons; large images are cut into tiles."""

    kind: Literal["segmentation"] = "segmentation"
    preset: SegmentationName | None = Field(None, description="a known archive: its layout, classes, values")
    masks: str = Field(
        "", description="path of the mask of an image, with the names of --images: masks/{id}.png"
    )
    masks_are: MaskKind = Field(
        "mask",
        description="mask: images of values; geojson: polygons in longitude and latitude, for GeoTIFFs; coco: outlines "
        "in one JSON, where {file} stands for an image's name",
    )
    values: str = Field(
        "",
        description="meaning of the values of masks: 0:ignore,1:0,2:1 or #ff0000:1,*:0 "
        "(default: they are classes, 255 ignored)",
    )
    scale_masks: bool = Field(
        False, description="masks on a grid of another size are brought to that of the image"
    )
    class_property: str | None = Field(
        None, description="property of a polygon that names its class (default: all are of the second class)"
    )

    title: ClassVar[str] = "images with masks: pairs of files, GeoJSON or COCO polygons"
    url: ClassVar[str] = "a folder, or a URL of an archive"

    @model_validator(mode="before")
    @classmethod
    def _lay_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("preset") not in SEGMENTATION:
            return values
        known = SEGMENTATION[values["preset"]]
        laid = {
            name: getattr(known, name) for name in ("images", "masks", "masks_are", "values", "scale_masks")
        }
        return {**laid, **values}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        from rsdata.annotations.values import Values

        if not self.images or not self.masks:
            raise ValueError("give --preset, or --images and --masks")
        if self.preset is None and self.classes is None and self.masks_are != "coco":
            raise ValueError("classes: is required without --preset: a file with a class name a line")
        if self.masks_are != "mask" and (self.values or self.scale_masks):
            raise ValueError(f"values, scale_masks: are of masks, not of {self.masks_are}; leave them out")
        Values.parse(self.values)
        return self

    @property
    def known(self) -> SegmentationSet | None:
        """Facts of the preset, if there is one."""
        return SEGMENTATION[self.preset] if self.preset else None

    def set_targets(self, classes: list[str]) -> list[Target]:
        """The mask."""
        from shards.dataset import Target
        from shards.targets import MASK

        return [Target(member=MASK, classes=classes)]

    def listing(self) -> Listing:
        """Pair images and masks; reads the outlines of a COCO file, and headers of images that are cut into tiles.

        Raises:
            ConfigError: files that are not there, or that cannot be paired.
        """
        notes: Counter[str] = Counter()
        folder = self.folder()
        names = self.class_list()
        if self.masks_are == "coco":
            images, names = self._outlined(folder, names, notes)
        else:
            images = self._paired(folder, notes)
        splits = self.splits_of(
            {image.path: image.split for image, _ in images}, list(self.split_file), notes
        )
        items = [
            item
            for image, mask in images
            if image.path in splits
            for item in self._items(folder, image, mask, splits[image.path], names)
        ]
        return Listing(items, names, dict(notes))

    def fetch(self, item: Item) -> Fetched:
        """One image or tile with its mask."""
        import numpy as np

        from rsdata.annotations.found import Facts
        from rsdata.pictures import read_picture
        from shards.failures import FailureClass
        from shards.targets import IGNORE, MASK, encode_mask

        facts = Facts.load(item.facts)
        if facts.error is not None:
            raise FetchError(FailureClass(facts.error[0]), facts.error[1], "plan")
        picture = read_picture(
            self.folder(), item.urls[0], item.sizes[0], window=facts.window, bands=self.band_names,
            dtype=self.dtype, max_pixels=self.max_pixels,
        )  # fmt: skip
        check_size(facts, picture.whole)
        try:
            mask, notes = self._mask(item, facts, picture)
        except ValueError as error:
            raise FetchError(FailureClass.INVALID, str(error), "check") from None
        labels = [label for label in np.unique(mask).tolist() if label != IGNORE]
        gsd_m = self.known.gsd_m if self.known else None
        return sample_of(
            item, picture, {MASK: encode_mask(mask)}, window=facts.window, labels=labels, notes=notes, gsd_m=gsd_m,
            licence=self.set_licence(),
        )  # fmt: skip

    def _mask(self, item: Item, facts: Facts, picture: Picture) -> tuple[NDArray[Any], Counter[str]]:
        """Classes [H, W] of what was read."""
        from rsdata.annotations import masks
        from rsdata.annotations.found import tidy
        from rsdata.annotations.values import Values

        width, height = picture.whole
        window = facts.window or (0, 0, width, height)
        if self.masks_are == "coco":
            boxes, changed = tidy(facts.boxes, width, height)
            notes = changed + Counter(facts.notes) if window[:2] == (0, 0) else Counter()
            return masks.from_boxes(boxes, window), notes
        data = read_file(self.folder(), item.urls[1], item.sizes[1])
        if self.masks_are == "geojson":
            return self._from_ground(item, data, window, facts)
        values = Values.parse(self.values)
        found = masks.mask_values(data, colours=values.colours)
        if found.shape != (height, width):
            if not self.scale_masks:
                raise ValueError(
                    f"the mask is {found.shape[1]} x {found.shape[0]} px, the image {width} x {height}; --scale-masks "
                    "brings one that covers the same ground to its grid"
                )
            found = masks.scaled(found, width, height)
        left, top, right, bottom = window
        return values.classes_of(found[top:bottom, left:right], len(facts.names)), Counter()

    def _from_ground(
        self, item: Item, data: bytes, window: tuple[int, int, int, int], facts: Facts
    ) -> tuple[NDArray[Any], Counter[str]]:
        from rsdata.annotations.masks import from_geojson
        from rsdata.pictures import is_tiff, opened

        if not is_tiff(item.urls[0]):
            raise ValueError("polygons on the ground need a GeoTIFF, whose place on the ground is known")
        with opened(self.folder() / item.urls[0]) as file:
            crs, transform = file.crs, file.transform
        if crs is None:
            raise ValueError(
                "the TIFF does not tell its place on the ground (no CRS), so polygons cannot be placed"
            )
        return from_geojson(
            data,
            crs=crs,
            transform=transform,
            window=window,
            names=facts.names,
            class_property=self.class_property,
        )

    def _outlined(
        self, folder: Path, names: list[str], notes: Counter[str]
    ) -> tuple[list[tuple[AnnotatedImage, tuple[str, int] | None]], list[str]]:
        from rsdata.annotations import archive

        found = archive.read(folder, "coco", self.images, self.masks, names[1:])
        notes += found.notes
        return [(image, None) for image in found.images], names or ["background", *found.classes]

    def _paired(
        self, folder: Path, notes: Counter[str]
    ) -> list[tuple[AnnotatedImage, tuple[str, int] | None]]:
        """Images with path and size of their masks; a mask whose image is not there fails when it is fetched."""
        from rsdata.annotations.archive import AnnotatedImage
        from rsdata.annotations.found import Annotated
        from rsdata.sources.patterns import by, counted, find, names_in, split_in

        common = set(names_in(self.images)) & set(names_in(self.masks))
        if not common:
            raise ConfigError(
                f"--images {self.images} and --masks {self.masks}: have no named part in common, such as {{id}}"
            )
        pictures, masks = find(folder, self.images), find(folder, self.masks)
        picture_of, mask_of = by(common, pictures, self.images), by(common, masks, self.masks)
        counted(notes, "images left out: without a mask", len(picture_of.keys() - mask_of.keys()))
        out: list[tuple[AnnotatedImage, tuple[str, int] | None]] = []
        for key, mask in mask_of.items():
            path = picture_of.get(key)
            error = None if path else ("gone", f"{mask}: no image like {self.images} belongs to it")
            parts, size = pictures[path] if path else masks[mask]
            split = split_in(parts, self.images) or split_in(masks[mask][0], self.masks)
            image = AnnotatedImage(path or mask, size, split, Annotated(path or mask), error)
            out.append((image, (mask, masks[mask][1])))
        return out

    def _items(
        self, folder: Path, image: AnnotatedImage, mask: tuple[str, int] | None, split: str, names: list[str]
    ) -> Iterator[Item]:
        from rsdata.annotations.found import Facts, rows_of
        from rsdata.curate.tiling import tiles
        from rsdata.pictures import size_of

        about, error = image.about, image.error
        width, height = about.width, about.height
        windows: list[Any] = [None]
        if error is None and self.tile_px is not None:
            try:
                if not width:
                    width, height = size_of(folder / image.path, self.max_pixels)
                check_grid(width, height, self.tile_px - self.overlap_px)
                windows = list(tiles(width, height, self.tile_px, self.overlap_px))
            except FetchError as fault:
                error = (str(fault.kind), fault.reason)
        rows = rows_of(about.boxes) if error is None else []
        for window in windows:
            notes = (
                dict(about.notes) if not window or window[:2] == (0, 0) else {}
            )  # an image has each oddity once
            facts = Facts(rows, width, height, window=window, names=names, notes=notes, error=error)
            yield Item(
                id=tile_id(image.path, window),
                urls=(image.path,) if mask is None else (image.path, mask[0]),
                sizes=(image.size,) if mask is None else (image.size, mask[1]),
                split=split,
                group=image.path,
                facts=facts.dump(),
            )
