"""MoCo v2 with geo-cluster and temporal-positive variants, after geography-aware-ssl."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rstrain.losses.gauges import embedding_std
from rstrain.losses.infonce import annealed_alpha, contrastive_logits, info_nce, ml_cpc, top_accuracy
from rstrain.losses.precision import full_precision, no_autocast
from rstrain.methods.base import Batch, RunFacts, StepOutput
from rstrain.methods.moco_config import MoCoConfig
from rstrain.methods.momentum import Branch, KeyOrder, MomentumMethod, head_seed, own_part
from rstrain.models.backbone import Backbone
from rstrain.models.heads import GeoHead, projection_head
from rstrain.models.init import seeded
from shards.errors import ConfigError


@dataclass
class Similarities:
    """What the objectives see of one micro-batch."""

    logits: Tensor
    """[B, 1 + K], the positive in column 0."""
    z: Tensor
    """[B, D], projection of the query before normalisation."""
    query: Tensor
    """[B, D], unit length."""


class MoCo(MomentumMethod):
    """Momentum contrast (He et al. 2020, Chen et al. 2020; geo and temporal variants Ayush et al. 2021).

    Beside what `MomentumMethod` changes, gradient accumulation and `bn_splits` are added to the authors' code.

    Args:
        config: options.
        backbone: becomes the query encoder; the key encoder starts as its copy.
        facts: seed, epochs and geo classes of the run.
        key_order: order of shuffle-BN, for tests.
    """

    def __init__(
        self, config: MoCoConfig, backbone: Backbone, facts: RunFacts, key_order: KeyOrder | None = None
    ) -> None:
        with seeded(head_seed(facts)):
            query = Branch(backbone, projection_head(backbone.features, config.dim, mlp=config.mlp))
            geo = (
                GeoHead(config.dim, facts.geo_classes or 0, relu=config.preset == "repo")
                if config.geo
                else None
            )
        super().__init__(config, facts, query, key_order=key_order)
        self.config = config
        self.geo_head = geo

    def forward(self, batch: Batch) -> StepOutput:
        """Contrastive loss, and the geo loss where the kind has one.

        Shapes: view [B, C, H, W] -> z [B, D] -> logits [B, 1 + K].
        """
        seen = self.similarities(batch)
        with no_autocast(seen.logits):
            contrastive = self._contrastive(seen.logits, batch.step)
            loss = contrastive
            logs = {"loss_contrastive": contrastive.detach()}
            if self.geo_head is not None:
                geo, accuracy = self._geo(self.geo_head, seen, batch.geo)
                loss = loss + self.config.geo_weight * geo
                logs |= {"loss_geo": geo.detach(), "acc1_geo": accuracy}
            with torch.no_grad():
                logs |= {"acc1": top_accuracy(seen.logits), "embedding_std": embedding_std(seen.query)}
        return StepOutput(loss, logs)

    def similarities(self, batch: Batch) -> Similarities:
        """Encode both views and compare them with each other and with the queue."""
        if len(batch.views) != 2:
            raise ConfigError(
                f"{self.config.kind} compares two views of a sample; the batch has {len(batch.views)}"
            )
        images, key_images = batch.views
        self.check_batch(len(images))
        z = full_precision(self.query(images))
        joined = self.encode_keys(key_images, batch.step, len(self._pending))
        self.keep(joined)
        key = own_part(joined, len(images))
        with no_autocast(z):
            query = F.normalize(z, dim=1)
            # the queue is handed over as it is: it changes in after_step, when the graph is gone
            logits = contrastive_logits(query, key, self.queue.to(z.dtype), self.config.temperature)
        return Similarities(logits, z, query)

    def _contrastive(self, logits: Tensor, step: int) -> Tensor:
        config = self.config
        if config.loss == "cpc":
            return info_nce(logits)
        alpha = config.alpha
        if config.alpha_geo:
            alpha = annealed_alpha(alpha, config.alpha_low, self.facts.epoch(step), self.facts.epochs)
        return ml_cpc(logits, alpha)

    def _geo(self, head: GeoHead, seen: Similarities, target: Tensor | None) -> tuple[Tensor, Tensor]:
        if target is None:
            raise ConfigError(
                f"{self.config.kind} needs the geo cluster of each sample and the batch has none: make clusters with "
                f"`rsdata geocluster`"
            )
        logits = head(seen.z if self.config.preset == "repo" else seen.query)
        accuracy = (logits.argmax(dim=1) == target).to(torch.float32).mean() * 100.0
        return F.cross_entropy(logits, target), accuracy
