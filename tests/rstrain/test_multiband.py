"""Training on many bands, several resolutions and more than 8 bits: only what is asked for is read, as levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from builders import pattern
from multiband import build_multiband, ground
from rsdata.sensors import SENSORS
from rstrain.config import TrainConfig, config_for
from rstrain.data.augment import Params, draw
from rstrain.data.batch import mean_std
from rstrain.data.config import AugmentConfig, DataConfig
from rstrain.data.evaluation import eval_loader
from rstrain.data.loader import loader
from rstrain.data.photometric import apply_device, apply_worker
from rstrain.data.pixels import Reader
from rstrain.data.reading import reading_of
from rstrain.engine.train import pretrain
from rstrain.evals.base import run_eval
from rstrain.evals.config import KnnConfig
from rstrain.interop.backbone import read_facts
from shards.codec import encode_jpeg
from shards.dataset import Band, DatasetInfo, Member, finish, shard_of
from shards.errors import ConfigError
from shards.index import PARTS, Index, rows_of, table_of, to_bytes
from shards.sample import Sample, View
from shards.stats import BandStats
from shards.store import Store
from shards.verify import verify
from shards.writer import open_shard

S2 = SENSORS["s2-l2a"]
PLACES = [[ground(S2, 10 * place + view) for view in range(3)] for place in range(6)]
LABELS = [0, 1, 0, 1, 0, 1]
SPLITS = ["train"] * 4 + ["test"] * 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("multiband") / "set"
    build_multiband(path, PLACES, labels=LABELS, splits=SPLITS)
    return path


@pytest.fixture
def index(folder: Path) -> Index:
    return Index.open(folder)


def test_levels_are_an_affine_map_of_the_stored_numbers(index: Index) -> None:
    reading = reading_of(index.info, ["B8", "B4"])
    got = Reader(index.read_as(reading)).read(4)
    assert got.shape == (264, 264, 2) and got.dtype == np.float32
    stats = {band.name: band for band in index.info.statistics}
    for place, (name, at) in enumerate((("B8", 3), ("B4", 2))):
        stored = PLACES[1][1][10][at].astype(np.float64)
        expected = (stored - stats[name].mean) / (4 * stats[name].std) * 255 + 127.5
        assert np.abs(got[..., place] - expected).max() < 1e-3
    mean, std = mean_std(index.info, "auto", reading)
    assert mean == pytest.approx((127.5, 127.5)) and std == pytest.approx((63.75, 63.75))


def test_coarse_bands_come_to_the_grid_of_the_view_and_stay_where_they_are(index: Index) -> None:
    """A plane on the ground, sampled at pixel centres of 20 and 60 m, is the same plane on the 10 m grid."""
    bands = ["B2", "B5", "B9"]
    reader = Reader(index.read_as(reading_of(index.info, bands)))
    assert reader._stack is not None
    rows, cols = np.mgrid[0:264, 0:264] + 0.5
    plane = 4 * rows + 7 * cols
    import cv2

    for factor in (2, 6):
        coarse = plane.reshape(264 // factor, factor, 264 // factor, factor).mean(axis=(1, 3))
        fine = cv2.resize(coarse, (264, 264), interpolation=cv2.INTER_LINEAR)
        inner = slice(factor, -factor)
        assert np.abs(fine - plane)[inner, inner].max() < 0.05  # a tenth of a pixel is 0.4 and 0.7
    got = reader.read(0)
    for place, (gsd, at) in enumerate(((10, 0), (20, 0), (60, 1))):
        side = 264 * 10 // gsd
        there = got[..., place].reshape(side, 264 // side, side, 264 // side).mean(axis=(1, 3))
        stored = PLACES[0][0][gsd][at]
        assert np.corrcoef(there.ravel(), stored.ravel())[0, 1] > 0.995


def test_only_the_members_of_the_wanted_bands_are_read(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    original = Index._bytes

    def watch(self: Index, shard: int, offset: int, length: int) -> bytes:
        seen.append((offset, length))
        return original(self, shard, offset, length)

    monkeypatch.setattr(Index, "_bytes", watch)
    places = index.parts(2)
    for bands, endings in (
        (("rgb",), ["b10"]),
        (("B5",), ["b20"]),
        (("B9", "B2"), ["b10", "b60"]),
        ((), ["b10", "b20", "b60"]),
    ):
        seen.clear()
        Reader(index.read_as(reading_of(index.info, bands))).read(2)
        assert seen == [places[f"002.{ending}.b2nd"][:2] for ending in endings]


@pytest.mark.parametrize("stretch", ["sigma", "seco"])
def test_eight_bit_levels(index: Index, stretch: str) -> None:
    got = Reader(index.read_as(reading_of(index.info, ["rgb"], stretch))).read(0)  # type: ignore[arg-type]
    assert got.dtype == np.uint8
    stats = {band.name: band for band in index.info.statistics}
    for place, (name, at) in enumerate((("B4", 2), ("B3", 1), ("B2", 0))):
        band = stats[name]
        low, high = band.quantiles["0.02"], band.quantiles["0.98"]
        if stretch == "sigma":
            low, high = band.mean - 2 * band.std, band.mean + 2 * band.std
        stored = PLACES[0][0][10][at].astype(np.float64)
        expected = ((stored - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        assert np.array_equal(got[..., place], expected)


def test_the_stretch_of_seco_is_the_published_one() -> None:
    """Spec section 8: B4 64 -> 126, B3 50 -> 121, B2 3 -> 0, 45 -> 126, 100 -> 255."""
    ends = {"B4": (0, 129), "B3": (2, 103), "B2": (3, 88)}
    statistics = [
        BandStats(
            name=name, pixels=1, mean=0, std=1, minimum=0, maximum=255, quantiles={"0.02": low, "0.98": high}
        )
        for name, (low, high) in ends.items()
    ]
    info = DatasetInfo(
        name="seco",
        source="test",
        members=[Member(ending="b2nd", dtype="uint16", shape=(1, 1, 3), bands=[Band(name=n) for n in ends])],
        samples=1,
        views=1,
        splits={},
        statistics=statistics,
        shards=[],
        index_bytes=0,
        index_sha256="",
    )
    from rstrain.data.stack import levels

    reading = reading_of(info, stretch="seco")
    for place, stored, level in ((0, 64, 126), (1, 50, 121), (2, 3, 0), (2, 45, 126), (2, 100, 255)):
        assert levels(np.full((1, 1), stored, np.uint16), reading, place).item() == level
        assert levels(np.full((1, 1), stored, np.float32), reading, place).item() == level


def test_radar_in_decibels_is_read_too(tmp_path: Path) -> None:
    s1 = SENSORS["s1-grd"]
    index = build_multiband(tmp_path, [[ground(s1, 1)], [ground(s1, 2)]], sensor="s1-grd")
    pixels, rows = next(eval_loader(index, [1, 0], size=64, batch=2, workers=0))
    assert pixels.shape == (2, 2, 64, 64) and pixels.dtype == torch.float32 and rows.tolist() == [1, 0]
    mean, std = mean_std(index.info)
    assert mean == pytest.approx((127.5, 127.5)) and std == pytest.approx((63.75, 63.75))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("stretch", ["float", "seco"])
def test_batches(index: Index, stretch: str, workers: int) -> None:
    config = AugmentConfig(size=96)
    chosen = index.read_as(reading_of(index.info, stretch=stretch))  # type: ignore[arg-type]
    options = {"batch": 6, "seed": 3, "stop": 2, "workers": workers}
    first = list(loader(DataConfig(pairs="temporal"), config, chosen, **options))  # type: ignore[arg-type]
    again = list(loader(DataConfig(pairs="temporal"), config, chosen, **options))  # type: ignore[arg-type]
    kind = torch.float32 if stretch == "float" else torch.uint8
    for a, b in zip(first, again, strict=True):
        assert a.pixels.shape == (2, 6, 12, 96, 96) and a.pixels.dtype == kind
        assert torch.equal(a.pixels, b.pixels)
        for view in a.views(*mean_std(index.info, "auto", chosen.reading)):
            assert torch.isfinite(view).all() and -3 < view.mean() < 3


@pytest.mark.parametrize("bands", [1, 2, 3, 12])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_worker_and_device_agree_on_any_bands(bands: int, kind: str) -> None:
    config = AugmentConfig(grayscale=0.5, blur=0.5, jitter=0.9, solarize=0.3, size=40)
    n = 48
    params = draw(config, 1, 0, np.arange(n), 0, height=48, width=48)
    rng = np.random.default_rng(0)
    images = rng.normal(120, 50, (n, 40, 40, bands))
    images = images.clip(0, 255).astype(np.uint8) if kind == "uint8" else images.astype(np.float32)
    folded = params.folded(bands)
    here = np.stack([apply_worker(image, f) for image, f in zip(images, folded, strict=True)])
    there = apply_device(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(folded))
    assert here.dtype == images.dtype
    difference = np.abs(here - there.permute(0, 2, 3, 1).numpy())
    if kind == "float32":
        assert difference[~params.solarize].max() < 0.3, "the worker's blur has its sigma to three digits"
        assert difference.max() < 1.5, "solarize has a step of one at 128"
    else:
        assert (difference > 1.5).mean() < 0.002


def test_grey_of_many_bands_is_their_mean() -> None:
    config = AugmentConfig(grayscale=1, blur=0, jitter=0, size=16)
    params: Params = draw(config, 1, 0, np.arange(1), 0, height=48, width=48)
    image = np.random.default_rng(0).uniform(-20, 280, (16, 16, 12)).astype(np.float32)
    grey = apply_worker(image, params.folded(12)[0])
    assert np.allclose(grey, image.mean(axis=2, keepdims=True), atol=1e-3)


def run(folder: Path, out: Path, **options: object) -> Path:
    base = {
        "data": str(folder),
        "arch": "resnet18",
        "stem": "small",
        "epochs": 2,
        "batch": 6,
        "augment": {"size": 32},
        "device": "cpu",
        "workers": 0,
        "method": {"kind": "moco", "queue": 24},
    }
    config = config_for("moco").build("test", **(base | options))
    pretrain(config, out)
    return out / "backbone.safetensors"


def test_a_run_on_all_bands_is_evaluated_as_it_was_trained(folder: Path, tmp_path: Path) -> None:
    facts = read_facts(run(folder, tmp_path / "all"))
    assert facts.bands == 12 and facts.band_names[:5] == ("B2", "B3", "B4", "B8", "B5") and not facts.whole
    facts = read_facts(run(folder, tmp_path / "rgb", bands="B4,B3,B2", stretch="seco"))
    assert facts.bands == 3 and facts.band_names == ("B4", "B3", "B2") and facts.whole
    assert len(facts.low) == len(facts.high) == 3
    for name in ("all", "rgb"):
        where = {"data": str(folder), "checkpoint": str(tmp_path / name), "workers": 0, "device": "cpu"}
        assert 0 <= run_eval(KnnConfig.build("test", k=3, **where)).scores["top1_percent"] <= 100


def test_bands_that_are_not_there(index: Index, folder: Path) -> None:
    with pytest.raises(ConfigError, match="has no band 'B10'; it has B2, B3, B4, B8"):
        reading_of(index.info, ["B10"])
    with pytest.raises(ConfigError, match="names a band twice"):
        reading_of(index.info, ["B4", "B4"])
    radar = index.info.model_copy(
        update={"members": [m for m in index.info.members if m.ending == "b20.b2nd"]}
    )
    with pytest.raises(ConfigError, match="bands=rgb: places has no red, green and blue"):
        reading_of(radar, ["rgb"])
    with pytest.raises(ConfigError, match="holds statistics of 0 bands, not of B4, B3, B2"):
        reading_of(index.info.model_copy(update={"statistics": []}), ["rgb"])
    assert TrainConfig(data="x", bands=("B4,B3", "B2")).bands == ("B4", "B3", "B2")
    exact = AugmentConfig(color="exact")
    with pytest.raises(ConfigError, match="stretch=sigma or seco"):
        chosen = index.read_as(reading_of(index.info, ["rgb"]))
        loader(DataConfig(), exact, chosen, batch=2, seed=0, stop=1)


def test_a_jpeg_for_each_band_is_read_as_8_bit_levels(tmp_path: Path) -> None:
    """The layout of `--legacy`: a grey JPEG a band, coarse ones smaller."""
    sizes = {"B4": 264, "B3": 264, "B5": 132, "B1": 44}
    planes = {name: pattern(at, side, side, 1) for at, (name, side) in enumerate(sizes.items())}
    jpegs = {f"000.{name.lower()}.jpg": encode_jpeg(plane.repeat(3, 2)) for name, plane in planes.items()}
    member, *parts = jpegs
    sample = Sample("0", {"json": b"{}", **jpegs}, (View(member, 264, 264, parts=tuple(parts)),))
    store = Store(tmp_path)
    store.make()
    with open_shard(store, "set-000000.tar") as writer:
        rows = rows_of(writer.name, sample, writer.write(sample))
        facts = shard_of(writer.close())
    info = DatasetInfo(
        name="legacy",
        source="test",
        members=[
            Member(ending=f"{name.lower()}.jpg", shape=(side, side, 1), bands=[Band(name=name)])
            for name, side in sizes.items()
        ],
        samples=1,
        views=1,
        splits={"train": 1},
        shards=[facts],
        index_bytes=0,
        index_sha256="",
    )
    finish(store, info, to_bytes(table_of(rows, {PARTS: pa.string()})))
    index = Index.open(store)
    got = Reader(index.read_as(reading_of(index.info, ["B5", "B4"]))).read(0)
    assert got.shape == (264, 264, 2) and got.dtype == np.uint8
    assert np.abs(got[..., 1].astype(int) - planes["B4"][..., 0]).mean() < 2
    assert verify(tmp_path).ok and Reader(index).read(0).shape == (264, 264, 4)
