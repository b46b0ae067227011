"""What others write — annotations, metadata, lists, URLs — at its worst: it fails in sight, and nothing else does."""

from __future__ import annotations

import json
import shutil
import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dense_trees import built
from image_trees import folder, write_folder
from served_trees import served

from rsdata.annotations import coco_json, masks, xview_geojson
from rsdata.build import build
from rsdata.curate import oscd_files
from rsdata.curate.bigearthnet_files import read_patch
from rsdata.curate.change_pairs import change_mask
from rsdata.curate.season_folders import read_properties, time_of
from rsdata.curate.sn7_places import vertices
from rsdata.fmow import bucket
from rsdata.fmow.metadata import Facts
from rsdata.inspect.merge import merge
from rsdata.plan import make_plan
from rsdata.remote.unpack import unpack
from rsdata.sandbox.archive_trees import zip_folder
from rsdata.sandbox.bigearthnet_tree import write_bigearthnet_tree
from rsdata.sandbox.seco_tree import write_seco_tree
from rsdata.sources import source_of
from rsdata.sources.base import FetchError
from rsdata.sources.detection_presets import DETECTION
from rsdata.sources.presets import PRESETS
from shards.dataset import read_info
from shards.errors import ConfigError, UserError
from shards.failures import FailureClass
from shards.index import Index
from shards.targets import BOXES, decode_boxes, sample_members
from shards.verify import verify


def failures(out: Path) -> dict[str, tuple[str, str]]:
    rows = pq.read_table(out / "failures.parquet").to_pylist()
    return {row["item"]: (row["class"], row["reason"]) for row in rows}


