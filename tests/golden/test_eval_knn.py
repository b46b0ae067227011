"""kNN, temporal voting and cluster matching against the recorded originals (README of golden/eval)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rstrain.evals.compat import match_clusters, padded_majority, scalemae_gallery
from rstrain.evals.knn import knn_majority, knn_votes
from rstrain.evals.metrics import confusion_matrix, per_class, temporal_vote
from shards.errors import ConfigError


def arrays(case: Path) -> dict[str, np.ndarray]:
    with np.load(f"{case}.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.family("eval/knn")
def test_weighted_votes(case: Path) -> None:
    a = arrays(case)
    train, label = scalemae_gallery(
        torch.from_numpy(a["in_train"]), torch.from_numpy(a["in_train_label"]), int(a["hp_train_batch"])
    )
    votes, near = knn_votes(
        train,
        label,
        torch.from_numpy(a["in_test"]),
        k=int(a["hp_k"]),
        temperature=float(a["hp_T"]),
        classes=int(label.max()) + 1,
    )
    prediction = votes.argmax(dim=1).numpy()
    assert float((prediction == a["in_test_label"]).mean()) == pytest.approx(
        float(a["out_accuracy"]), abs=1e-9
    )
    if "out_prediction" in a:
        np.testing.assert_array_equal(prediction, a["out_prediction"])
    if "out_votes" in a:
        np.testing.assert_allclose(votes.numpy(), a["out_votes"], rtol=1e-5, atol=1e-6)
    if "out_neighbour_similarity" in a:
        np.testing.assert_allclose(
            near.similarity.numpy(), a["out_neighbour_similarity"], rtol=1e-5, atol=1e-6
        )
    if "out_neighbour_index" in a:
        # Sets are compared only where the boundary is not tied: of equal neighbours any may be listed.
        for own, theirs, value in zip(
            near.index.tolist(), a["out_neighbour_index"].tolist(), near.similarity, strict=True
        ):
            tied = {i for i, v in zip(own, value, strict=True) if v - value[-1] < 1e-6}
            assert set(own) - tied <= set(theirs), "a neighbour nearer than the last is missing"


@pytest.mark.family("eval/knn_majority")
def test_majority_votes(case: Path) -> None:
    a = arrays(case)
    train, label = torch.from_numpy(a["in_train"]), torch.from_numpy(a["in_train_label"])
    test = torch.from_numpy(a["in_test"])
    classes = int(max(label.max(), a["in_test_label"].max())) + 1
    for k in np.atleast_1d(a["hp_k"]).tolist():
        padded = padded_majority(train, label, test, k=k, classes=classes).argmax(dim=1).numpy()
        if f"out_index_prediction_k{k}" in a:
            np.testing.assert_array_equal(padded, a[f"out_index_prediction_k{k}"])
        if f"out_index_accuracy_k{k}" in a:
            assert (padded == a["in_test_label"]).mean() == pytest.approx(
                float(a[f"out_index_accuracy_k{k}"])
            )
        if k > len(train):
            with pytest.raises(ConfigError, match=f"k={k} is more than"):
                knn_majority(train, label, test, k=k, classes=classes)
            continue
        plain = knn_majority(train, label, test, k=k, classes=classes).argmax(dim=1).numpy()
        if f"out_sklearn_prediction_k{k}" in a:
            np.testing.assert_array_equal(plain, a[f"out_sklearn_prediction_k{k}"])
        if f"out_sklearn_accuracy_k{k}" in a:
            assert (plain == a["in_test_label"]).mean() == pytest.approx(
                float(a[f"out_sklearn_accuracy_k{k}"])
            )


@pytest.mark.family("eval/temporal_voting")
def test_temporal_voting(case: Path) -> None:
    logits = torch.from_numpy(arrays(case)["in_logits"])
    facts = json.loads(Path(f"{case}.json").read_text())
    labels = np.asarray(facts["labels"], np.int64)
    probabilities = logits.double().softmax(dim=1).numpy()
    vote = temporal_vote(probabilities, facts["groups"], labels)
    assert vote.groups == facts["group_order"]
    assert vote.prediction.tolist() == facts["temporal"]["prediction"]
    assert vote.truth.tolist() == facts["temporal"]["truth"]
    single = probabilities.argmax(axis=1)
    assert single.tolist() == facts["single"]["prediction"]
    for prediction, truth, expected in (
        (vote.prediction, vote.truth, facts["temporal"]),
        (single, labels, facts["single"]),
    ):
        macro = per_class(confusion_matrix(truth, prediction, logits.shape[1])).macro()
        np.testing.assert_allclose(macro, expected["precision_recall_f1_macro"], rtol=0, atol=1e-12)
        assert float((prediction == truth).mean()) == pytest.approx(expected["accuracy"], abs=1e-12)


@pytest.mark.family("eval/hungarian")
def test_hungarian(case: Path) -> None:
    rows = json.loads(Path(f"{case}.json").read_text())
    for row in rows:
        if row.get("error"):
            with pytest.raises(ConfigError):
                match_clusters(row["truth"], row["cluster"], row["n_clusters"])
            continue
        found = match_clusters(row["truth"], row["cluster"], row["n_clusters"])
        assert found.accuracy == pytest.approx(row["accuracy"], abs=1e-12)
        assert found.confusion.tolist() == row["confusion"]
        if found.prediction.tolist() != row["y_pred"]:
            pairs = set(zip(row["cluster"], row["y_pred"], strict=True))
            assert len(pairs) == len({c for c, _ in pairs}), (
                "the recorded optimum is another, not another kind"
            )
