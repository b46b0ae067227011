from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from rstrain.losses.gauges import embedding_std
from rstrain.losses.infonce import (
    annealed_alpha,
    batch_accuracy,
    contrastive_logits,
    info_nce,
    ml_cpc,
    top_accuracy,
)
from rstrain.losses.precision import full_precision, no_autocast


def test_info_nce_by_hand() -> None:
    # cosines 1, 0 | 0, 1 over T = 0.5: each row is -log(e^2 / (e^2 + e^0 + e^0)) or -log(e^0 / ...)
    eye = torch.eye(2)
    logits = contrastive_logits(eye, eye, torch.zeros(2, 2), 0.5)
    assert logits.tolist() == [[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    assert info_nce(logits).item() == pytest.approx(math.log(math.exp(2) + 2) - 2, abs=1e-6)


def test_ml_cpc_with_alpha_one_is_a_kl_that_a_perfect_batch_brings_to_zero() -> None:
    logits = torch.zeros(4, 9)
    logits[:, 0] = 200.0
    assert ml_cpc(logits, 1.0).item() == pytest.approx(0.0, abs=1e-5)
    # nothing learnt: p = 1/(4*9) for each entry, target 1/4: KL = log 9
    assert ml_cpc(torch.zeros(4, 9), 1.0).item() == pytest.approx(math.log(9), abs=1e-6)


def test_ml_cpc_against_the_definition_in_float64() -> None:
    logits = torch.randn(
        5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    alpha, k = 2.5, 12
    beta = (k - alpha) / (k - 1)
    weight = torch.tensor([alpha] + [beta] * (k - 1), dtype=torch.float64)
    p = logits.exp() * weight
    p = p / p.sum()
    expected = (0.2 * (math.log(0.2) - p[:, 0].log())).sum() / alpha  # KL(target || p), 1/5 on each positive
    assert ml_cpc(logits, alpha).item() == pytest.approx(expected.item(), abs=1e-12)
    assert torch.autograd.gradcheck(lambda x: ml_cpc(x, alpha), logits)


def test_annealing_ends_where_it_should() -> None:
    assert annealed_alpha(8.0, 0.5, 0, 10) == pytest.approx(8.0)
    assert annealed_alpha(8.0, 0.5, 10, 10) == pytest.approx(0.5)
    assert annealed_alpha(8.0, 0.5, 5, 10) == pytest.approx(2.0), "geometric mean half way"


def test_accuracies() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 2.0], [1.5, 2.0, 0.0]])
    assert top_accuracy(logits).item() == pytest.approx(100 / 3)
    assert top_accuracy(logits, k=2).item() == pytest.approx(200 / 3)
    assert batch_accuracy(logits).item() == pytest.approx(100 / 3), "of 3, 2, 2, 2 one is a positive"


def test_embedding_std_is_one_on_the_sphere_and_zero_at_collapse() -> None:
    points = F.normalize(torch.randn(20_000, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    assert embedding_std(points).item() == pytest.approx(1.0, abs=0.01)
    assert embedding_std(points[:1].expand(100, 64)).item() == pytest.approx(0.0, abs=1e-6)


def test_losses_leave_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = torch.randn(8, 16) @ torch.randn(16, 16)
        assert half.dtype == torch.bfloat16
        x = full_precision(half)
        with no_autocast(x):
            assert (x @ x.T).dtype == torch.float32
        assert (x @ x.T).dtype == torch.bfloat16, "why float() alone is not enough"
    assert full_precision(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
