from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rstrain.methods import MoCoConfig, RunFacts, SeCoConfig
from rstrain.methods.base import Batch
from rstrain.methods.seco import SeCo
from rstrain.models.backbone import build_backbone
from shards.errors import ConfigError

torch.set_num_threads(1)
BANDS = 5


def make(batch: int = 6, **options: Any) -> SeCo:
    config = SeCoConfig.build(**({"queue": 32, "dim": 16} | options))
    facts = RunFacts(seed=3, batch=batch, samples=100)
    return config.create(build_backbone("resnet18", BANDS, stem="small", seed=3), facts)


def batch_of(views: int = 4, size: int = 6, step: int = 0, part: slice = slice(None)) -> Batch:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(views, size, BANDS, 16, 16, generator=generator)[:, part]
    return Batch(tuple(images), torch.arange(images.shape[1]), step)


def test_modes_and_what_they_ask_for() -> None:
    asked = {m: SeCoConfig(mode=m) for m in ("seco", "moco_tp", "moco")}
    assert {m: (c.spaces, c.pairing, c.plain_views) for m, c in asked.items()} == {
        "seco": (3, "seasons", (0, 2)),
        "moco_tp": (1, "temporal", ()),
        "moco": (1, "self", ()),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 33}, "batch=33 is larger than queue=32"),
        ({"mode": "mocco"}, "mode: "),
    ],
)
def test_settings_at_odds_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_a_batch_of_other_views_is_refused() -> None:
    with pytest.raises(ConfigError, match="mode=seco takes 4 views of a sample; the batch has 2"):
        make()(batch_of(views=2))
    with pytest.raises(ConfigError, match="33 keys but queue=32"):
        make()(batch_of(size=33))


def test_sizes_of_the_published_heads() -> None:
    """Numbers of the released checkpoints: 328,320 for ResNet-18, 4,458,624 for ResNet-50."""
    for arch, expected in (("resnet18", 328_320), ("resnet50", 4_458_624)):
        method = SeCoConfig(queue=16).create(build_backbone(arch), RunFacts())
        assert [sum(p.numel() for p in head.parameters()) for head in method.query.heads] == [expected] * 3


def test_negatives_of_each_space_and_the_sum_of_their_losses() -> None:
    method = make()
    seen = method.similarities(batch_of())
    assert [tuple(logits.shape) for logits in seen.logits] == [(6, 33), (6, 33 + 12), (6, 33 + 12)]
    assert method.queue.shape == (3, 16, 32)
    out = make()(batch_of())
    parts = [out.logs[f"loss_{i}"] for i in range(3)]
    torch.testing.assert_close(out.loss.detach(), torch.stack(parts).sum())
    assert 0 < out.logs["embedding_std"] < 1.5
    assert not any(v.requires_grad for v in out.logs.values())


def test_equal_dates_are_allowed() -> None:
    batch = batch_of()
    same = Batch((batch.views[0],) * 4, batch.rows, 0)
    assert torch.isfinite(make()(same).loss)


def test_one_space_is_moco() -> None:
    ours = make(mode="moco")
    config = MoCoConfig(queue=32, dim=16, temperature=0.07)
    theirs = config.create(build_backbone("resnet18", BANDS, stem="small", seed=3), RunFacts(seed=3, batch=6))
    for step in range(2):
        losses = []
        for method in (ours, theirs):
            method.before_step()
            out = method(batch_of(views=2, step=step))
            out.loss.backward()
            method.after_step()
            losses.append(out.loss.detach())
        assert torch.equal(*losses)
    assert torch.equal(ours.queue[0], theirs.queue)
    for ours_p, theirs_p in zip(ours.query.parameters(), theirs.query.parameters(), strict=True):
        torch.testing.assert_close(ours_p.grad, theirs_p.grad)


def test_each_queue_takes_the_keys_of_its_own_positive() -> None:
    method = make(queue=8)
    for step in range(2):  # 12 keys into 8 places
        method.before_step()
        with torch.no_grad():
            key = method.key.train()
            state = {name: value.clone() for name, value in key.state_dict().items()}
            views = batch_of(step=step).views[1:]
            expected = [torch.nn.functional.normalize(key(v)[:, i]) for i, v in enumerate(views)]
            key.load_state_dict(state)
        method(batch_of(step=step))
        method.after_step()
    assert method.queue_ptr.flatten().tolist() == [4, 4, 4]
    for queue, keys in zip(method.queue, expected, strict=True):
        torch.testing.assert_close(queue[:, [6, 7, 0, 1, 2, 3]].T, keys)


def test_two_micro_batches_are_one_batch_of_two_splits() -> None:
    """Head 0 has no negatives from the batch, so it alone must agree; the queues do for all."""
    whole, parts = make(bn_splits=2, shuffle=False), make(shuffle=False)
    whole.before_step()
    expected = whole(batch_of()).logs["loss_0"]
    whole.after_step()
    parts.before_step()
    got = [parts(batch_of(part=part)).logs["loss_0"] for part in (slice(0, 3), slice(3, 6))]
    parts.after_step()
    torch.testing.assert_close(torch.stack(got).mean(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.queue, whole.queue, atol=1e-6, rtol=0)
    assert torch.equal(parts.queue_ptr, whole.queue_ptr)


def test_every_key_view_has_a_shuffle_of_its_own() -> None:
    method, orders = make(bn_splits=2), []
    drawn = method._key_order

    def note(step: int, number: int, size: int) -> Tensor:
        orders.append((number, tuple(drawn(step, number, size).tolist())))
        return drawn(step, number, size)

    method._key_order = note
    method.before_step()
    for part in (slice(0, 4), slice(4, 8)):
        method(batch_of(size=8, part=part))
    assert [number for number, _ in orders] == list(range(6))
    assert len({order for _, order in orders}) > 1


def test_state_resumes_bit_for_bit() -> None:
    def train(method: SeCo, steps: range) -> list[float]:
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
        losses = []
        for step in steps:
            method.before_step()
            loss = method(batch_of(step=step)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step()
            losses.append(loss.item())
        return losses

    expected = train(make(), range(4))
    first = make()
    losses = train(first, range(2))
    second = make()
    second.load_state_dict(first.state_dict())
    assert losses + train(second, range(2, 4)) == expected


def test_the_loss_is_float32_under_autocast() -> None:
    expected = make(temperature=0.2)(batch_of()).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = make(temperature=0.2)(batch_of())
    assert out.loss.dtype == torch.float32
    assert out.loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert {v.dtype for v in out.logs.values()} == {torch.float32}
