"""Replay of golden/sn7: the city study's preprocessing of SpaceNet 7."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.testing import assert_allclose

from rsdata.curate.sn7_pixels import PATCHES, SIDE, TILE, padded, patch_of
from rsdata.curate.sn7_published import (
    mixed,
    published_black,
    published_candidates,
    published_coordinate,
    published_label,
    published_query,
    published_rows,
    published_table,
    shuffle_split,
)


def facts(case: Path) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(Path(f"{case}.json").read_text()))


@pytest.mark.family("sn7/black_patch")
def test_black_patch(case: Path) -> None:
    for row in facts(case)["rows"]:
        patch = np.full((TILE, TILE, 3), 120, np.uint8)
        patch[: row["black_rows"], :, :2] = row["red_green_value"]
        patch[: row["black_rows"], :, 2] = row["blue_value"]
        assert published_black(patch) is row["dropped"], row


@pytest.mark.family("sn7/geo_label")
def test_geo_label(case: Path) -> None:
    values = facts(case)
    queries, rows = [], []
    addresses = iter(values["addresses"])
    labels = []
    for _, area in sorted(values["areas"].items()):
        if "error" in area:
            with pytest.raises(ValueError, match=area["error"]):
                published_coordinate(area["buildings_geojson"])
            continue
        coordinate = published_coordinate(area["buildings_geojson"])
        assert coordinate == area["coordinate"]
        queries.append(published_query(coordinate))
        labels.append(published_label(next(addresses)))
    assert queries == values["queries_lat_lon"]
    assert labels == values["labels_city_state_country"]
    header, *rows = list(csv.reader(values["ids_and_labels_csv"]))
    encoded, names = published_table(rows)
    assert [header, *encoded] == values["encoded_rows"]
    assert names == values["country_classes"]


@pytest.mark.family("sn7/patch_order")
def test_patch_order(case: Path) -> None:
    for size in facts(case)["sizes"]:
        y, x = np.mgrid[: size["height"], : size["width"]]
        rgb = np.stack([(x // 4) % 256, (y // 4) % 256, (3 * x + 5 * y) % 256], axis=-1).astype(np.uint8)
        image = padded(rgb, slack=SIDE)
        assert image.shape == (SIDE, SIDE, 3)
        for k, expected in enumerate(size["patches"]):
            patch = patch_of(image, expected["patch"])
            assert k == expected["patch"] < PATCHES and divmod(k, 4) == (expected["row"], expected["col"])
            assert [3, *patch.shape[:2]] == expected["shape"]
            assert patch[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == expected["corners_tl_tr_bl_br"]
            assert_allclose(patch.mean(axis=(0, 1)) / 255, expected["mean"], rtol=1e-5, atol=1e-7)
            assert np.count_nonzero((patch == 0).all(axis=-1)) == expected["zero_pixels"]


@pytest.mark.family("sn7/repeated_split")
def test_repeated_split(case: Path) -> None:
    values = facts(case)
    texts = ["\n".join(values[name]) for name in ("train_csv", "val_csv")]
    assert [len(published_rows(text)) for text in texts] == values["rows_after_reading"]
    train, test = shuffle_split(values["overall_rows"])
    assert train.tolist() == values["train_idx"] and test.tolist() == values["test_idx"]
    assert mixed(*texts) == (values["train_repeated_csv"], values["val_repeated_csv"])


@pytest.mark.family("sn7/temporal_candidates")
def test_temporal_candidates(case: Path) -> None:
    values = facts(case)
    for one in values["result"]:
        found = published_candidates(one["query"], values["rows"])
        assert set(found) == set(one["candidates"])
        assert (one["query"] in found) is one["includes_query"]
