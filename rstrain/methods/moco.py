"""MoCo v2 with geo-cluster and temporal-positive variants, after geography-aware-ssl."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain import distributed
from rstrain.losses.gauges import embedding_std
from rstrain.losses.infonce import annealed_alpha, contrastive_logits, info_nce, ml_cpc, top_accuracy
from rstrain.losses.precision import full_precision, no_autocast
from rstrain.methods.base import Batch, Method, RunFacts, StepOutput
from rstrain.methods.moco_config import MoCoConfig
from rstrain.models.backbone import Backbone
from rstrain.models.heads import GeoHead, projection_head
from rstrain.models.init import seeded
from rstrain.models.split_norm import has_batch_norm, split_batch_norms
from shards import random
from shards.errors import ConfigError

_QUEUE = random.stream("moco/queue")
_HEADS = random.stream("moco/heads")
_SHUFFLE = random.stream("moco/shuffle")

KeyOrder = Callable[[int, int, int], Tensor]
"""(step, micro-batch, size) -> int64 [size]: which sample of the joined batch stands at each place; equal on all ranks."""


class Branch(nn.Module):
    """Backbone and projection head."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> projection [B, D], not normalised."""
        z: Tensor = self.head(self.backbone(images))
        return z


@dataclass
class Similarities:
    """What the objectives see of one micro-batch."""

    logits: Tensor
    """[B, 1 + K], the positive in column 0."""
    z: Tensor
    """[B, D], projection of the query before normalisation."""
    query: Tensor
    """[B, D], unit length."""


class MoCo(Method):
    """Momentum contrast (He et al. 2020, Chen et al. 2020; geo and temporal variants Ayush et al. 2021).

    Differences from the authors' code: the batch need not divide the queue (the pointer wraps round), keys enter the
    queue after the optimiser step instead of before the loss is taken (the logits are the same), gradient accumulation
    and `bn_splits` are added.

    Args:
        config: options.
        backbone: becomes the query encoder; the key encoder starts as its copy.
        facts: seed, epochs and geo classes of the run.
        key_order: order of shuffle-BN; by default a permutation keyed by (seed, step, micro-batch), which every rank
            computes for itself.
    """

    queue: Tensor
    queue_ptr: Tensor

    def __init__(
        self, config: MoCoConfig, backbone: Backbone, facts: RunFacts, key_order: KeyOrder | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.facts = facts
        self._key_order = key_order or self._permutation
        self._pending: list[Tensor] = []  # keys of this step, [W, B, D] a micro-batch
        with seeded(int(random.address(_HEADS, facts.seed)) >> 1):
            self.query = Branch(backbone, projection_head(backbone.features, config.dim, mlp=config.mlp))
            self.geo_head = (
                GeoHead(config.dim, facts.geo_classes or 0, relu=config.preset == "repo")
                if config.geo
                else None
            )
        split_batch_norms(self.query, config.bn_splits)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self._mixes = has_batch_norm(self.query)
        noise = random.generator(_QUEUE, facts.seed).standard_normal((config.dim, config.queue), np.float32)
        self.register_buffer("queue", F.normalize(torch.from_numpy(noise), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.int64))

    @property
    def encoder(self) -> nn.Module:
        """The query backbone, without its projection head."""
        return self.query.backbone

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile both branches; gathering and the queue stay as they are."""
        self.query.compile(*args, **kwargs)
        self.key.compile(*args, **kwargs)

    @torch.no_grad()
    def before_step(self) -> None:
        """Move the key encoder's parameters (not its batch-norm buffers) towards the query's."""
        self._pending.clear()
        keys: list[Tensor] = list(self.key.parameters())
        queries: list[Tensor] = list(self.query.parameters())
        torch._foreach_lerp_(keys, queries, 1.0 - self.config.encoder_momentum)

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
        self._check_batch(len(images))
        z = full_precision(self.query(images))
        key = self._encode_keys(key_images, batch.step)
        with no_autocast(z):
            query = F.normalize(z, dim=1)
            # the queue is handed over as it is: it changes in after_step, when the graph is gone
            logits = contrastive_logits(query, key, self.queue.to(z.dtype), self.config.temperature)
        return Similarities(logits, z, query)

    @torch.no_grad()
    def after_step(self) -> None:
        """Write the keys of the step over the oldest ones, in the order one process would have them."""
        if not self._pending:
            return
        keys = torch.stack(self._pending, dim=1).flatten(0, 2)  # [W, micro-batch, B, D] -> [n, D]
        self._pending.clear()
        size = self.queue.shape[1]
        places = (self.queue_ptr + torch.arange(len(keys), device=keys.device)) % size
        self.queue.index_copy_(1, places, keys.T.to(self.queue.dtype))
        self.queue_ptr.add_(len(keys)).remainder_(size)

    def _check_batch(self, local: int) -> None:
        splits, size = self.config.bn_splits, self.queue.shape[1]
        if local % splits:
            raise ConfigError(
                f"a batch of {local} samples a rank does not divide by bn_splits={splits}: use a multiple of {splits}"
            )
        keys = (len(self._pending) + 1) * local * distributed.world_size()
        if keys > size:
            raise ConfigError(
                f"a step makes {keys} keys but queue={size}: use a smaller batch or a longer queue"
            )

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

    @torch.no_grad()
    def _encode_keys(self, images: Tensor, step: int) -> Tensor:
        """[B, C, H, W] -> unit keys of the own batch [B, D]; those of all ranks wait for `after_step`."""
        world, rank, own = distributed.world_size(), distributed.rank(), len(images)
        here = slice(rank * own, (rank + 1) * own)
        if self.config.shuffle and self._mixes and world * self.config.bn_splits > 1:
            order = self._key_order(step, len(self._pending), world * own).to(images.device)
            shuffled = distributed.gather(self._project_keys(distributed.gather(images)[order[here]]))
            joined = torch.empty_like(shuffled)
            joined[order] = shuffled
        else:
            joined = distributed.gather(self._project_keys(images))
        self._pending.append(joined.view(world, own, -1))
        return joined[here]

    def _project_keys(self, images: Tensor) -> Tensor:
        return F.normalize(full_precision(self.key(images)), dim=1)

    def _permutation(self, step: int, micro: int, size: int) -> Tensor:
        places = np.arange(size, dtype=np.int64)
        return torch.from_numpy(random.permute(places, size, _SHUFFLE, self.facts.seed, step, micro))
