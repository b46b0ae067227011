"""PSANet: each pixel gathers from, and sends to, every other, as an attention over offsets says (Zhao et al. 2018)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from rstrain.dense.layers import brought, conv_norm

WIDTH = 512


def offsets(side: int, mask: int) -> tuple[Tensor, Tensor]:
    """Where the logit of each pair lies among the mask's channels, int64 [side², side²], and whether it has one, bool.

    Rows are targets, columns queries: for the query (y, x) and the target (i, j) it is channel
    (i - y + mask // 2) * mask + (j - x + mask // 2) at the query.
    """
    y = torch.arange(side).repeat_interleave(side)
    x = torch.arange(side).repeat(side)
    down = y[:, None] - y[None] + mask // 2
    across = x[:, None] - x[None] + mask // 2
    inside = (down >= 0) & (down < mask) & (across >= 0) & (across < mask)
    return torch.where(inside, down * mask + across, 0), inside


class _Branch(nn.Module):
    """Attention of one direction; logits outside of the mask are 0, and the softmax is over the sources."""

    index: Tensor
    inside: Tensor

    def __init__(self, inside: int, side: int, mask: int, *, collect: bool) -> None:
        super().__init__()
        self.collect = collect
        self.reduce = conv_norm(inside, WIDTH, 1)
        self.attend = nn.Sequential(conv_norm(WIDTH, WIDTH, 1), nn.Conv2d(WIDTH, mask * mask, 1, bias=False))
        index, known = offsets(side, mask)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("inside", known, persistent=False)

    def forward(self, x: Tensor, side: int) -> Tensor:
        x = brought(self.reduce(x), (side, side))
        return flow(x, self.attend(x), self.index, self.inside, collect=self.collect)


def flow(x: Tensor, logits: Tensor, index: Tensor, inside: Tensor, *, collect: bool) -> Tensor:
    """What reaches each pixel, [B, F, s, s].

    Args:
        x: [B, F, s, s].
        logits: [B, mask², s, s] at the queries.
        index: see `offsets`.
        inside: see `offsets`.
        collect: a query takes from the targets, by a softmax over the targets; else it sends to them, and a target
            takes from the queries, by a softmax over the queries.
    """
    pair = logits.flatten(2).gather(1, index.expand(len(x), -1, -1)) * inside  # [B, target, query]
    # the softmax is over the sources: targets of a query, or queries of a target
    weight = pair.softmax(dim=1) if collect else pair.transpose(1, 2).softmax(dim=1)
    return torch.bmm(x.flatten(2), weight.to(x.dtype)).view_as(x)


class PSANetHead(nn.Module):
    """Collect and distribute at half the size, beside the map itself (semseg's PSANet: 512 channels, shrunk by 2)."""

    def __init__(self, inside: int, classes: int, cells: int) -> None:
        super().__init__()
        self.side = max(1, cells // 2)
        mask = 2 * self.side - 1
        self.collect = _Branch(inside, self.side, mask, collect=True)
        self.distribute = _Branch(inside, self.side, mask, collect=False)
        self.widen = conv_norm(2 * WIDTH, inside, 1)
        self.logits = nn.Sequential(
            conv_norm(2 * inside, WIDTH), nn.Dropout2d(0.1), nn.Conv2d(WIDTH, classes, 1)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse -> logits at the size of the coarsest."""
        x = maps[-1]
        both = torch.cat((self.collect(x, self.side), self.distribute(x, self.side)), dim=1)
        around = brought(self.widen(both), x.shape[-2:])
        return cast("Tensor", self.logits(torch.cat((x, around), dim=1)))
