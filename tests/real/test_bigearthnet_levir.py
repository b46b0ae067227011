"""Published patches of BigEarthNet and pairs of LEVIR-CD; what their JSON and masks say is written down by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sources import source_of
from shards.failures import from_table
from shards.index import Index
from shards.parquet import read
from shards.store import Store
from shards.targets import decode_mask, sample_members
from shards.verify import verify

LABELS_19 = {
    "S2A_MSIL2A_20170617T113321_36_85": [2, 4],
    "S2A_MSIL2A_20170617T113321_4_55": [4],
    "S2A_MSIL2A_20171221T112501_56_35": [5, 6, 8, 13],
    "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_61_39": [2, 8, 17],
    "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_61_40": [0, 2, 6, 8, 15, 17],
    "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_61_41": [0, 2, 8, 9],
    "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_36_85": [2, 4],
    "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_4_55": [4],
    "S1A_IW_GRDH_1SDV_20171221T064238_29SND_56_35": [5, 6, 8, 13],
}
LABELS_43 = {
    "S2A_MSIL2A_20170617T113321_36_85": [25, 27],
    "S2A_MSIL2A_20170617T113321_4_55": [27],
    "S2A_MSIL2A_20171221T112501_56_35": [5, 8, 20, 39],
}


def made(out: Path, **options: Any) -> Index:
    make_plan(source_of(options), out)
    assert build(out, workers=0).finished
    assert not verify(out).damages
    return Index.open(out)


def by_key(index: Index) -> dict[str, list[int]]:
    return dict(zip(index.table["key"].to_pylist(), index.table["labels"].to_pylist(), strict=True))


def test_patches_of_both_sensors_have_their_labels(shared_data: Path, tmp_path: Path) -> None:
    root = str(shared_data / "bigearthnet-tiny")
    optical = made(tmp_path / "s2", kind="bigearthnet", root=root)
    radar = made(tmp_path / "s1", kind="bigearthnet", root=root, sensor="s1")
    assert by_key(optical) | by_key(radar) == LABELS_19
    assert by_key(made(tmp_path / "43", kind="bigearthnet", root=root, labels="43")) == LABELS_43
    place = {key: (lon, lat) for key, lon, lat in zip(
        *(optical.table[name].to_pylist() for name in ("key", "lon", "lat")), strict=True
    )}  # fmt: skip
    lon, lat = place["S2A_MSIL2A_20171221T112501_56_35"]
    assert lon == pytest.approx(-8.2132, abs=1e-4) and lat == pytest.approx(39.3638, abs=1e-4), "in Portugal"
    assert str(optical.table["time"][0].as_py().year) == "2017"
    assert radar.info.statistics[0].mean < 0, "decibels"


def test_pairs_have_their_masks_and_the_bad_one_is_named(shared_data: Path, tmp_path: Path) -> None:
    index = made(tmp_path / "set", kind="change", root=str(shared_data / "levir-cd"), gsd_m=0.5)
    assert index.info.splits == {"train": 6, "val": 2, "test": 14} and index.info.samples == 11
    for row in range(0, len(index), 2):
        name = index.table["source"][row].as_py().removeprefix("A/")
        members = sample_members(index, row)
        assert members["000.png"] == (shared_data / "levir-cd/A" / name).read_bytes()
        truth = decode_mask((shared_data / "levir-cd/label" / name).read_bytes())
        assert ((truth == 255) == decode_mask(members["mask.png"])).all()
    (failure,) = from_table(read(Store(tmp_path / "set").read("failures.parquet")))
    assert failure.item == "test_113_0256.png" and str(failure.kind) == "gone" and "label" in failure.reason
