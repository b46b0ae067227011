from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rstrain.config import config_for
from rstrain.losses.gauges import label_accuracy
from rstrain.methods import RunFacts, SupervisedConfig
from rstrain.methods.base import Batch
from rstrain.methods.supervised import Supervised
from rstrain.models.backbone import build_backbone
from shards.errors import ConfigError

torch.set_num_threads(1)


def make(classes: int | None = 4, top: int | None = 3, **options: Any) -> Supervised:
    facts = RunFacts(seed=3, batch=8, classes=classes, top_label=top)
    config = SupervisedConfig.build(**options)
    return config.create(build_backbone("resnet18", 2, stem="small", seed=3), facts)


def batch_of(step: int = 0, size: int = 8) -> Batch:
    """The class is a shift of the mean."""
    rows = torch.arange(size)
    images = torch.randn(size, 2, 16, 16, generator=torch.Generator().manual_seed(step))
    return Batch((images + (rows % 4)[:, None, None, None] / 2,), rows, step, label=rows % 4)


def test_it_asks_for_one_labelled_view() -> None:
    config = config_for("supervised")(data="a")
    assert (config.method.pairing, config.method.needs_label, config.method.second) == ("single", True, None)
    assert (config.augment.jitter, config.augment.grayscale, config.augment.blur) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": None, "top": None}, "names none: give a labelled set, or .* --outputs"),
        ({"outputs": 3}, r"class 3 but the head has 3 outputs \(classes 0 … 2\): use --outputs 4"),
        ({"classes": 4, "top": 6}, "class 6 but the head has 4 outputs"),
        ({"label_smoothing": 1}, "label_smoothing: "),
    ],
)
def test_labels_beyond_the_head_are_refused_before_training(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_a_batch_without_classes_is_refused() -> None:
    batch = batch_of()
    batch.label = None
    with pytest.raises(ConfigError, match="the batch has none"):
        make()(batch)


def test_the_head_may_be_wider_than_the_classes() -> None:
    method = make(outputs=1000)
    assert method.head.out_features == 1000
    assert method(batch_of()).loss.item() == pytest.approx(math.log(1000), rel=0.2)
    assert torch.equal(method.head.weight, make(outputs=1000).head.weight), "a function of the seed"


def test_it_learns_and_says_so() -> None:
    method = make()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    logs = []
    for step in range(12):
        method.before_step()
        out = method(batch_of(step))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step()
        logs.append({"loss": out.loss.item(), **{name: value.item() for name, value in out.logs.items()}})
    assert logs[-1]["loss"] < logs[0]["loss"] / 2
    assert logs[-1]["acc1"] > 70 and logs[-1]["acc5"] == 100
    assert logs[-1]["embedding_std"] > 0.2
    assert method.encoder is method.backbone


def test_the_loss_is_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = make(label_smoothing=0.1)(batch_of())
    assert {out.loss.dtype, *(v.dtype for v in out.logs.values())} == {torch.float32}
    assert not any(v.requires_grad for v in out.logs.values())


def test_accuracy_counts_labels_among_the_largest() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    label = torch.tensor([0, 1])
    assert label_accuracy(logits, label).item() == 50
    assert label_accuracy(logits, label, k=2).item() == 100
    assert label_accuracy(logits, label, k=5).item() == 100
