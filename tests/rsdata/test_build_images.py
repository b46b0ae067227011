"""Bad and unusual images: each ends in the set as 8-bit RGB, or in the failures with one plain reason."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from image_trees import folder, pixels, saved, write_folder
from PIL import Image as Pillow

from rsdata.build import build
from rsdata.images import check_image, fit
from rsdata.plan import make_plan
from rsdata.sources.base import FetchError
from shards.codec import decode_rgb, encode_jpeg, encode_png, header
from shards.failures import FailureClass
from shards.index import Index

RGB = pixels(1)
IMAGE = Pillow.fromarray(RGB)
ALPHA = Pillow.merge("RGBA", (*IMAGE.split(), Pillow.new("L", IMAGE.size, 128)))
EXIF_TURNED = Pillow.Exif()
EXIF_TURNED[0x0112] = 6

CONVERTED = {
    "grey": (saved(IMAGE.convert("L"), "JPEG"), "converted: L"),
    "one_bit": (saved(IMAGE.convert("1"), "PNG"), "converted: 1"),
    "palette": (saved(IMAGE.quantize(16), "PNG"), "converted: P"),
    "cmyk": (saved(IMAGE.convert("CMYK"), "JPEG", quality=95), "converted: CMYK"),
    "alpha": (saved(ALPHA, "PNG"), "converted: RGBA with alpha"),
    "tiff": (saved(IMAGE, "TIFF"), "converted: TIFF"),
    "bmp": (saved(IMAGE, "BMP"), "converted: BMP"),
    "rotated": (saved(IMAGE, "JPEG", exif=EXIF_TURNED), "converted: EXIF rotation"),
}
JPEG = encode_jpeg(RGB)
PNG = encode_png(RGB)
LARGE = encode_jpeg(pixels(3, height=256, width=256))
INVALID = {
    "empty": (b"", "the file is empty"),
    "text": (b"<html>404</html>", "not an image"),
    "truncated_jpeg": (LARGE[: len(LARGE) // 2], "broken JPEG"),
    "end_cut_jpeg": (JPEG[:-2], "broken JPEG"),
    "truncated_png": (PNG[: len(PNG) // 2], "broken PNG"),
    "damaged_png": (PNG[:200] + bytes(8) + PNG[208:], "broken PNG"),
    "rgb16_png": (encode_png(RGB.astype(np.uint16) * 257), "16-bit"),
    "grey16_png": (encode_png(RGB[..., 0].astype(np.uint16) * 257), "16-bit"),
    "grey16_tiff": (saved(Pillow.fromarray(RGB[..., 0].astype(np.uint16)), "TIFF"), "16-bit"),
    "float_tiff": (saved(Pillow.fromarray(RGB[..., 0].astype(np.float32)), "TIFF"), "floating-point"),
    "animation": (
        saved(IMAGE, "GIF", save_all=True, append_images=[Pillow.new("RGB", IMAGE.size)]),
        "frames",
    ),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_unusual_image_becomes_rgb_without_loss(name: str) -> None:
    data, note = CONVERTED[name]
    image = check_image(data)
    assert (image.ending, image.note) == ("png", note)
    again = decode_rgb("png", image.data)
    assert (again == image.pixels).all()
    with Pillow.open(io.BytesIO(data)) as original:
        original.load()
        expected = np.asarray(original.convert("RGB"))
    if name == "alpha":  # half transparent over black: half as bright
        assert abs(again.astype(int) - RGB * (128 / 255)).max() <= 1
    elif name == "rotated":  # orientation 6 is shown turned a quarter clockwise
        assert (again == np.rot90(expected, -1)).all()
    else:
        assert (again == expected).all()


def test_rgb_jpeg_and_png_keep_their_bytes() -> None:
    for data, ending in ((JPEG, "jpg"), (PNG, "png")):
        image = check_image(data)
        assert (image.data, image.ending, image.note) == (data, ending, None)
        assert (image.width, image.height) == (32, 24)


@pytest.mark.parametrize("name", INVALID)
def test_bad_image_is_refused_with_a_reason(name: str) -> None:
    data, reason = INVALID[name]
    with pytest.raises(FetchError, match=reason) as error:
        check_image(data)
    assert error.value.kind is FailureClass.INVALID
    assert "\n" not in str(error.value)


def test_pixel_bomb_is_refused_before_it_is_decoded() -> None:
    bomb = saved(Pillow.new("1", (20_000, 20_000)), "PNG")  # 50 kB that would be 1.2 GB as RGB
    with pytest.raises(FetchError, match="--max-pixels") as error:
        check_image(bomb)
    assert error.value.kind is FailureClass.REFUSED
    assert header(bomb, max_pixels=400_000_000).width == 20_000, "our limit holds, not the one of Pillow"


def test_crop_and_size_are_stored_as_jpeg() -> None:
    image = check_image(encode_png(pixels(2, height=64, width=96)))
    small = fit(image, size=32)
    assert (small.ending, small.width, small.height) == ("jpg", 48, 32)
    assert fit(image, size=64) is image, "nothing to change, so nothing is encoded again"
    part = fit(image, box=(10, 20, 40, 60))
    assert (part.width, part.height) == (30, 40)
    assert abs(decode_rgb("jpg", part.data).astype(int) - image.pixels[20:60, 10:40]).mean() < 4


def test_build_keeps_the_good_and_lists_the_bad(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"good": 3, "odd": 1})
    for name, (data, _) in {**CONVERTED, **INVALID}.items():
        (root / "odd" / f"{name}.png").write_bytes(data)
    (root / "odd" / "notes.txt").write_text("x")
    (root / "odd" / ".DS_Store").write_bytes(b"x")
    (root / "odd" / "weird.xyz").write_bytes(b"x")
    (root / "odd" / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    plan = make_plan(folder(root), tmp_path / "out")
    assert plan.info.notes == {"ignored: .DS_Store": 1, "ignored: .txt": 1, "layout: class folders": 2}

    changed, gone = root / "good" / "good_1.jpg", root / "good" / "good_2.jpg"
    changed.write_bytes(changed.read_bytes() + b"x")
    gone.unlink()
    report = build(tmp_path / "out", workers=0)
    assert report.finished and report.samples == 2 + len(CONVERTED)

    failures = {r["item"]: r for r in pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()}
    expected = {f"odd/{name}.png" for name in INVALID} | {"good/good_1.jpg", "good/good_2.jpg"}
    assert failures.keys() == expected | {"odd/weird.xyz", "odd/link.jpg"}
    assert (
        failures["good/good_1.jpg"]["class"] == "invalid"
        and "when planned" in failures["good/good_1.jpg"]["reason"]
    )
    assert failures["good/good_2.jpg"]["class"] == "gone" == failures["odd/link.jpg"]["class"]

    index = Index.open(tmp_path / "out")
    assert index.info.failed == len(failures) and index.info.notes == {
        note: 1 for _, note in CONVERTED.values()
    }
    everything = [decode_rgb(m, index.read(i)) for i, m in enumerate(index.table["member"].to_pylist())]
    counted = np.concatenate([image.reshape(-1, 3) for image in everything]).astype(np.float64)
    assert [band.mean for band in index.info.statistics] == pytest.approx(counted.mean(axis=0))
    assert [band.std for band in index.info.statistics] == pytest.approx(counted.std(axis=0))


def test_members_of_a_sample(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"a": 2, "b": 3})
    make_plan(folder(root), tmp_path / "out")
    build(tmp_path / "out", workers=0)
    with tarfile.open(tmp_path / "out" / "imagefolder-000000.tar") as tar:
        names = tar.getnames()
        members = {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    keys = [name.split(".")[0] for name in names]
    assert keys == [key for key in dict.fromkeys(keys) for _ in range(3)], (
        "members of a sample lie side by side"
    )
    assert sorted(set(keys)) == ["a_a_0", "a_a_1", "b_b_0", "b_b_1", "b_b_2"]
    for key in keys:
        facts = json.loads(members[f"{key}.json"])
        assert int(members[f"{key}.cls"]) == facts["label"] == ["a", "b"].index(facts["class_name"])
        assert members[f"{key}.jpg"] == (root / facts["id"]).read_bytes()
