"""Partners: of the same place, never the query itself where there is a choice, every other view equally often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builders import Place, build_set, pattern
from rstrain.data.pairs import Pairs
from shards.index import Index

SIZES = [1, 2, 5, 1, 3]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    made = [Place([pattern(10 * i + v, 8, 8) for v in range(n)]) for i, n in enumerate(SIZES)]
    return build_set(tmp_path_factory.mktemp("pairs"), made, samples_per_shard=2)


def test_temporal_partners(index: Index) -> None:
    pairs = Pairs(index, "temporal", seed=5)
    assert pairs.alone == 2
    place = np.repeat(np.arange(len(SIZES)), SIZES)
    epoch, query = (a.ravel() for a in np.mgrid[0:2000, 0 : len(index)])
    first, second = pairs.rows(epoch, query, 2)
    assert np.array_equal(first, query)
    assert np.array_equal(place[second], place[query])
    assert np.array_equal(second == query, np.array(SIZES)[place[query]] == 1)
    for row in range(3, 8):  # the place of five views: each of the other four a quarter of the time
        share = np.bincount(second[query == row], minlength=8)[3:8] / 2000
        assert np.abs(np.delete(share, row - 3) - 0.25).max() < 0.05


def test_partners_do_not_depend_on_company(index: Index) -> None:
    pairs = Pairs(index, "temporal", seed=5)
    epoch, query = np.zeros(12, np.int64), np.arange(12)
    together = pairs.rows(epoch, query, 3)
    alone = [pairs.rows(epoch[i : i + 1], query[i : i + 1], 3)[:, 0] for i in range(12)]
    assert np.array_equal(together.T, alone)


def test_self_pairs(index: Index) -> None:
    rows = Pairs(index, "self", seed=5).rows(np.zeros(3, np.int64), np.array([4, 0, 9]), 2)
    assert rows.tolist() == [[4, 0, 9], [4, 0, 9]]


def test_a_split_has_places_of_its_own(tmp_path: Path) -> None:
    made = [Place([pattern(v, 8, 8) for v in range(2)], split=s) for s in ("test", "train", "test")]
    index = build_set(tmp_path, made).where(split="test")
    rows = Pairs(index, "temporal", seed=0).rows(np.zeros(4, np.int64), np.arange(4), 2)
    assert rows[1].tolist() == [1, 0, 3, 2]
