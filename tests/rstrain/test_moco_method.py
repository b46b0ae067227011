from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rstrain.methods import MoCoConfig, RunFacts, method_config, method_kinds
from rstrain.methods.base import Batch
from rstrain.methods.moco import MoCo
from rstrain.models.backbone import build_backbone
from shards.errors import ConfigError

torch.set_num_threads(1)


def make(batch: int = 8, **options: Any) -> MoCo:
    config = MoCoConfig.build(**({"queue": 64, "dim": 16} | options))
    facts = RunFacts(seed=3, batch=batch, samples=100, epochs=2, geo_classes=7 if config.geo else None)
    return config.create(build_backbone("resnet18", 2, stem="small", seed=3), facts)


def images(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, 2, 16, 16, generator=generator) for _ in range(2))  # type: ignore[return-value]


def batch_of(views: tuple[Tensor, ...], step: int = 0, part: slice = slice(None)) -> Batch:
    rows = torch.arange(len(views[0]))
    return Batch(tuple(v[part] for v in views), rows[part], step, geo=(rows % 7)[part])


def test_four_kinds_and_what_they_ask_for() -> None:
    facts = {
        k: (c(kind=k).pairing, c(kind=k).needs_geo) for k, c in method_kinds().items() if c is MoCoConfig
    }
    assert facts == {
        "moco": ("self", False),
        "moco-geo": ("self", True),
        "moco-tp": ("temporal", False),
        "moco-geo-tp": ("temporal", True),
    }
    assert method_config("moco-tp", queue=128).kind == "moco-tp"
    with pytest.raises(ConfigError, match=r"unknown method 'moko'.*did you mean moco"):
        method_config("moko")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 65}, "batch=65 is larger than queue=64"),
        ({"geo_weight": 2.0}, "geo_weight has no meaning for moco"),
        ({"loss": "ml_cpc", "alpha": 65}, "alpha=65 must be below 1 \\+ queue = 65"),
        ({"temperature": 0}, "temperature: "),
    ],
)
def test_settings_at_odds_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_geo_without_clusters_is_refused() -> None:
    config = MoCoConfig(kind="moco-geo-tp")
    with pytest.raises(ConfigError, match=r"rsdata geocluster.*or use moco-tp"):
        config.create(build_backbone("resnet18"), RunFacts())
    method = make(kind="moco-geo")
    with pytest.raises(ConfigError, match="the batch has none"):
        method(Batch(images(4), torch.arange(4), 0))


def test_a_batch_that_does_not_fit_is_refused_before_anything_moves() -> None:
    method = make(bn_splits=2)
    with pytest.raises(ConfigError, match="3 samples a rank does not divide by bn_splits=2"):
        method(batch_of(images(3)))
    with pytest.raises(ConfigError, match="66 keys but queue=64"):
        method(batch_of(images(66)))
    with pytest.raises(ConfigError, match="two views of a sample; the batch has 1"):
        method(batch_of(images(4)[:1]))


def test_the_queue_wraps_round_and_drops_the_oldest() -> None:
    method = make(queue=10)
    before, kept = method.queue.clone(), []
    for step in range(2):
        method.before_step()
        method(batch_of(images(6, seed=step), step))
        kept.append(method._pending[0][0])
        method.after_step()
    assert int(method.queue_ptr) == 2
    expected = torch.cat((kept[1][4:], kept[0][2:], kept[1][:4])).T
    assert torch.equal(method.queue, expected)
    assert not torch.isin(before, method.queue).all()
    torch.testing.assert_close(method.queue.norm(dim=0), torch.ones(10))


