"""Replay of golden/seco_download: places, dates, crops and levels of seasonal-contrast's downloader and data sets."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import rstrain.data.pairs as pairing
from recorded import arrays
from rsdata.curate.bigearthnet_labels import CLASSES_19, CLASSES_43, numbers_19, numbers_43
from rsdata.earthengine.legacy import Corners, centre_crop, cropped_corners, published_affine, to_uint8
from rsdata.places.draw import degrees_of
from rsdata.seasons import period, seasons_of, windows
from rsdata.sources.seco import SeCo
from rstrain.data.stack import levels
from rstrain.methods import SeCoConfig
from shards.index import Index
from shards.reading import Reading


def facts(case: Path) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(Path(f"{case}.json").read_text()))


def corners(values: Any) -> Corners:
    (west, north), (east, south) = values
    return (west, north), (east, south)


def stretched(numbers: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    return levels(numbers, Reading(("band",), (low,), (high,), whole=True), 0)


@pytest.mark.family("seco_download/geometry")
def test_geometry(case: Path) -> None:
    values = facts(case)
    for km, degrees in values["km2deg"]:
        assert degrees_of(km) == pytest.approx(degrees, abs=1e-12)
    for crop in values["center_crop"]:
        height, width = crop["image"]
        image = np.arange(height * width).reshape(height, width)
        cropped = centre_crop(image, *crop["crop"])
        assert list(cropped.shape) == crop["result_shape"]
        assert divmod(int(cropped[0, 0]), width) == (crop["top"], crop["left"])
    for adjusted in values["adjust_coords"]:
        found = cropped_corners(
            corners(adjusted["upper_left_lower_right"]),
            tuple(adjusted["old_h_w"]),
            tuple(adjusted["new_h_w"]),
        )
        assert_allclose(found, adjusted["result"], rtol=0, atol=1e-12)


@pytest.mark.family("seco_download/periods")
def test_periods(case: Path) -> None:
    values = facts(case)
    for one in values["get_period"]:
        assert list(period(datetime.fromisoformat(one["date"]), one["days"])) == one["period"]
    for run in values["reference_dates"]:
        reference = seasons_of(["4w"], run["now"])[0].isoformat()
        middles = SeCo.build(reference=reference).middles()
        assert [middle.isoformat() for middle in middles] == run["dates"]
        spans = windows(middles, days=15, shift_days=run["random_offset_days"])
        assert [list(span) for span in spans] == run["periods"]


@pytest.mark.family("seco_download/patch")
def test_patch(case: Path) -> None:
    values, written = arrays(case), facts(case)
    ring, first = values["in_ring"], str(values["hp_first_band"])
    (west, south), (east, north) = ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
    box: Corners = ((west, north), (east, south))
    for band in (name.removeprefix("in_dn_") for name in values if name.startswith("in_dn_")):
        pixels = values[f"in_dn_{band}"]
        if f"hp_crop_{band}" in values:
            pixels = centre_crop(pixels, *values[f"hp_crop_{band}"].tolist())
        assert_array_equal(to_uint8(pixels)[..., None], values[f"out_{band}"])
    if f"hp_crop_{first}" in values:
        box = cropped_corners(box, values[f"in_dn_{first}"].shape, tuple(values[f"hp_crop_{first}"].tolist()))
    assert_allclose(box, values["out_coords"], rtol=0, atol=1e-12)
    affine = published_affine(box, values[f"out_{first}"].shape)
    assert_allclose(affine, written["geotiff_transform"], rtol=0, atol=1e-12)


@pytest.mark.family("seco_download/lookup_tables")
def test_lookup_tables(case: Path) -> None:
    values = arrays(case)
    every = np.arange(256, dtype=np.uint8)
    assert_array_equal(to_uint8(values["in_dn"]), values["out_uint8"])
    assert_array_equal(stretched(every, 0, 0.3 * 255), values["out_preview"])
    for name, expected in values.items():
        if name.startswith("out_quantile_"):
            low, high = values[name.replace("out_", "hp_")].tolist()
            assert_array_equal(stretched(every, low, high), expected)
        elif name.startswith("out_bigearthnet_"):
            mean, std = values[name.replace("out_bigearthnet_", "hp_bigearthnet_mean_std_")].tolist()
            assert_array_equal(
                stretched(values["in_bigearthnet_dn"], mean - 2 * std, mean + 2 * std), expected
            )


@pytest.mark.family("seco_download/bigearthnet_labels")
def test_bigearthnet_labels(case: Path) -> None:
    values = facts(case)
    assert list(CLASSES_43) == values["labels43"] and list(CLASSES_19) == values["labels19"]
    for one in values["single"]:
        assert numbers_43([one["label"]]) == one["index43"] and numbers_19([one["label"]]) == one["index19"]
    for one in values["sets"]:
        assert numbers_43(one["labels"]) == sorted(one["multihot43"])
        assert numbers_19(one["labels"]) == sorted(one["multihot19"])


class Dates:
    """The index of one place."""

    def __init__(self, count: int) -> None:
        self.count = count

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return np.zeros(self.count, np.int64), np.full(self.count, self.count, np.int64)


@pytest.mark.family("seco_download/views")
def test_views(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which dates the four views are and which of them are changed; the draws themselves are the recorded ones."""
    values = facts(case)
    dates, plain = values["dates_newest_first"], SeCoConfig().plain_views
    assert SeCoConfig().pairing == "seasons"
    for one in values["samples"]:
        drawn = np.random.RandomState(one["numpy_seed"]).randint(0, len(dates), 3)
        monkeypatch.setattr(pairing, "choice", lambda *_, drawn=drawn: drawn[1:, None])
        pairs = pairing.Pairs(cast(Index, Dates(len(dates))), "seasons", seed=0)
        rows = pairs.rows(np.zeros(1, np.int64), drawn[:1].astype(np.int64), 4)[:, 0]
        views = [dates[row] if i in plain else f"augment({dates[row]})" for i, row in enumerate(rows)]
        assert [f"preprocess({view})" for view in views] == [one["query"], *one["keys"]]
