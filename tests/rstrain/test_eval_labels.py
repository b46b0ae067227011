"""Several classes an image: average precision on the whole split, heads by every rule, clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional as F

from builders import Place, build_set, pattern
from rstrain.evals.base import run_eval, run_evals
from rstrain.evals.clusters import name_clusters
from rstrain.evals.config import ClusterConfig, LinearConfig, MultilabelConfig
from rstrain.evals.label_metrics import Ranked, class_ap, f1_of, micro_ap, micro_ap_interval
from rstrain.evals.linear import fit_heads
from rstrain.evals.tuning_config import FinetuneConfig
from rstrain.optim.lars import LARS
from shards.dataset import Target
from shards.errors import ConfigError, ShardError
from shards.random import generator, permute, stream
from shards.targets import LABELS, encode_labels

torch.set_num_threads(1)
SMALL: dict[str, Any] = {"arch": "resnet18", "size": 32, "device": "cpu", "workers": 0}
NAMES = ["bright left", "bright right", "striped"]


def ground(number: int, labels: list[int]) -> np.ndarray:
    image = (0.35 * pattern(number)).astype(np.float32)
    if 0 in labels:
        image[:, :24] += 120
    if 1 in labels:
        image[:, 24:] += 120
    if 2 in labels:
        image[::6] = 255
    return np.asarray(image.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels") / "set"
    places = []
    for i in range(120):
        labels = [c for c in range(3) if (i * 7919 >> c) % 5 < 2] if i % 11 else []
        places.append(
            Place(
                [ground(i, labels)],
                split="test" if i >= 80 else "train",
                extra={"labels": labels},
                members={LABELS: encode_labels(labels, 3)},
            )
        )
    build_set(
        folder,
        places,
        extra={"labels": pa.list_(pa.int32())},
        targets=[Target(member=LABELS, classes=NAMES)],
    )
    return folder


def test_average_precision_is_scikit_learns_with_ties_and_weights() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        truth = (random.random((40, 5)) < 0.3).astype(np.uint8)
        truth[0] = 1
        values = random.normal(size=(40, 5)).round(1)
        assert micro_ap(truth, values) == pytest.approx(
            average_precision_score(truth, values, average="micro"), abs=1e-12
        )
        np.testing.assert_allclose(
            class_ap(truth, values), average_precision_score(truth, values, average=None)
        )
        weight = random.integers(0, 3, 40)
        weighted = Ranked.of(truth, values).average_precision(weight.astype(float))
        rows = np.repeat(np.arange(40), weight)
        assert weighted == pytest.approx(
            average_precision_score(truth[rows], values[rows], average="micro"), abs=1e-12
        )
        found = f1_of(truth, values > 0)
        assert found.micro == pytest.approx(f1_score(truth, values > 0, average="micro"))
        np.testing.assert_allclose(found.f1, f1_score(truth, values > 0, average=None))
    assert np.isnan(class_ap(np.zeros((3, 1), np.uint8), np.ones((3, 1)))).all()
    low, high = micro_ap_interval(truth, values, np.arange(40) // 2, seed=0)
    assert low < micro_ap(truth, values) < high


def test_labels_are_learnt_frozen_and_fine_tuned(data: Path, tmp_path: Path) -> None:
    frozen = MultilabelConfig.build(data=str(data), epochs=30, out=tmp_path / "multilabel.json", **SMALL)
    tuned = FinetuneConfig.build(
        data=str(data),
        target="labels",
        epochs=4,
        train_batch=16,
        dropout=0.1,
        crop="centre",
        optim={"lr": 1e-3},
        **SMALL,
    )
    first, second = run_evals([frozen, tuned])
    for scores in (first, second):
        chance = scores.outcome.details["chance_micro_ap_percent"]
        assert scores.scores["micro_ap_percent"] > 85 > 2 * chance, scores.summary()
        low, high = scores.outcome.intervals["micro_ap_percent"]
        assert low <= scores.scores["micro_ap_percent"] <= high
        assert [row.name for row in scores.outcome.per_class] == NAMES
    assert run_eval(frozen.model_copy(update={"batch": 7})).scores == first.scores
    seco = MultilabelConfig.build(data="x", preset="seco")
    assert (seco.optimizer, seco.lrs, seco.head_batch, seco.dropout) == ("adamw", (1e-3,), 1024, 0.2)
    with pytest.raises(ShardError, match="have no label"):
        run_eval(LinearConfig.build(data=str(data), **SMALL))


def test_a_set_without_vectors_is_refused_plainly(tmp_path: Path) -> None:
    build_set(
        tmp_path / "set", [Place([pattern(i)], label=0, split=s) for i, s in enumerate(("train", "test"))]
    )
    with pytest.raises(ShardError, match=r"has no labels.npy, so no image has several classes"):
        run_eval(MultilabelConfig.build(data=str(tmp_path / "set"), **SMALL))


@pytest.mark.parametrize(
    ("optimizer", "vectors"), [("adamw", False), ("adamw", True), ("lars", False), ("sgd", True)]
)
def test_heads_side_by_side_equal_torch_on_each_alone(optimizer: str, vectors: bool) -> None:
    random = np.random.default_rng(1)
    x = torch.from_numpy(random.normal(2.0, 3.0, (70, 8)).astype(np.float32))
    label = torch.from_numpy(
        (random.random((70, 4)) < 0.4).astype(np.uint8) if vectors else random.integers(0, 4, 70)
    )
    lrs = (0.01, 0.1)
    settings = {"epochs": 3, "head_batch": 32, "weight_decay": 0.05, "schedule": "cosine_step"}
    config = LinearConfig.build(
        data="x", optimizer=optimizer, lrs=lrs, standardise=False, head_norm=True, beta2=0.95, **settings
    )
    heads = fit_heads(lambda epoch: x, label, classes=4, lrs=lrs, config=config, seed=3)
    for number, lr in enumerate(lrs):
        norm, plain = torch.nn.BatchNorm1d(8, affine=False, eps=1e-6), torch.nn.Linear(8, 4)
        start = generator(stream("evals/linear/init"), 3).normal(0, 0.01, (8, 4)).astype(np.float32)
        with torch.no_grad():
            plain.weight.copy_(torch.from_numpy(start).T)
            plain.bias.zero_()
        groups = [{"params": [plain.weight]}, {"params": [plain.bias], "weight_decay": 0.0}]
        rule: torch.optim.Optimizer
        if optimizer == "adamw":
            rule = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), weight_decay=0.05)
        elif optimizer == "lars":
            rule = LARS(plain.parameters(), lr=lr, weight_decay=0.05)
        else:
            rule = torch.optim.SGD(plain.parameters(), lr=lr, momentum=0.9, weight_decay=0.05)
        for epoch in range(3):
            order = torch.from_numpy(permute(np.arange(70), 70, stream("evals/linear/order"), 3, epoch))
            for step, rows in enumerate(order.split(32)):
                for group in rule.param_groups:
                    group["lr"] = lr * 0.5 * (1 + np.cos(np.pi * (epoch + step / 3) / 3))
                rule.zero_grad()
                logits = plain(norm(x[rows]))
                if vectors:
                    F.multilabel_soft_margin_loss(logits, label[rows].float()).backward()
                else:
                    F.cross_entropy(logits, label[rows]).backward()
                rule.step()
        torch.testing.assert_close(heads.logits(x)[:, number], plain(norm.eval()(x)), rtol=1e-3, atol=1e-4)


def test_clusters_of_any_number_are_named_and_scored(tmp_path: Path) -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    found = np.array([1, 1, 1, 1, 3, 3, 2, 2, 2, 2, 0, 0])
    assert (name_clusters(truth, found, 4)[found] == truth).mean() == pytest.approx(10 / 12)
    assert name_clusters(truth, found % 2, 2).tolist().count(-1) == 0
    named = name_clusters(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2]), 3)
    assert sorted(named.tolist()) == [-1, 0, 1], "a cluster too many has no label"
    views = [np.clip(0.4 * pattern(i) + 80 * (i % 3), 0, 255).astype(np.uint8) for i in range(90)]
    build_set(
        tmp_path / "set",
        [Place([v], label=i % 3, split="test" if i >= 45 else "train") for i, v in enumerate(views)],
    )
    configs = [
        ClusterConfig.build(data=str(tmp_path / "set"), fit=fit, **SMALL) for fit in ("test", "train", "all")
    ]
    for scores in run_evals(configs):
        assert scores.scores["accuracy_percent"] > 60, "chance is 33 %"
        assert scores.scores["nmi_percent"] > 30 and scores.scores["ari_percent"] > 20
    more = run_eval(configs[0].model_copy(update={"clusters": 9, "unit": True}))
    assert len(more.outcome.details["named"]) == 9
    with pytest.raises(ConfigError, match="clusters=46 is more than the 45 views"):
        run_eval(configs[0].model_copy(update={"clusters": 46}))
