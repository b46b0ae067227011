"""Heads that are trained with a backbone and left behind afterwards."""

from __future__ import annotations

from torch import Tensor, nn


def projection_head(features: int, dim: int, *, mlp: bool = True) -> nn.Module:
    """[B, features] -> [B, dim]: linear, ReLU, linear as in MoCo v2 (Chen et al. 2020, section 3), or one linear layer."""
    if not mlp:
        return nn.Linear(features, dim)
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, dim))


class GeoHead(nn.Module):
    """Cluster logits from a projection (Ayush et al. 2021, section 4.2).

    The authors' code puts a ReLU before the linear layer; the formula in the paper has none.
    """

    def __init__(self, dim: int, classes: int, *, relu: bool = True) -> None:
        super().__init__()
        self.activation: nn.Module = nn.ReLU() if relu else nn.Identity()
        self.linear = nn.Linear(dim, classes)

    def forward(self, z: Tensor) -> Tensor:
        """[B, dim] -> [B, classes], no temperature."""
        logits: Tensor = self.linear(self.activation(z))
        return logits
