"""fMoW: dated views of places of 62 functional classes (Christie et al. 2018), a sample a place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rsdata.sources.base import Fetched, FetchError, Item, Listing, Lost, Source, read_file
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rsdata.curate.fmow_files import Metadata, Place, ViewFile
    from rsdata.images import Image

_CONTEXT = ((0.5, 0.15), (0.4, 0.2), (0.3, 0.3), (0.2, 0.5), (0.1, 1.0), (0.0, 2.0))
"""Box side over image side, from which on: padding of both sides together, as a share of the box side."""


class FMoW(Source):
    """Functional Map of the World in its official layout; all views of a place lie in one sample."""

    kind: Literal["fmow"] = "fmow"
    root: Path = Field(description="folder with train/ and val/")
    metadata_root: Path | None = Field(
        None, description="second tree whose JSON holds the coordinates (the ground truth of the challenge)"
    )
    images: Literal["rgb", "msrgb"] = Field("rgb", description="pan-sharpened images or the smaller msrgb")
    boxes: Literal["crop", "whole", "files"] = Field(
        "crop",
        description="crop: the first box with its context, JPEG q95; whole: the image as it is; "
        "files: the <name>_crop_0.jpg that lie beside the images",
    )
    context_axes: Literal["correct", "baseline"] = Field(
        "correct",
        description="baseline divides the box width by the image height and the other way round, "
        "as the published code does",
    )
    split: Literal["official", "geo"] = Field(
        "official", description="official: the folders; geo: val holds whole grid blocks of the Earth"
    )
    geo_fraction: float = Field(0.3, gt=0, lt=1, description="share of the places in val with --split geo")
    geo_degrees: float = Field(5.0, gt=0, le=90, description="side of a grid block with --split geo, degrees")
    size: int | None = Field(
        None,
        gt=0,
        description="scale the short side down to this many pixels, JPEG q95 (default: native size)",
    )
    max_pixels: int = Field(300_000_000, gt=0, description="refuse images with more pixels")

    title: ClassVar[str] = "functional Map of the World, 62 classes, dated views of places"
    url: ClassVar[str] = "https://github.com/fMoW/dataset"
    licence: ClassVar[str] = "fMoW Challenge Public License"
    access: ClassVar[str] = "none (S3 requester downloads)"
    typical_size: ClassVar[str] = "363,572 train and 53,040 val images, 200 GB as rgb"
    extra_columns: ClassVar[dict[str, str]] = {
        "class_name": "string",
        "location": "string",
        "view": "int32",
        "country": "string",
        "utm": "string",
        "cloud_cover": "float64",
        "box": "string",
    }
    where: ClassVar[frozenset[str]] = frozenset({"root", "metadata_root"})

    def listing(self) -> Listing:
        """Scan the tree and parse its metadata; a view whose metadata is of no use is planned, and fails in sight.

        Raises:
            ConfigError: no tree, an empty class, or nothing to split by geography.
        """
        from rsdata.curate.fmow_files import classes_of, scan, splits_of

        if self.metadata_root is not None and not self.metadata_root.is_dir():
            raise ConfigError(f"{self.metadata_root}: there is no such folder (--metadata-root)")
        classes = classes_of(self.root)
        if not classes:
            raise ConfigError(f"{self.root}: train/ and val/ have no class folders")
        number = {name: label for label, name in enumerate(classes)}
        filled = set()
        items = []
        for split in splits_of(self.root):
            for place in scan(self.root, split, self.images, crops=self.boxes == "files"):
                filled.add(place.class_name)
                items.append(self._item(place, number[place.class_name]))
        for name in classes:
            if name not in filled:
                raise ConfigError(
                    f"{self.root}: the class folder {name!r} has no places; add some or remove the folder"
                )
        notes = Counter(f"places in {item.split}" for item in items)
        return Listing(self._by_geography(items) if self.split == "geo" else items, classes, dict(notes))

    def fetch(self, item: Item) -> Fetched:
        """All views of a place that can be had; the others are `lost`."""
        import json

        from rsdata.sources.members import json_member
        from shards.failures import FailureClass
        from shards.sample import Sample, View
        from shards.stats import Histogram

        facts = json.loads(item.facts)
        lost = [
            Lost(path, FetchError(FailureClass.INVALID, reason, "plan")) for path, reason in facts["strays"]
        ]
        views: list[View] = []
        members: dict[str, bytes] = {}
        kept, histograms, notes = [], [], Counter[str]()
        for url, size, view in zip(item.urls, item.sizes, facts["views"], strict=True):
            try:
                image = self._image(url, size, view)
            except FetchError as error:
                lost.append(Lost(url, error))
                continue
            member = f"{len(views):03d}.{image.ending}"
            extra = {name: view.get(name) for name in self.extra_columns}
            extra |= {"class_name": facts["class_name"], "location": facts["location"]}
            extra["box"] = None if view["box"] is None else json.dumps(view["box"])
            views.append(
                View(
                    member=member,
                    width=image.width,
                    height=image.height,
                    label=item.label,
                    split=item.split,
                    lon=view["lon"],
                    lat=view["lat"],
                    time=view["time"],
                    gsd_m=view["gsd_m"],
                    source=url,
                    licence=self.licence,
                    extra=extra,
                )
            )
            members[member] = image.data
            kept.append({**view, "member": member, "source": url})
            histograms.append(image.histogram())
            notes.update([image.note] if image.note else [])
        if not views:
            raise _all_lost(lost, self.images)
        about = {"id": item.id, "class_name": facts["class_name"], "label": item.label, "split": item.split}
        members["json"] = json_member({**about, "location": facts["location"], "views": kept})
        members["cls"] = str(item.label).encode()
        return Fetched(
            Sample(item.key, members, tuple(views)), Histogram.total(histograms), tuple(lost), dict(notes)
        )

    def _item(self, place: Place, label: int) -> Item:
        import json

        views = [v for v in place.views if self.boxes != "files" or v.box == 0]
        facts = [self._view(view) for view in views]
        sizes = [_size(self.root / view.image) for view in views]
        known = next((f for f in facts if f["error"] is None), None) or {
            "lon": None,
            "lat": None,
            "time": None,
        }
        folder = f"{place.class_name}_{place.location}"
        named = f"{place.split}/{place.class_name}/{folder}" if place.location >= 0 else place.strays[0][0]
        return Item(
            id=named,
            key=f"{place.split}-{folder}" if place.location >= 0 else "",
            urls=tuple(view.image for view in views),
            sizes=tuple(sizes),
            split=place.split,
            label=label,
            group=f"{place.split}/{folder}",
            lon=known["lon"],
            lat=known["lat"],
            time=known["time"],
            facts=json.dumps(
                {
                    "class_name": place.class_name,
                    "location": f"{place.split}/{folder}",
                    "views": facts,
                    "strays": place.strays,
                }
            ),
        )

    def _view(self, view: ViewFile) -> dict[str, Any]:
        """What the metadata say, or why they are of no use (`error`)."""
        facts: dict[str, Any] = {"view": view.view, "error": None, "lon": None, "lat": None, "time": None}
        try:
            meta, (lon, lat) = self._metadata(view.metadata)
        except ValueError as error:
            return facts | {"error": str(error)}
        first = meta.boxes[0].box if meta.boxes else None
        return facts | {
            "lon": lon,
            "lat": lat,
            "time": meta.timestamp,
            "gsd_m": meta.gsd,
            "country": meta.country_code,
            "utm": meta.utm,
            "cloud_cover": meta.cloud_cover,
            "box": first,
        }

    def _metadata(self, path: str) -> tuple[Metadata, tuple[float, float]]:
        """Metadata of a view, and its coordinates: from the second tree where it has the file."""
        from rsdata.curate.fmow_files import parse

        found = []
        for root in (self.metadata_root, self.root):
            if root is not None:
                try:
                    found.append(parse((root / path).read_bytes()))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise ValueError(f"{root / path}: cannot be read ({error.strerror})") from None
        if not found:
            raise ValueError(f"{path}: there is no metadata JSON for this image")
        return found[-1], found[0].lon_lat()

    def _image(self, url: str, size: int, view: dict[str, Any]) -> Image:
        from rsdata.images import check_image, fit
        from shards.failures import FailureClass

        if view["error"] is not None:
            raise FetchError(FailureClass.INVALID, view["error"], "plan")
        image = check_image(read_file(self.root, url, size), max_pixels=self.max_pixels)
        box = None
        if self.boxes == "crop":
            try:
                box = with_context(view["box"], image.width, image.height, axes=self.context_axes)
            except ValueError as error:
                raise FetchError(
                    FailureClass.INVALID, f"{error}; --boxes whole needs no box", "check"
                ) from None
        return fit(image, box=box, size=self.size)

    def _by_geography(self, items: list[Item]) -> list[Item]:
        from dataclasses import replace

        import numpy as np

        from rsdata.curate.splits import geo_blocks

        placed = [item for item in items if item.lon is not None]  # the others fail when they are fetched
        if not placed:
            raise ConfigError(f"{self.root}: no place has coordinates to split by; give --metadata-root")
        lon_lat = np.array([(item.lon, item.lat) for item in placed], np.float64)
        chosen = geo_blocks(*lon_lat.T, degrees=self.geo_degrees, fraction=self.geo_fraction, seed=self.seed)
        val = {item.id for item, held_out in zip(placed, chosen, strict=True) if held_out}
        return [replace(item, split="val" if item.id in val else "train") for item in items]


def with_context(
    box: list[float] | None, width: int, height: int, *, axes: Literal["correct", "baseline"] = "correct"
) -> tuple[int, int, int, int]:
    """A box with its context: the smaller the object, the wider (fMoW baseline, dataFunctions.py:160-225).

    Args:
        box: left, top, width, height in pixels.
        width: of the image, pixels.
        height: of the image, pixels.
        axes: `baseline` takes the image's height for the width of the box and the other way round.

    Returns:
        Left, top, right, bottom, clamped to the image.

    Raises:
        ValueError: no box, one of at most two pixels, or one off the image.
    """
    if box is None or len(box) != 4:
        raise ValueError(f"no box of four numbers in the metadata (found {box!r})")
    left, top, box_width, box_height = (int(number) for number in box)
    if box_width <= 2 or box_height <= 2:
        raise ValueError(f"the box is {box_width} x {box_height} px; at least 3 are needed")
    across, along = (width, height) if axes == "correct" else (height, width)
    pad_x = int(box_width * _share(box_width / across) / 2)
    pad_y = int(box_height * _share(box_height / along) / 2)
    x0, x1 = max(0, left - pad_x), min(width, left + box_width + pad_x)
    y0, y1 = max(0, top - pad_y), min(height, top + box_height + pad_y)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"the box {box} lies outside of the image of {width} x {height} px")
    return x0, y0, x1, y1


def _share(ratio: float) -> float:
    return next(share for least, share in _CONTEXT if ratio >= least)


def _all_lost(lost: list[Lost], images: str) -> FetchError:
    from shards.failures import FailureClass

    if not lost:
        return FetchError(FailureClass.INVALID, f"the place has no {images} image", "plan")
    kinds = [part.error.kind for part in lost]
    kind = FailureClass.TRANSIENT if FailureClass.TRANSIENT in kinds else kinds[0]
    reasons = "; ".join(f"{part.id.rsplit('/', 1)[-1]}: {part.error.reason}" for part in lost[:3])
    more = f"; and {len(lost) - 3} more" if len(lost) > 3 else ""
    return FetchError(kind, f"none of its {len(lost)} views is left: {reasons}{more}", lost[0].error.stage)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # a broken link, or gone since the scan: it fails as gone when it is fetched
