"""Neighbours: ties, chunks, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rstrain.evals import knn
from rstrain.evals.knn import knn_majority, knn_votes
from rstrain.evals.metrics import bootstrap_interval, top_k_hits
from shards.errors import ConfigError

torch.set_num_threads(1)


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 40),
    k=st.integers(1, 12),
    cells=st.sampled_from([1, 64, 1 << 24]),
)
@settings(max_examples=60, deadline=None)
def test_neighbours_equal_a_full_stable_sort_even_with_ties(seed: int, n: int, k: int, cells: int) -> None:
    random = np.random.default_rng(seed)
    # Few distinct one-hot directions: cosines are exactly 0 or 1, so ties are everywhere.
    train = torch.eye(4)[torch.from_numpy(random.integers(0, 4, n))]
    test = torch.eye(4)[torch.from_numpy(random.integers(0, 4, 7))]
    label = torch.from_numpy(random.integers(0, 3, n))
    k = min(k, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "_CELLS", cells)
        votes, near = knn_votes(train, label, test, k=k, temperature=0.5, classes=3)
    close = (test @ train.T).numpy()
    expected = np.argsort(-close, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(near.index.numpy(), expected)
    by_hand = np.zeros((7, 3))
    for q in range(7):
        for i in expected[q]:
            by_hand[q, label[i]] += np.exp(close[q, i] / 0.5)
    np.testing.assert_allclose(votes.numpy(), by_hand, rtol=1e-6)


def test_majority_gives_ties_to_the_smaller_label() -> None:
    train = torch.tensor([[0.0], [1.0], [3.0], [9.0]])
    votes = knn_majority(train, torch.tensor([2, 1, 2, 0]), torch.tensor([[0.4]]), k=2, classes=3)
    assert votes.tolist() == [[0, 1, 1]]
    assert votes.argmax(dim=1).tolist() == [1]


def test_more_neighbours_than_samples_is_one_plain_sentence() -> None:
    with pytest.raises(ConfigError, match="k=5 is more than the 4 samples of the gallery"):
        knn_votes(
            torch.eye(4), torch.zeros(4, dtype=torch.int64), torch.eye(4), k=5, temperature=0.07, classes=1
        )


def test_top_k_breaks_ties_by_class_and_never_counts_minus_infinity() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [0.2, -np.inf, 0.1]])
    assert top_k_hits(scores, np.array([1, 1]), 1).tolist() == [False, False]
    assert top_k_hits(scores, np.array([1, 1]), 2).tolist() == [True, False]
    assert top_k_hits(scores, np.array([1, 1]), 3).tolist() == [True, False]


def test_interval_widens_when_views_of_a_place_agree() -> None:
    place = np.repeat(np.arange(50), 8)
    together = np.repeat(np.random.default_rng(0).random(50) < 0.5, 8)
    by_place = bootstrap_interval(together, place, seed=1)
    by_view = bootstrap_interval(together, np.arange(400), seed=1)
    assert by_place[1] - by_place[0] > 2 * (by_view[1] - by_view[0])
    assert by_place == bootstrap_interval(together, place, seed=1), "the same seed draws the same"
    assert by_place[0] <= together.mean() <= by_place[1]