@pytest.mark.parametrize("kind", ["moco", "moco-geo-tp"])
def test_two_micro_batches_are_one_batch_of_two_splits(kind: str) -> None:
    """Keys keep their places (`shuffle=False`), so the parts that share statistics are the same in both runs."""
    whole, parts = make(kind=kind, bn_splits=2, shuffle=False), make(kind=kind, shuffle=False)
    views = images(8)
    whole.before_step()
    out = whole(batch_of(views))
    out.loss.backward()
    whole.after_step()
    parts.before_step()
    losses = []
    for part in (slice(0, 4), slice(4, 8)):
        loss = parts(batch_of(views, part=part)).loss / 2
        loss.backward()
        losses.append(loss.detach())
    parts.after_step()
    torch.testing.assert_close(sum(losses), out.loss.detach(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(parts.queue, whole.queue, atol=1e-6, rtol=0)
    assert torch.equal(parts.queue_ptr, whole.queue_ptr)
    for (name, a), b in zip(parts.named_parameters(), whole.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=2e-6, rtol=1e-5, msg=name)


def test_shuffling_mixes_keys_and_leaves_their_order() -> None:
    plain, shuffled = make(bn_splits=4, shuffle=False), make(bn_splits=4)
    views = images(16)

    def keys(method: MoCo) -> Tensor:
        method.before_step()
        method(batch_of(views))
        return method._pending[0][0]

    assert not torch.allclose(keys(plain), keys(shuffled), atol=1e-3), (
        "each key was normalised in other company"
    )
    shuffled.eval().load_state_dict(plain.eval().state_dict())
    torch.testing.assert_close(
        keys(plain), keys(shuffled)
    )  # company does not matter now: every key is in its place
    orders = [shuffled._permutation(step, micro, 16).tolist() for step, micro in ((0, 0), (1, 0), (0, 1))]
    assert all(sorted(order) == list(range(16)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_same_seed_same_method_and_the_key_starts_as_the_query() -> None:
    first, second = make(kind="moco-geo"), make(kind="moco-geo")
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert all(
        torch.equal(a, b) for a, b in zip(first.query.parameters(), first.key.parameters(), strict=True)
    )
    assert not any(p.requires_grad for p in first.key.parameters())
    torch.testing.assert_close(first.queue.norm(dim=0), torch.ones(64))


def test_the_loss_is_float32_under_autocast_and_close_to_full_precision() -> None:
    full, half = make(kind="moco-geo", temperature=0.2), make(kind="moco-geo", temperature=0.2)
    expected = full(batch_of(images(8))).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = half(batch_of(images(8)))
    assert out.loss.dtype == torch.float32
    assert out.loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert {v.dtype for v in out.logs.values()} == {torch.float32}
    assert not any(v.requires_grad for v in out.logs.values())
    half.after_step()
    torch.testing.assert_close(half.queue.norm(dim=0), torch.ones(64), atol=1e-5, rtol=0)


def test_presets_differ_in_what_the_geo_head_sees() -> None:
    repo, paper = make(kind="moco-geo"), make(kind="moco-geo", preset="paper")
    seen = repo.similarities(batch_of(images(8)))
    assert repo.geo_head is not None and paper.geo_head is not None
    assert torch.equal(repo.geo_head.linear.weight, paper.geo_head.linear.weight)
    target = torch.arange(8) % 7
    by_repo, by_paper = (m._geo(m.geo_head, seen, target)[0] for m in (repo, paper))  # type: ignore[arg-type]
    linear = repo.geo_head.linear
    cross_entropy = torch.nn.functional.cross_entropy
    torch.testing.assert_close(by_repo, cross_entropy(linear(seen.z.relu()), target))
    torch.testing.assert_close(
        by_paper, cross_entropy(linear(seen.z / seen.z.norm(dim=1, keepdim=True)), target)
    )


def test_state_resumes_bit_for_bit() -> None:
    def train(method: MoCo, steps: range) -> list[float]:
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05)
        losses = []
        for step in steps:
            method.before_step()
            loss = method(batch_of(images(8, seed=step), step)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_step()
            losses.append(loss.item())
        return losses

    whole = make(kind="moco-geo", bn_splits=2)
    expected = train(whole, range(4))
    first = make(kind="moco-geo", bn_splits=2)
    losses = train(first, range(2))
    second = make(kind="moco-geo", bn_splits=2)
    second.load_state_dict(first.state_dict())
    losses += train(second, range(2, 4))
    assert losses == expected
    assert all(
        torch.equal(a, b)
        for a, b in zip(second.state_dict().values(), whole.state_dict().values(), strict=True)
    )
