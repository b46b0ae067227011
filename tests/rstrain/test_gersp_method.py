from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rstrain.config import config_for
from rstrain.methods import GeRSPConfig, RunFacts
from rstrain.methods.base import Batch
from rstrain.methods.gersp import GeRSP
from rstrain.models.backbone import build_backbone
from shards.errors import ConfigError

torch.set_num_threads(1)
CLASSES = 7


def make(classes: int | None = CLASSES, top: int | None = None, batch: int = 8, **options: Any) -> GeRSP:
    config = GeRSPConfig.build(**({"queue": 32, "dim": 16} | options))
    facts = RunFacts(seed=3, batch=batch, samples=100, second_classes=classes, second_top_label=top)
    return config.create(build_backbone("resnet18", 2, stem="small", seed=3), facts)


def batch_of(step: int = 0, size: int = 8, part: slice = slice(None)) -> Batch:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(3, size, 2, 16, 16, generator=generator)[:, part]
    rows = torch.arange(size)[part]
    second = Batch((images[2],), rows, step, label=rows % CLASSES)
    return Batch((images[0], images[1]), rows, step, second=second)


def one_step(method: GeRSP, step: int = 0) -> None:
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
    method.before_step()
    method(batch_of(step)).loss.backward()
    optimizer.step()
    method.after_step()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 33}, "batch=33 is larger than queue=32"),
        ({"classes": None}, r"it names no classes: give a labelled set with --data2"),
        ({"top": 7}, r"label 7 but names 7 classes \(0 … 6\)"),
        ({"alpha": -1}, "alpha: "),
    ],
)
def test_settings_at_odds_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_a_batch_without_labelled_images_is_refused() -> None:
    batch = batch_of()
    batch.second = None
    with pytest.raises(ConfigError, match="--data2"):
        make()(batch)


def test_the_published_run() -> None:
    config = config_for("gersp")(data="a", data2="b")
    assert config.method.second == "single" and config.method.pairing == "self"
    assert (config.batch, config.epochs, config.steps(1_281_167)) == (256, 100, 500_455)
    assert config.model_copy(update={"epochs": 1}).steps(1_281_167) == 5004
    cycle = [round(config.optim.lr_at(epoch + 0.5, config.epochs), 6) for epoch in (0, 1, 10, 19, 20, 99)]
    assert cycle == [0.007, 0.006963, 0.004, 0.001037, 0.007, 0.001037]
    assert (config.optim.weight_decay, config.augment.hue, config.augment.jitter) == (5e-4, 0.4, 1.0)
    assert config.augment.gray_first and config.augment.blur == 0


def test_repo_starts_with_an_unrelated_teacher_and_keeps_its_projector() -> None:
    method = make()
    pairs = list(zip(method.query.backbone.named_parameters(), method.key.backbone.parameters(), strict=True))
    for (name, a), b in pairs:
        assert torch.equal(a, b) == (a.ndim == 1), (
            f"{name}: convolutions are drawn anew, batch norms start at one"
        )
        if a.ndim == 4:
            assert b.std().item() == pytest.approx(a.std().item(), rel=0.1), "from the same distribution"
    first = [p.clone() for p in method.key.head.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(first, method.query.head.parameters(), strict=True))
    for step in range(3):
        one_step(method, step)
    assert all(torch.equal(a, b) for a, b in zip(first, method.key.head.parameters(), strict=True))
    again = make().key.backbone.net.conv1.weight
    assert torch.equal(make().key.backbone.net.conv1.weight, again), "a function of the seed"


def test_paper_moves_the_whole_teacher() -> None:
    method = make(preset="paper", encoder_momentum=0.9)
    assert all(
        torch.equal(a, b) for a, b in zip(method.query.parameters(), method.key.parameters(), strict=True)
    )
    one_step(method)
    old = [p.clone() for p in method.key.parameters()]
    method.before_step()
    for before, query, now in zip(old, method.query.parameters(), method.key.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * before + 0.1 * query)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(method.query.head.parameters(), method.key.head.parameters(), strict=True)
    )


