"""Real Sentinel-1 and -2 pixels through payload, statistics, preview and export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from multiband import COLUMNS
from rsdata.inspect.export_geotiff import export_geotiff
from rsdata.inspect.preview import gather
from rsdata.inspect.stats import stats
from rstrain.data.pixels import Reader
from rstrain.data.reading import reading_of
from shards.dataset import Band, DatasetInfo, Member, finish, shard_of
from shards.index import Index, rows_of, table_of, to_bytes
from shards.raster import decode_raster, encode_raster
from shards.sample import Sample, View
from shards.stats import Histogram
from shards.store import Store
from shards.verify import verify
from shards.writer import open_shard

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SEASONS, TINY = SHARED / "s2-seasonal" / "000000", SHARED / "bigearthnet-tiny"
GROUPS = {
    10: ["B02", "B03", "B04", "B08"],
    20: ["B05", "B06", "B07", "B8A", "B11", "B12"],
    60: ["B01", "B09"],
}
NM = {"B02": 492.4, "B03": 559.8, "B04": 664.6}


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def stored(
    folder: Path, views: list[dict[int, np.ndarray]], names: dict[int, list[str]], path: Path
) -> Index:
    """A set of one place from arrays [C, H, W] by resolution; the grid is that of a file."""
    with rasterio.open(path) as file:
        grid = {"crs": str(file.crs), "transform": " ".join(str(v) for v in file.transform[:6])}
    members, shown, histograms = {"json": b"{}"}, [], []
    for i, arrays in enumerate(views):
        own = [f"{i:03d}.b{gsd}.b2nd" for gsd in arrays]
        members |= {n: encode_raster(a) for n, a in zip(own, arrays.values(), strict=True)}
        histograms.append(Histogram.beside([Histogram.of(a.transpose(1, 2, 0)) for a in arrays.values()]))
        height, width = next(iter(arrays.values())).shape[1:]
        shown.append(
            View(
                own[0],
                width,
                height,
                time=f"2015-{7 + i:02d}-01T10:00:00+00:00",
                gsd_m=10.0,
                lon=15.0,
                lat=48.0,
                parts=tuple(own[1:]),
                extra=grid | {"scene": f"scene-{i}"},
            )
        )
    sample = Sample("place", members, tuple(shown))
    store = Store(folder)
    store.make()
    with open_shard(store, "real-000000.tar") as writer:
        rows = rows_of(writer.name, sample, writer.write(sample))
        facts = shard_of(writer.close())
    kinds = [
        Member(
            ending=f"b{gsd}.b2nd",
            dtype=array.dtype.name,
            shape=(array.shape[1], array.shape[2], array.shape[0]),
            bands=[Band(name=name, wavelength_nm=NM.get(name)) for name in names[gsd]],
        )
        for gsd, array in views[0].items()
    ]
    total = Histogram.total(histograms)
    assert total is not None
    info = DatasetInfo(
        name="real",
        source="real",
        members=kinds,
        samples=1,
        views=len(rows),
        splits={"train": len(rows)},
        statistics=total.stats([name for gsd in views[0] for name in names[gsd]]),
        shards=[facts],
        index_bytes=0,
        index_sha256="",
    )
    finish(store, info, to_bytes(table_of(rows, COLUMNS)))
    return Index.open(store)


def passes_through(index: Index, views: list[dict[int, np.ndarray]], folder: Path) -> None:
    assert verify(index.store).ok and stats(index.store).same
    for row, arrays in enumerate(views):
        got = index.read_parts(row, [member.ending for member in index.info.members])
        for data, array in zip(got.values(), arrays.values(), strict=True):
            assert np.array_equal(decode_raster(data), array)
    view = gather(index, places=1, seed=0)
    assert len(view.cards[0].thumbs) == len(views) and all(thumb.jpeg for thumb in view.cards[0].thumbs)
    reader = Reader(index.read_as(reading_of(index.info)))
    levels = np.stack([reader.read(row) for row in range(len(index))])
    assert levels.shape[3] == len(index.info.bands) and np.isfinite(levels).all()
    assert levels.mean() == pytest.approx(127.5, abs=3), "coarse bands are spread over finer pixels"
    assert export_geotiff(index.store, folder / "tif").files == len(views) * len(views[0])


@pytest.mark.skipif(not SEASONS.is_dir(), reason="needs ../shared/data/s2-seasonal")
def test_five_dates_of_one_place(tmp_path: Path) -> None:
    """The download resampled every band to 10 m, so all are one member here."""
    names = [name for group in GROUPS.values() for name in group]
    folders = sorted(SEASONS.iterdir())
    files = [[f / f"B{name[1:].lstrip('0')}.tif" for name in names] for f in folders]
    views = [{10: np.stack([read(path) for path in dated])} for dated in files]
    assert len(views) == 5
    index = stored(tmp_path / "set", views, {10: names}, files[0][0])
    assert index.info.rgb == ("B04", "B03", "B02")
    raw = sum(array.nbytes for view in views for array in view.values())
    assert index.column("length").sum() <= 0.65 * raw
    passes_through(index, views, tmp_path)


@pytest.mark.skipif(not TINY.is_dir(), reason="needs ../shared/data/bigearthnet-tiny")
def test_patches_of_bigearthnet(tmp_path: Path) -> None:
    for folder in sorted((TINY / "s2-tiny").iterdir()):
        at = {name: folder / f"{folder.name}_{name}.tif" for group in GROUPS.values() for name in group}
        views = [{gsd: np.stack([read(at[name]) for name in group]) for gsd, group in GROUPS.items()}]
        out = tmp_path / folder.name
        passes_through(stored(out / "set", views, GROUPS, at["B02"]), views, out)


@pytest.mark.skipif(not TINY.is_dir(), reason="needs ../shared/data/bigearthnet-tiny")
def test_radar_of_bigearthnet(tmp_path: Path) -> None:
    for folder in sorted((TINY / "s1-tiny").iterdir()):
        at = [folder / f"{folder.name}_{name}.tif" for name in ("VV", "VH")]
        views = [{10: np.stack([read(path) for path in at])}]
        assert views[0][10].dtype == np.float32
        out = tmp_path / folder.name
        passes_through(stored(out / "set", views, {10: ["VV", "VH"]}, at[0]), views, out)
