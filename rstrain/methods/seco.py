"""Seasonal contrast: embedding spaces with heads and queues of their own over one encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain.losses.gauges import embedding_std
from rstrain.losses.infonce import contrastive_logits, info_nce, top_accuracy
from rstrain.losses.precision import full_precision, no_autocast
from rstrain.methods.base import Batch, RunFacts, StepOutput
from rstrain.methods.momentum import KeyOrder, MomentumMethod, head_seed, own_part
from rstrain.methods.seco_config import SeCoConfig
from rstrain.models.backbone import Backbone
from rstrain.models.heads import projection_head
from rstrain.models.init import seeded
from shards.errors import ConfigError


class SpaceBranch(nn.Module):
    """Backbone and a projection head for each embedding space."""

    def __init__(self, backbone: Backbone, dim: int, spaces: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleList(projection_head(backbone.features, dim) for _ in range(spaces))

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> projections [B, S, D], not normalised."""
        features = self.backbone(images)
        return torch.stack([head(features) for head in self.heads], dim=1)


@dataclass
class SpaceSimilarities:
    """What the objective sees of one micro-batch."""

    logits: list[Tensor]
    """One for each space, the positive in column 0: [B, 1 + K] for the first, [B, 1 + K + N (S-1)] for the others."""
    query: Tensor
    """[B, S, D], unit length in each space."""


class SeCo(MomentumMethod):
    """Seasonal contrast (Mañas et al. 2021).

    View 0 is the query, view 1 + i the positive of space i. Space 0 must not tell date or augmentation (key: augmented,
    another date), space 1 tells augmentation (key: another date), space 2 tells the season (key: augmented, same date).
    In spaces 1 and 2 the keys of the other spaces' views are negatives too, its own included; all keys of a space go
    through its own head. The losses are summed (section 3.2), so the gradient is about three times that of MoCo.

    Args:
        config: options.
        backbone: becomes the query encoder; the key encoder starts as its copy.
        facts: seed of the run.
        key_order: order of shuffle-BN, for tests.
    """

    def __init__(
        self, config: SeCoConfig, backbone: Backbone, facts: RunFacts, key_order: KeyOrder | None = None
    ) -> None:
        with seeded(head_seed(facts)):
            query = SpaceBranch(backbone, config.dim, config.spaces)
        super().__init__(config, facts, query, spaces=config.spaces, key_order=key_order)
        self.config = config

    def forward(self, batch: Batch) -> StepOutput:
        """Sum of the contrastive losses of the spaces.

        Shapes: view [B, C, H, W] -> z [B, S, D] -> S logits.
        """
        seen = self.similarities(batch)
        with no_autocast(seen.query):
            losses = torch.stack([info_nce(logits) for logits in seen.logits])
            loss = losses.sum()
        with torch.no_grad():
            logs = {f"loss_{i}": own for i, own in enumerate(losses.detach())}
            logs |= {f"acc1_{i}": top_accuracy(logits) for i, logits in enumerate(seen.logits)}
            spread = torch.stack([embedding_std(query) for query in seen.query.unbind(1)])
            logs["embedding_std"] = spread.min()  # one space may collapse alone
        return StepOutput(loss, logs)

    def similarities(self, batch: Batch) -> SpaceSimilarities:
        """Encode query and keys, and compare them in each space."""
        images, *key_images = batch.views
        spaces, local = self.config.spaces, len(images)
        if len(key_images) != spaces:
            raise ConfigError(
                f"seco with mode={self.config.mode} takes {1 + spaces} views of a sample; the batch has {len(batch.views)}"
            )
        self.check_batch(local)
        z = full_precision(self.query(images))
        done = len(self._pending) * spaces
        joined = [self.encode_keys(view, batch.step, done + i) for i, view in enumerate(key_images)]
        self.keep(torch.stack([view[:, i] for i, view in enumerate(joined)], dim=1))
        own = [own_part(view, local) for view in joined]
        more = joined if self.config.batch_negatives == "all" else own
        with no_autocast(z):
            query = F.normalize(z, dim=2)
            logits = [
                contrastive_logits(
                    query[:, i],
                    own[i][:, i],
                    self.queue[i].to(z.dtype),
                    self.config.temperature,
                    [view[:, i] for j, view in enumerate(more) if i and j != i],
                )
                for i in range(spaces)
            ]
        return SpaceSimilarities(logits, query)