def test_an_option_outranks_the_preset() -> None:
    mixed = GeRSPConfig(preset="paper", teacher_projector="frozen")
    assert (mixed.independent, mixed.frozen_projector) == (False, True)
    mixed = GeRSPConfig(teacher_init="copy")
    assert (mixed.independent, mixed.frozen_projector) == (False, True)


def test_the_loss_is_both_and_each_reaches_its_own_head() -> None:
    method = make(alpha=0.5)
    out = method(batch_of())
    parts = out.logs["loss_contrastive"] + 0.5 * out.logs["loss_supervised"]
    torch.testing.assert_close(out.loss.detach(), parts)
    assert out.logs["loss_supervised"].item() == pytest.approx(math.log(CLASSES), rel=0.3)
    out.loss.backward()
    assert method.classifier.weight.grad is not None and method.classifier.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in method.key.parameters())
    assert not method.queue.requires_grad
    silent = make(alpha=0)
    silent(batch_of()).loss.backward()
    assert not silent.classifier.weight.grad.any()  # type: ignore[union-attr]
    assert silent.query.head[0].weight.grad.any()


def test_one_forward_of_both_sets_is_not_two() -> None:
    """Batch norm sees both, so the classes of the photos depend on the aerial images, but only in training."""
    batch = batch_of()
    other = Batch((batch.views[0] * 3, batch.views[1]), batch.rows, 0, second=batch.second)
    assert batch.second is not None
    labelled = batch.second.views[0]
    trained = [make().similarities(b, labelled).classes for b in (batch, other)]
    assert not torch.allclose(*trained, atol=1e-3)
    still = [make().eval().similarities(b, labelled).classes for b in (batch, other)]
    torch.testing.assert_close(*still)


def test_two_micro_batches_are_one_batch_of_two_splits() -> None:
    whole, parts = make(bn_splits=2, shuffle=False), make(shuffle=False)
    whole.before_step()
    out = whole(batch_of())
    out.loss.backward()
    whole.after_step()
    parts.before_step()
    losses = []
    for part in (slice(0, 4), slice(4, 8)):
        loss = parts(batch_of(part=part)).loss / 2
        loss.backward()
        losses.append(loss.detach())
    parts.after_step()
    torch.testing.assert_close(sum(losses), out.loss.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.queue, whole.queue, atol=1e-6, rtol=0)
    for (name, a), b in zip(parts.named_parameters(), whole.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(
                a.grad, b.grad, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_the_sets_may_give_batches_of_other_sizes() -> None:
    batch = batch_of(size=8)
    batch.second = batch_of(size=12).second
    method = make(bn_splits=4)
    assert method.similarities(batch, batch.second.views[0]).classes.shape == (12, CLASSES)  # type: ignore[union-attr]
    batch.second = batch_of(size=6).second
    with pytest.raises(ConfigError, match="6 samples a rank does not divide by bn_splits=4"):
        make(bn_splits=4)(batch)


def test_what_is_exported_is_the_student() -> None:
    method = make()
    assert method.encoder is method.query.backbone


def test_state_resumes_bit_for_bit() -> None:
    def train(method: GeRSP, steps: range) -> list[float]:
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
        losses = []
        for step in steps:
            method.before_step()
            loss = method(batch_of(step)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step()
            losses.append(loss.item())
        return losses

    expected = train(make(queue=20), range(4))
    first = make(queue=20)
    losses = train(first, range(2))
    second = make(queue=20)
    second.load_state_dict(first.state_dict())
    assert losses + train(second, range(2, 4)) == expected


def test_the_loss_is_float32_under_autocast() -> None:
    expected = make(temperature=0.2)(batch_of()).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = make(temperature=0.2)(batch_of())
    assert out.loss.dtype == torch.float32
    assert out.loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert {v.dtype for v in out.logs.values()} == {torch.float32}
