"""Sets of masks from archive to shards: every way of saying what a pixel is, against what the planet drew."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from dense_trees import SIDE, built, lit, members, same, tree
from image_trees import saved
from PIL import Image as Pillow

from rsdata.build import build
from rsdata.inspect.merge import merge
from rsdata.inspect.preview import gather
from rsdata.plan import make_plan
from rsdata.sandbox.archive_trees import zip_folder
from rsdata.sandbox.hosts.routes import routes
from rsdata.sandbox.segmentation_tree import NO_DATA_PX
from rsdata.sandbox.serve import sandbox
from rsdata.sources.segmentation import Segmentation
from shards.codec import decode, encode_jpeg, encode_png
from shards.errors import ConfigError
from shards.index import Index
from shards.targets import MASK, decode_mask
from shards.verify import verify


def source(root: Path | str, **options: Any) -> Segmentation:
    return Segmentation.build(root=str(root), **options)


def test_a_served_archive_of_pairs(tmp_path: Path) -> None:
    """LoveDA as a zip over HTTP whose connection is cut: 1 … 7 become 0 … 6, and 0 is ignored."""
    folder, shots = tree("loveda")
    trees = {"loveda": lambda out, _seed: zip_folder(folder, out / "loveda.zip")}
    with sandbox(routes=routes(trees), faults=["cut@loveda=first:2"]) as url:
        root = f"{url}/files/loveda/loveda.zip"
        index = built(source(root, preset="loveda", cache=tmp_path / "cache"), tmp_path / "served")
    built(source(folder, preset="loveda"), tmp_path / "local")
    assert same(tmp_path / "served", tmp_path / "local")
    assert index.info.targets[0].member == MASK and index.info.targets[0].classes[6] == "agricultural"
    for image, parts in members(index).items():
        shot = shots[int(Path(image).stem)]
        truth = shot.cover.copy()
        if Path(image).stem == "0":
            truth[:, :NO_DATA_PX] = 255
        assert (decode_mask(parts[MASK]) == truth).all()
        assert parts["png"] == (folder / image).read_bytes()
        assert image.startswith(shot.split.title())

    merge([tmp_path / "served", tmp_path / "local"], tmp_path / "both", prefix=["a", "b"])
    both = Index.open(tmp_path / "both").info
    assert verify(tmp_path / "both").ok and (both.classes, both.targets) == (
        index.info.classes,
        index.info.targets,
    )

    page = gather(index, places=4, seed=0)
    assert page.dense and dict(page.classes)["building"] == sum(
        1 in seen for seen in index.table["labels"].to_pylist()
    )
    assert all("%" in card.found for card in page.cards)


def test_polygons_on_the_ground_cut_into_tiles(tmp_path: Path) -> None:
    """SpaceNet: longitude and latitude to the very pixels, courtyards left open, tiles with their place."""
    folder, shots = tree("spacenet")
    index = built(source(folder, preset="spacenet-buildings", tile_px=80, overlap_px=32), tmp_path / "set")
    assert len(index) == len(shots) * 4
    for tile, parts in members(index).items():
        image, _, corner = tile.partition("@")
        left, top = map(int, corner.split(","))
        shot = shots[int(Path(image).stem.rpartition("img")[2]) - 1]
        truth = np.zeros((SIDE, SIDE), bool)
        for outline in shot.objects:
            truth |= lit(outline.rings, SIDE) & (outline.kind == 1)
        assert (decode_mask(parts[MASK]) == truth[top : top + 80, left : left + 80]).all()
    assert any(1 in labels for labels in index.table["labels"].to_pylist())
    first = index.table.to_pylist()[0]
    shot = shots[int(Path(first["image"]).stem.rpartition("img")[2]) - 1]
    column, row = shot.grid.pixel(first["lon"], first["lat"])
    assert (column, row) == pytest.approx((first["left"] + 40, first["top"] + 40), abs=1e-3)


def test_outlines_of_coco(tmp_path: Path) -> None:
    folder, shots = tree("crowdai")
    index = built(source(folder, preset="crowdai"), tmp_path / "set")
    assert index.info.targets[0].classes == ["background", "building"]
    for image, parts in members(index).items():
        truth = np.zeros((SIDE, SIDE), bool)
        for outline in shots[int(Path(image).stem)].objects:
            truth |= lit(outline.rings[:1], SIDE) & (outline.kind == 1)
        assert (decode_mask(parts[MASK]) == truth).all()


def pair(folder: Path, name: str, image: bytes, mask: bytes | None, *, ending: str = "png") -> None:
    for kind, data, end in (("images", image, "jpg"), ("masks", mask, ending)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        if data is not None:
            (folder / kind / f"{name}.{end}").write_bytes(data)


def classes(folder: Path, *names: str) -> Path:
    path = folder / "classes.txt"
    path.write_text("\n".join(names))
    return path


LABELS = np.kron(np.array([[0, 1], [2, 1]], np.uint8), np.ones((8, 8), np.uint8))
PHOTO = encode_jpeg(np.random.default_rng(2).integers(0, 255, (16, 16, 3), dtype=np.uint8))


def test_every_kind_of_mask_file_says_the_same(tmp_path: Path) -> None:
    """Grey, palette, colours, one bit, coarser: all to the same classes."""
    palette = Pillow.fromarray(LABELS, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    colours = palette.convert("RGB")
    kinds = {
        "grey": (encode_png(LABELS), ""),
        "grey-as-rgb": (encode_png(np.repeat(LABELS[..., None], 3, 2)), ""),
        "sixteen-bit": (encode_png(LABELS.astype(np.uint16) * 300), "0:0,300:1,600:2"),
        "palette": (saved(palette, "PNG"), ""),
        "palette-by-colour": (saved(palette, "PNG"), "#000000:0,#ff0000:1,#0000ff:2"),
        "colours": (saved(colours, "PNG"), "#ff0000:1,#0000ff:2,*:0"),
        "coarse": (encode_png(LABELS[::4, ::4]), ""),
    }
    for name, (data, values) in kinds.items():
        folder = tmp_path / name
        pair(folder, "a", PHOTO, data)
        known = source(
            folder, images="images/{id}.jpg", masks="masks/{id}.png", values=values, scale_masks=name == "coarse",
            classes=classes(folder, "ground", "roof", "pool"),
        )  # fmt: skip
        (item,) = known.listing().items
        assert (decode_mask(known.fetch(item).sample.members[MASK]) == LABELS).all(), name


def test_lists_of_classes_that_are_none(tmp_path: Path) -> None:
    for names, said in (
        ((), "is empty; expected one entry a line"),
        (("a", "b", "a"), "'a' stands there twice"),
    ):
        given = classes(tmp_path, *names)
        with pytest.raises(ConfigError, match=f"{given}: {said}"):
            source(tmp_path, images="a/{id}.png", masks="b/{id}.png", classes=given).listing()


def test_bands_wider_than_eight_bits_stay_whole(tmp_path: Path) -> None:
    """Four bands of 16 bits with a georeference: tiles as .b2nd beside their masks, and a binarised mask."""
    bands = np.random.default_rng(0).integers(0, 4000, (4, 40, 48), dtype=np.uint16)
    mask = np.random.default_rng(1).integers(0, 10, (40, 48), dtype=np.uint8)
    (tmp_path / "in/train").mkdir(parents=True)
    shape = {"width": 48, "height": 40, "count": 4, "dtype": "uint16"}
    place = rasterio.transform.from_bounds(10, 50, 10.1, 50.1, 48, 40)
    with rasterio.open(
        tmp_path / "in/train/a_ms.tif", "w", crs="EPSG:4326", transform=place, **shape
    ) as file:
        file.write(bands)
    (tmp_path / "in/train/a_mask.png").write_bytes(encode_png(mask))
    known = source(
        tmp_path / "in", images="{split}/{id}_ms.tif", masks="{split}/{id}_mask.png", values="1:1,3:1,*:0", tile_px=32,
        classes=classes(tmp_path, "background", "flooded"), dtype="uint16",
        band_names=("blue", "green", "red", "nir"),
    )  # fmt: skip
    index = built(known, tmp_path / "set")
    assert [band.name for band in index.info.bands] == ["blue", "green", "red", "nir"] and len(index) == 4
    for tile, parts in members(index).items():
        left, top = map(int, tile.partition("@")[2].split(","))
        pixels = decode("b2nd", parts["b0.b2nd"])
        assert (pixels == bands[:, top : top + 32, left : left + 32].transpose(1, 2, 0)).all()
        flooded = np.isin(mask[top : top + 32, left : left + 32], (1, 3))
        assert (decode_mask(parts[MASK]) == flooded).all()
    assert gather(index, places=4, seed=0).cards[0].thumbs[0].jpeg, "a preview of 16-bit bands too"
    with pytest.raises(ConfigError, match="--band-names"):
        source(tmp_path, images="a{id}", masks="b{id}", classes=tmp_path, dtype="uint16")


def test_each_fault_of_a_pair_has_its_class(tmp_path: Path) -> None:
    mask, folder = encode_png(LABELS), tmp_path / "in"
    broken = {
        "size": (
            PHOTO,
            encode_png(LABELS[:8]),
            "invalid",
            "the mask is 16 x 8 px, the image 16 x 16; --scale-masks",
        ),
        "value": (PHOTO, encode_png(LABELS + 7), "invalid", "has class 7, and there are 3"),
        "colour": (
            PHOTO,
            encode_png(np.stack([LABELS, LABELS, LABELS + 9], -1)),
            "invalid",
            "--values '#ff0000",
        ),
        "page": (PHOTO, b"<html>", "invalid", "the mask: not an image"),
        "half": (PHOTO, mask[: len(mask) // 2], "invalid", "broken PNG"),
        "photo": (PHOTO[:-20], mask, "invalid", "broken JPEG"),
        "alone": (None, mask, "gone", "no image like images/{id}.jpg"),
    }
    pair(folder, "good", PHOTO, mask)
    pair(folder, "unmasked", PHOTO, None)
    for name, (image, data, _, _) in broken.items():
        pair(folder, name, image or b"", data)
        if image is None:
            (folder / "images" / f"{name}.jpg").unlink()
    known = source(
        folder, images="images/{id}.jpg", masks="masks/{id}.png", classes=classes(tmp_path, "a", "b", "c")
    )
    assert make_plan(known, tmp_path / "set").info.notes == {"images left out: without a mask": 1}
    build(tmp_path / "set", workers=0)
    rows = pq.read_table(tmp_path / "set/failures.parquet").to_pylist()
    failures = {Path(row["item"]).stem: (row["class"], row["reason"]) for row in rows}
    assert failures.keys() == broken.keys()
    for name, (_, _, kind, said) in broken.items():
        assert failures[name][0] == kind and said in failures[name][1] and "\n" not in failures[name][1], (
            failures[name]
        )


def test_polygons_that_cannot_be_placed_fail(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tree("spacenet")[0], tmp_path / "in"))
    stems = sorted(path.stem.removeprefix("Geo_") for path in (folder / "geojson").iterdir())
    (folder / f"geojson/Geo_{stems[0]}.geojson").write_text("{}")
    (folder / f"geojson/Geo_{stems[1]}.geojson").write_text(
        '{"features": [{"geometry": null}, {"geometry": {"type": "Point", "coordinates": [0, 0]}}]}'
    )
    out = io.BytesIO()
    Pillow.fromarray(np.zeros((8, 8, 3), np.uint8)).save(out, "TIFF")
    (folder / f"3band/3band_{stems[2]}.tif").write_bytes(out.getvalue())
    make_plan(source(folder, preset="spacenet-buildings"), tmp_path / "set")
    build(tmp_path / "set", workers=0)
    rows = pq.read_table(tmp_path / "set/failures.parquet").to_pylist()
    reasons = {row["item"].rpartition("_")[2]: (row["class"], row["reason"]) for row in rows}
    (no_features, no_place) = (reasons[stem.rpartition("_")[2] + ".tif"] for stem in (stems[0], stems[2]))
    assert no_features[0] == "invalid" and "no GeoJSON of polygons" in no_features[1]
    assert no_place[0] == "invalid" and "does not tell its place on the ground" in no_place[1]
    index = built(source(folder, preset="spacenet-buildings"), tmp_path / "set")
    assert index.info.notes["features left out: no polygon"] == 2 and len(index) == 2
