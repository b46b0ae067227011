"""Splits that no neighbourhood crosses, for every task; and what a split shares by nearness, said in the scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import Place, build_set, pattern
from rstrain.evals.base import run_eval
from rstrain.evals.bench import open_bench
from rstrain.evals.config import KnnConfig
from rstrain.evals.dense_config import SegmentConfig
from rstrain.evals.separation import near
from rstrain.evals.splits import open_splits
from shards.dataset import Target
from shards.errors import ConfigError
from shards.targets import MASK, encode_mask

KM = 1 / 111.195
"""Degrees of a kilometre on the equator."""
CPU: dict[str, Any] = {"arch": "resnet18", "size": 32, "device": "cpu", "workers": 0}


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve chains of places, 3 km from one to the next and 100 km apart; the first lies across the antimeridian."""
    folder = tmp_path_factory.mktemp("towns") / "set"
    mask = encode_mask(np.zeros((48, 48), np.uint8))
    places = []
    for town in range(12):
        start = 180.0 + (town * 100 - 4) * KM
        for i in range(2 + town % 3):
            lon = (start + 3 * i * KM + 180) % 360 - 180
            image = pattern(40 * town + i)
            places.append(
                Place([image], label=town % 2, lon=lon, lat=0.0, extra={"town": town}, members={MASK: mask})
            )
    import pyarrow as pa

    order = np.random.default_rng(0).permutation(len(places))
    build_set(
        folder,
        [places[i] for i in order],
        extra={"town": pa.int32()},
        targets=[Target(member=MASK, classes=["a", "b"])],
    )
    return folder


def test_no_neighbourhood_lies_on_both_sides_and_dense_tasks_split_alike(towns: Path) -> None:
    plain = open_splits(KnnConfig.build(data=str(towns), split_off=0.3))
    assert near(plain[0].index, plain[1].index)["within_10_km"] > 0, "places one by one have neighbours"
    train, test, _ = open_splits(KnnConfig.build(data=str(towns), split_off=0.3, apart_km=5.0))
    ours, theirs = (set(part.index.column("town").tolist()) for part in (train, test))
    assert not ours & theirs and len(train) + len(test) == 36 and 6 <= len(test) <= 11
    found = near(train.index, test.index)
    assert found is not None and found["nearest_km"] > 50
    config = SegmentConfig.build(data=str(towns), split_off=0.3, apart_km=5.0, **CPU)
    bench = open_bench(config, torch.device("cpu"), 0, MASK)
    rows = np.arange(len(bench.test))
    assert bench.test.keys(rows) == test.keys and bench.test_split == "train, 0.3 split off, 5 km apart"


def test_the_scores_say_how_many_views_have_a_neighbour_that_was_learnt_from(towns: Path) -> None:
    scores = run_eval(KnnConfig.build(data=str(towns), split_off=0.3, k=3, **CPU))
    assert scores.near is not None and scores.near["within_1_km"] == 0 < scores.near["within_10_km"]
    assert scores.data["test_split"] == "train, 0.3 split off"


def test_faults_are_one_plain_message(towns: Path, tmp_path: Path) -> None:
    def fails(match: str, data: Path = towns, **options: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            open_splits(KnnConfig.build(data=str(data), **options))

    fails("give --split-off too", apart_km=5.0)
    fails("is one place or neighbourhood of 5000 km", split_off=0.3, apart_km=5000.0)
    fails("the smallest neighbourhood of 5 km holds 2 of 36", split_off=0.02, apart_km=5.0)
    build_set(tmp_path / "nowhere", [Place([pattern(i)], label=0, lon=1.0 * i) for i in range(3)])
    fails(
        "3 of 3 places have no coordinates .*place-00000", tmp_path / "nowhere", split_off=0.3, apart_km=5.0
    )