@pytest.mark.parametrize("host", ["files", "s3"])
def test_the_planet_serves_its_trees_and_nothing_else(tmp_path: Path, host: str) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("mine")
    with served(tmp_path / "tree") as planet:
        (planet.folder / "a.txt").write_text("all's")
        assert urllib.request.urlopen(f"{planet.url}/{host}/b/a.txt").read() == b"all's"
        for path in (f"/{secret}", str(secret).replace("/", "%2F"), f"..{secret}", f"x/../../{secret.name}"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{planet.url}/{host}/b/{path}")


NUMBERS = ["nan 1 9 1 9 9 1 9", "1 1 9 1 nan 9 1 9", "1 1 inf 1 9 9 1 9", "2 2 9 2 9 9 2 9"]


@pytest.mark.parametrize("tile_px", [None, 16])
def test_boxes_that_are_no_numbers_are_dropped_and_counted(tmp_path: Path, tile_px: int | None) -> None:
    write_folder(tmp_path / "in", {"images": 1})
    (tmp_path / "in/labels").mkdir()
    lines = "\n".join(f"{corners} ship 0" for corners in NUMBERS)
    (tmp_path / "in/labels/images_0.txt").write_text(lines)
    options = {"kind": "detection", "root": str(tmp_path / "in"), "format": "dota", "tile_px": tile_px}
    index = built(source_of({**options, "images": "images", "annotations": "labels"}), tmp_path / "out")
    assert index.info.notes["boxes dropped: not finite"] == 3
    (box,) = decode_boxes(sample_members(index, 0)[BOXES])
    assert (box.left, box.top, box.right, box.bottom) == (2, 2, 9, 9)


def test_images_that_annotations_make_up_are_not_opened(tmp_path: Path) -> None:
    """Names that lead out of the archive, and sizes of which nobody could cut the tiles."""
    write_folder(tmp_path / "in", {"images": 5})
    shutil.copy(tmp_path / "in/images/images_0.jpg", tmp_path / "secret.jpg")
    sizes = [(24, 24), (10**9, 10**9), (-3, 24), (24, 0), (48, 24)]
    images = [
        {"id": n, "file_name": f"images_{n}.jpg", "width": w, "height": h} for n, (w, h) in enumerate(sizes)
    ]
    images.append({"id": 9, "file_name": "../../secret.jpg", "width": 0, "height": 0})
    boxes = [{"image_id": image["id"], "category_id": 1, "bbox": [1, 1, 5, 5]} for image in images]
    file = {"images": images, "categories": [{"id": 1, "name": "ship"}], "annotations": boxes}
    (tmp_path / "in/boxes.json").write_text(json.dumps(file))
    options: dict[str, Any] = {"root": str(tmp_path / "in"), "images": "images/{file}", "tile_px": 16}
    for kind, own in (
        ("detection", {"format": "coco", "annotations": "boxes.json"}),
        ("segmentation", {"masks_are": "coco", "masks": "boxes.json"}),
    ):
        index = built(source_of({"kind": kind, **options, **own}), tmp_path / kind)
        assert set(index.table["image"].to_pylist()) == {"images/images_0.jpg"}
        found = failures(tmp_path / kind)
        assert found["images/../../secret.jpg"][0] == "refused"
        assert "leaves the folder" in found["images/../../secret.jpg"][1]
        assert found["images/images_1.jpg"][0] == "refused" and "tiles" in found["images/images_1.jpg"][1]
        for name in ("images_2.jpg", "images_3.jpg"):
            assert found[f"images/{name}"][0] == "invalid" and "is for" in found[f"images/{name}"][1]
        wrong = [reason for item, reason in found.items() if item.startswith("images/images_4-")]
        assert wrong and {kind for kind, _ in wrong} == {"invalid"}, "it is smaller than they say"


DEEP = b'{"deep": %s, "features": %s}' % (2 * (b"[" * 100_000 + b"]" * 100_000,))


@pytest.mark.parametrize(
    "reader",
    [
        coco_json.read,
        xview_geojson.read,
        bucket.from_manifest,
        vertices,
        read_properties,
        lambda path: oscd_files.middle(path.parent),
        lambda path: masks.from_geojson(
            path.read_bytes(), crs="EPSG:4326", transform=None, window=(0, 0, 1, 1), names=[], class_property=None
        ),
    ],
)  # fmt: skip
def test_json_without_a_bottom_is_one_sentence(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    path = tmp_path / f"{tmp_path.name}.geojson"
    path.write_bytes(DEEP if reader is not bucket.from_manifest else b"[" * 100_000)
    with pytest.raises((UserError, ValueError)):
        reader(path)


def test_metadata_without_a_bottom_is_of_one_image(tmp_path: Path) -> None:
    assert "malformed" in (Facts.of(DEEP).error or "")
    (tmp_path / "p").mkdir()
    (tmp_path / "p/p_labels_metadata.json").write_bytes(DEEP)
    assert isinstance(read_patch(tmp_path, "p"), str)


def test_seasons_whose_metadata_lie_are_lost_alone(tmp_path: Path) -> None:
    write_seco_tree(tmp_path / "in", places=1, seasons=3)
    (place,) = (tmp_path / "in").iterdir()
    whole, late, cloudy = sorted(path for path in place.iterdir() if path.is_dir())
    for scene, lie in ((late, {"system:time_start": 1e300}), (cloudy, {"CLOUDY_PIXEL_PERCENTAGE": "much"})):
        facts = json.loads((scene / "metadata.json").read_text())
        (scene / "metadata.json").write_text(json.dumps(facts | lie))
    index = built(source_of({"kind": "url", "root": str(tmp_path / "in")}), tmp_path / "out")
    assert index.table["scene"].to_pylist() == [whole.name]
    found = failures(tmp_path / "out")
    assert {kind for kind, _ in found.values()} == {"invalid"} and len(found) == 2
    with pytest.raises(ValueError, match="does not match"):
        time_of("20201399T000000_x", {})


def test_a_manifest_names_each_file_once_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "train/airport/airport_0/airport_0_0_rgb.jpg"
    path = tmp_path / "files.txt"
    path.write_text(f"{name}\nfmow-rgb/{name}\n")
    assert bucket.from_manifest(path) == [(name, None)]
    path.write_text(f"{name}\n2017-11-01 12:00:00 12 fmow-rgb/{name}\n")
    with pytest.raises(UserError, match=r"airport_0_0_rgb\.jpg twice, with None and 12 bytes"):
        bucket.from_manifest(path)
    import bz2

    monkeypatch.setattr(bucket, "_LARGEST_MANIFEST", 1 << 16)
    path.write_bytes(bz2.compress(bytes(1 << 20)))
    with pytest.raises(UserError, match="unpacks to more than 65,536 bytes"):
        bucket.from_manifest(path)


def test_lists_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "paris").mkdir()
    for name in ("train.txt", "paris/dates.txt"):
        (tmp_path / name).write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"train\.txt: cannot be read"):
        oscd_files.splits(tmp_path, ["paris"])
    with pytest.raises(ConfigError, match=r"dates\.txt: cannot be read"):
        oscd_files.dates(tmp_path / "paris")


