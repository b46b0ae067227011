"""VICReg (Bardes et al. 2022): two views agree, each dimension varies, no two dimensions say the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rstrain import distributed

EPSILON = 1e-4
"""Added to a variance before its root is taken."""


@dataclass(frozen=True)
class VICRegTerms:
    """Scalars, unweighted, as the authors' code has them."""

    invariance: Tensor
    """Mean squared difference over the samples of this rank and the dimensions."""
    variance: Tensor
    """Mean over dimensions and over both views of how far the standard deviation falls short of 1."""
    covariance: Tensor
    """Squared covariances of different dimensions, summed, over D; summed over both views."""

    def logs(self) -> dict[str, Tensor]:
        """Detached."""
        return {
            "loss_invariance": self.invariance.detach(),
            "loss_variance": self.variance.detach(),
            "loss_covariance": self.covariance.detach(),
        }


def vicreg_terms(x: Tensor, y: Tensor, *, rows: int | None = None) -> VICRegTerms:
    """The three terms of embeddings x and y [B, D] of two views; float32 or wider, outside autocast.

    Invariance is of this rank, the other two of the joined batch [W * B, D], gathered with gradient: with the averaging
    of DDP the gradient is that of one process on the joined batch.

    Args:
        x: of the first view.
        y: of the second.
        rows: the covariance is divided by `rows - 1`; left out: the rows there are. The authors' code takes the batch
            size of the config, so it under-weights a last, partial batch.
    """
    invariance = (x - y).square().mean()
    joined = distributed.gather_with_gradient(torch.cat((x, y), dim=1))  # one collective instead of two
    count = len(joined)
    joined = joined - joined.mean(dim=0)
    spread = joined.square().sum(dim=0)  # of each dimension of both views, times count - 1
    deviation = (spread / (count - 1) + EPSILON).sqrt()
    variance = torch.relu(1.0 - deviation).mean()
    scale = 1.0 / ((count if rows is None else rows) - 1)
    covariance = sum(
        (_off_diagonal(z, s, scale) for z, s in zip(joined.chunk(2, dim=1), spread.chunk(2), strict=True)),
        start=x.new_zeros(()),
    )
    return VICRegTerms(invariance, variance, covariance)


def _off_diagonal(z: Tensor, spread: Tensor, scale: float) -> Tensor:
    """Sum of squares off the diagonal of zᵀz * scale, over D; z [n, D] is centred, spread [D] is the diagonal of zᵀz.

    zᵀz and zzᵀ have equal sums of squares, so the smaller one is made: for a batch of 256 and D = 8192 a thousandth of
    the memory.
    """
    count, dim = z.shape
    if count < dim:
        return ((z @ z.T * scale).square().sum() - (spread * scale).square().sum()) / dim
    return ((z.T @ z - spread.diag()) * scale).square().sum() / dim
