"""Sets of boxes rendered from the planet, each in the layout and the format of a released archive, with true labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from rsdata.sandbox.shot import GSD_M, Outline, Shot, shots
from rsdata.sandbox.world.things import Thing
from shards.codec import encode_jpeg, encode_png

_OBJECTS = ("airport", "port", "storage_tank", "wind_farm")
_HOMES = ("single-unit_residential", "multi-unit_residential")
DIOR = {
    Thing.AIRPLANE: "airplane",
    Thing.SHIP: "ship",
    Thing.STORAGETANK: "storagetank",
    Thing.WINDMILL: "windmill",
}
DOTA = {Thing.AIRPLANE: "plane", Thing.SHIP: "ship", Thing.STORAGETANK: "storage-tank"}
XVIEW = {
    Thing.BUILDING: 73, Thing.AIRPLANE: 13, Thing.SHIP: 40, Thing.STORAGETANK: 86, Thing.WINDMILL: 94,
}  # fmt: skip
CROWDAI = 100
"""Id of CrowdAI's one category."""

_CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")


def write_dior_tree(folder: Path, *, places: int = 8, seed: int = 0, side: int = 256) -> tuple[Shot, ...]:
    """DIOR: JPEG, VOC XML with horizontal and with oriented boxes, lists of the splits; answers what it drew."""
    made = shots(places, seed, side, _OBJECTS)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number, shot in enumerate(made):
        split = "test" if shot.split == "val" else "val" if number % 4 == 1 else "train"
        lists[split].append(shot.name)
        images = "JPEGImages-test" if split == "test" else "JPEGImages-trainval"
        _put(folder / images / f"{shot.name}.jpg", encode_jpeg(shot.pixels))
        for kind, shape in (("Horizontal", _horizontal), ("Oriented", _oriented)):
            path = folder / "Annotations" / f"{kind} Bounding Boxes" / f"{shot.name}.xml"
            _put(path, _voc(shot, DIOR, shape).encode())
    for split, names in lists.items():
        if names:  # a small tree may have no test images
            path = folder / "ImageSets" / "Main" / f"{split}.txt"
            _put(path, "".join(f"{name}\n" for name in names).encode())
    return made


def write_dota_tree(folder: Path, *, places: int = 6, seed: int = 0, side: int = 400) -> tuple[Shot, ...]:
    """DOTA: PNG and text with four corners, a line an object."""
    made = shots(places, seed, side, _OBJECTS[:3])
    for shot in made:
        lines = ["imagesource:sandbox", f"gsd:{GSD_M}"]
        for outline in _of(shot, DOTA):
            corners = " ".join(f"{value:.1f}" for point in outline.turned for value in point)
            lines.append(f"{corners} {DOTA[outline.kind]} 0")
        _put(folder / shot.split / "images" / f"P{shot.name}.png", encode_png(shot.pixels))
        _put(folder / shot.split / "labelTxt" / f"P{shot.name}.txt", "\n".join(lines).encode() + b"\n")
    return made


def write_xview_tree(folder: Path, *, places: int = 6, seed: int = 0, side: int = 400) -> tuple[Shot, ...]:
    """Files of xView: GeoTIFF and one GeoJSON of corners and type ids, among them one that is no class."""
    made = shots(places, seed, side)
    features = []
    for shot in made:
        name = f"{int(shot.name) + 1}.tif"
        write_geotiff(folder / "train_images" / name, shot)
        boxes = [(outline.box, XVIEW[outline.kind]) for outline in _of(shot, XVIEW)]
        for box, type_id in [*boxes, ((4, 4, 9, 9), 75)]:
            facts = {"image_id": name, "type_id": type_id, "bounds_imcoords": ",".join(map(str, box))}
            features.append({"type": "Feature", "geometry": None, "properties": facts})
    _put(
        folder / "xView_train.geojson",
        json.dumps({"type": "FeatureCollection", "features": features}).encode(),
    )
    return made


def write_crowdai_tree(folder: Path, *, places: int = 4, seed: int = 0, side: int = 300) -> tuple[Shot, ...]:
    """CrowdAI: JPEG and COCO JSON with outlines; `bbox` holds what it holds in the release, which is no box."""
    made = shots(places, seed, side, _HOMES)
    for split in ("train", "val"):
        images: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        for shot in made:
            if shot.split != split:
                continue
            number, name = int(shot.name), f"{int(shot.name):012d}.jpg"
            _put(folder / split / "images" / name, encode_jpeg(shot.pixels))
            images.append({"id": number, "file_name": name, "width": side, "height": side})
            for outline in _of(shot, {Thing.BUILDING: CROWDAI}):
                objects.append(_crowdai(outline, number, len(objects)))
        category = {"id": CROWDAI, "name": "building", "supercategory": "building"}
        file = {"info": {}, "images": images, "categories": [category], "annotations": objects}
        _put(folder / split / "annotation.json", json.dumps(file).encode())
    return made


def write_geotiff(path: Path, shot: Shot) -> None:
    """The picture with its place on the ground, striped and not compressed."""
    import rasterio
    from rasterio.transform import from_origin

    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = shot.pixels.shape[:2]
    place = from_origin(shot.grid.x0, shot.grid.y0, shot.grid.res, shot.grid.res)
    shape = {"width": width, "height": height, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", crs=shot.grid.crs, transform=place, **shape) as file:
        file.write(shot.pixels.transpose(2, 0, 1))


def _of(shot: Shot, names: dict[Thing, Any]) -> list[Outline]:
    return [outline for outline in shot.objects if outline.kind in names]


def _voc(shot: Shot, names: dict[Thing, str], shape: Callable[[Outline], str]) -> str:
    height, width = shot.pixels.shape[:2]
    objects = "".join(
        f"<object><name>{escape(names[o.kind])}</name><truncated>0</truncated><difficult>0</difficult>{shape(o)}</object>"
        for o in _of(shot, names)
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{shot.name}.jpg</filename>{size}{objects}</annotation>"


def _horizontal(outline: Outline) -> str:
    left, top, right, bottom = outline.box
    parts = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
    return "<bndbox>" + "".join(f"<{name}>{value}</{name}>" for name, value in parts.items()) + "</bndbox>"


def _oriented(outline: Outline) -> str:
    corners = zip(_CORNERS, outline.turned, strict=True)
    parts = "".join(f"<x_{name}>{x:.1f}</x_{name}><y_{name}>{y:.1f}</y_{name}>" for name, (x, y) in corners)
    return f"<robndbox>{parts}</robndbox><angle>0</angle>"


def _crowdai(outline: Outline, image: int, number: int) -> dict[str, Any]:
    flat = [float(value) for point in outline.rings[0] for value in point]
    left, _, right, _ = outline.box
    lowest, highest = min(flat), max(flat)
    return {
        "id": number,
        "image_id": image,
        "category_id": CROWDAI,
        "iscrowd": 0,
        "segmentation": [flat],
        "bbox": [lowest, left, highest - lowest, right - left],
    }


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