def test_a_mask_that_is_a_bomb_is_not_decoded() -> None:
    """A PNG of 20,000 million pixels by its header; what follows it is of no interest."""
    size = struct.pack(">IIBBBBB", 200_000, 100_000, 8, 0, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in ((b"IHDR", size), (b"IDAT", bytes(9)), (b"IEND", b""))
    ]
    with pytest.raises(FetchError, match="200000 x 100000 px is more than 300,000,000 pixels") as found:
        change_mask("cm.png", b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert found.value.kind is FailureClass.REFUSED


def test_a_password_is_not_repeated(tmp_path: Path) -> None:
    for root in ("ftp://me:hunter2@example.org/a.zip", "https://me:hunter2@example.org/a.zip"):
        with pytest.raises(
            ConfigError, match=r"ftp:// is not read|must not hold a name and password"
        ) as found:
            folder(root)  # type: ignore[arg-type]
        assert "hunter2" not in str(found.value)


def test_names_that_only_a_list_has_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", {"images": 2, "masks": 2}, ending="png")
    (tmp_path / "train.txt").write_text("images_0\nnobody.png\nno one\n")
    (tmp_path / "classes.txt").write_text("land\nsea\n")
    options = {
        "images": "images/images_{id}.png",
        "masks": "masks/masks_{id}.png",
        "split_file": ["train.txt"],
    }
    config = {"kind": "segmentation", "root": "in", "classes": "classes.txt", **options}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        listing = source_of(config).listing()
    assert [item.urls[0] for item in listing.items] == ["images/images_0.png"]
    assert listing.notes == {
        "images left out: in no list of a split": 1,
        "names in the lists of splits without an annotated image": 2,
    }


def test_splits_beside_other_folders_are_not_taken_for_classes(tmp_path: Path) -> None:
    for beside in ("validation/a", "more/a"):
        root = write_folder(tmp_path / beside[:4], {"train/a": 1, "val/a": 1, beside: 1})
        with pytest.raises(
            ConfigError, match=r"train, val.* are named as splits and hold folders, and 1 more"
        ):
            folder(root).listing()


def test_a_mask_without_its_images_is_planned(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", {"A": 1, "B": 1, "label": 1})
    listing = source_of({"kind": "change", "root": str(tmp_path / "in")}).listing()
    assert [item.id for item in listing.items] == ["A_0.jpg", "B_0.jpg", "label_0.jpg"], "they fail in sight"


def test_where_an_archive_is_kept_does_not_change_its_plan(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"a": 2, "b": 1})
    other = Path(shutil.copytree(root, tmp_path / "other"))
    options = [{}, {"cache": tmp_path / "c"}, {"endpoint": "https://s3.example.org"}]
    for number, own in enumerate(options):
        make_plan(folder(root, **own), tmp_path / f"out-{number}")
        build(tmp_path / f"out-{number}", workers=0)
    assert len({read_info(tmp_path / f"out-{n}").fingerprint for n in range(len(options))}) == 1
    make_plan(folder(other), tmp_path / "out-0")
    (other / "a/a_0.jpg").write_bytes(b"shorter")
    with pytest.raises(
        ConfigError, match=r"another plan: files of the archive have other names or sizes now"
    ):
        make_plan(folder(other), tmp_path / "out-0")


def test_a_preset_is_credited_with_its_own_page(tmp_path: Path) -> None:
    names = PRESETS["optimal-31"].classes
    write_folder(tmp_path / "in", {f"class{n}": 1 for n in range(names)}, side=8)
    make_plan(folder(tmp_path / "in", preset="optimal-31"), tmp_path / "out")
    build(tmp_path / "out", workers=0)
    assert read_info(tmp_path / "out").attribution == f"optimal-31; {PRESETS['optimal-31'].url}"
    dior = source_of({"kind": "detection", "root": "in", "preset": "dior"})
    assert dior.set_attribution() == f"dior; {DETECTION['dior'].url}"


def test_label_vectors_of_other_classes_are_not_mixed(tmp_path: Path) -> None:
    write_bigearthnet_tree(tmp_path / "in", places=3, seed=3)
    for labels in ("19", "43"):
        config = {"kind": "bigearthnet", "root": str(tmp_path / "in"), "labels": labels}
        make_plan(source_of(config), tmp_path / labels)
        build(tmp_path / labels, workers=0)
    with pytest.raises(
        UserError, match=r"has other targets or classes than .*; the numbers in boxes, masks and label"
    ):
        merge([tmp_path / "19", tmp_path / "43"], tmp_path / "no", prefix=["a", "b"])
    assert not (tmp_path / "no").exists()
    merge([tmp_path / "19", tmp_path / "19"], tmp_path / "two", prefix=["a", "b"])
    assert verify(tmp_path / "two").ok
    one, two = Index.open(tmp_path / "19"), Index.open(tmp_path / "two")
    assert two.info.targets == one.info.targets and two.info.classes == one.info.classes
    vectors = dict(zip(one.table["key"].to_pylist(), one.table["labels"].to_pylist(), strict=True))
    for row, (key, labels) in enumerate(
        zip(*(two.table[name].to_pylist() for name in ("key", "labels")), strict=True)
    ):
        old = one.table["key"].to_pylist().index(key[2:])
        assert labels == vectors[key[2:]]
        assert sample_members(two, row)["labels.npy"] == sample_members(one, old)["labels.npy"]


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_unpacking_says_how_far_it_is(tmp_path: Path, kind: str) -> None:
    write_folder(tmp_path / "in", {"a": 20}, side=64)
    archive = tmp_path / "set.zip"
    if kind == "zip":
        zip_folder(tmp_path / "in", archive)
    else:
        archive = Path(shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "in"))
    steps: list[int] = []
    unpack(archive, tmp_path / "out", advance=steps.append)
    size = archive.stat().st_size
    assert len(steps) == 20 and min(steps) >= 0 and 0.8 * size < sum(steps) <= size
