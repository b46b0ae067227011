"""The linear classifier equals torch's own SGD, and its rate is never chosen on test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rstrain.evals.config import LinearConfig
from rstrain.evals.linear import choose_rate, fit_heads, fit_linear
from shards.errors import ConfigError
from shards.random import generator, permute, stream

torch.set_num_threads(1)


def config(**values: object) -> LinearConfig:
    return LinearConfig.build(data="none", **values)


def blobs(n: int = 300, width: int = 8, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, n)
    centre = random.normal(size=(classes, width))
    x = centre[label] + random.normal(size=(n, width))
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(label)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_each_head_equals_torch_sgd_on_its_own(decay: float) -> None:
    x, label = blobs(70)
    lrs = (0.05, 1.0)
    c = config(preset="repo", epochs=4, milestones=(2, 3), head_batch=32, weight_decay=decay, lrs=lrs)
    heads = fit_heads(lambda epoch: x, label, classes=4, lrs=lrs, config=c, seed=3)
    for number, lr in enumerate(lrs):
        plain = torch.nn.Linear(8, 4)
        start = generator(stream("evals/linear/init"), 3).normal(0, 0.01, (8, 4)).astype(np.float32)
        with torch.no_grad():
            plain.weight.copy_(torch.from_numpy(start).T)
            plain.bias.zero_()
        sgd = torch.optim.SGD(plain.parameters(), lr=lr, momentum=0.9, weight_decay=decay)
        steps = torch.optim.lr_scheduler.MultiStepLR(sgd, [2, 3], gamma=0.1)
        for epoch in range(4):
            order = torch.from_numpy(permute(np.arange(70), 70, stream("evals/linear/order"), 3, epoch))
            for rows in order.split(32):  # 32, 32 and a short batch of 6
                sgd.zero_grad()
                F.cross_entropy(plain(x[rows]), label[rows]).backward()
                sgd.step()
            steps.step()
        torch.testing.assert_close(heads.weight[:, number], plain.weight.T, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(heads.bias[number], plain.bias, rtol=1e-4, atol=1e-5)


def test_standardised_features_make_scale_irrelevant() -> None:
    x, label = blobs()
    c = config(epochs=5, lrs=(0.1,))
    plain = fit_heads(lambda e: x, label, classes=4, lrs=(0.1,), config=c, seed=0)
    moved = x * torch.logspace(-3, 3, 8) + 100.0
    scaled = fit_heads(lambda e: moved, label, classes=4, lrs=(0.1,), config=c, seed=0)
    torch.testing.assert_close(scaled.logits(moved), plain.logits(x), rtol=1e-2, atol=1e-2)


def test_the_rate_is_chosen_on_whole_held_out_places() -> None:
    x, label = blobs(400)
    place = np.repeat(np.arange(80), 5)
    seen: list[int] = []

    def features(epoch: int) -> torch.Tensor:
        seen.append(epoch)
        return x

    c = config(lrs=(1e-6, 0.1), epochs=10, standardise=False)
    rate, found = choose_rate(features, x, label, place, classes=4, config=c, seed=0)
    assert rate == 0.1
    assert found[0.1] > found[1e-6] + 20
    again = choose_rate(features, x, label, place, classes=4, config=c, seed=0)
    assert again == (rate, found), "the choice is a function of the seed"


def test_views_of_a_held_out_place_are_not_learnt_from() -> None:
    # The features name the place and nothing else: one leaked view would give its siblings away.
    random = np.random.default_rng(0)
    place = np.repeat(np.arange(120), 4)
    label = torch.from_numpy(np.repeat(random.integers(0, 4, 120), 4))
    x = torch.eye(120)[torch.from_numpy(place)]
    c = config(lrs=(0.1, 1.0), epochs=30, standardise=False, holdout=0.3)
    _, found = choose_rate(lambda e: x, x, label, place, classes=4, config=c, seed=0)
    assert max(found.values()) < 50, "chance is 25 %"


def test_a_rate_that_diverges_is_no_candidate_and_alone_is_an_error() -> None:
    x, label = blobs()
    place = np.arange(len(x))
    c = config(lrs=(0.1, 1e38), epochs=3, standardise=False)
    rate, found = choose_rate(lambda e: x, x, label, place, classes=4, config=c, seed=0)
    assert rate == 0.1 and list(found) == [0.1]
    with pytest.raises(ConfigError, match="diverged"):
        fit_linear(lambda e: x, x, label, place, classes=4, config=config(lrs=(1e38,), epochs=3), seed=0)


def test_presets_are_written_out_and_options_override_them() -> None:
    repo = config(preset="repo")
    assert (repo.epochs, repo.lrs, repo.schedule, repo.standardise, repo.random_crop) == (
        100,
        (1.0,),
        "step",
        False,
        True,
    )
    assert config(preset="repo", epochs=7).epochs == 7
    with pytest.raises(ConfigError, match="learning rate above 0"):
        config(lrs=())
