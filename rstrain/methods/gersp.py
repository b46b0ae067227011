"""GeRSP: a teacher-student contrast on one data set and a classifier on another, over one encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain.losses.gauges import embedding_std, label_accuracy
from rstrain.losses.infonce import contrastive_logits, info_nce, top_accuracy
from rstrain.losses.precision import full_precision, no_autocast
from rstrain.methods.base import Batch, RunFacts, StepOutput
from rstrain.methods.gersp_config import GeRSPConfig
from rstrain.methods.momentum import Branch, KeyOrder, MomentumMethod, head_seed, own_part
from rstrain.models.backbone import Backbone
from rstrain.models.heads import projection_head
from rstrain.models.init import redraw, seeded
from shards import random
from shards.errors import ConfigError

_TEACHER = random.stream("gersp/teacher")


@dataclass
class TwoTasks:
    """What the two objectives see of one micro-batch."""

    logits: Tensor
    """[B, 1 + K], the positive in column 0."""
    query: Tensor
    """[B, D], unit length."""
    classes: Tensor
    """[L, classes] of the labelled images."""


class GeRSP(MomentumMethod):
    """Generic knowledge boosted pre-training (Huang et al. 2024).

    The student sees query views and labelled images in one forward, so its batch norms take their statistics over both;
    the teacher sees key views only. What is exported is the student.

    Args:
        config: options.
        backbone: becomes the student.
        facts: seed of the run, classes of the second data set.
        key_order: order of shuffle-BN, for tests.
    """

    def __init__(
        self, config: GeRSPConfig, backbone: Backbone, facts: RunFacts, key_order: KeyOrder | None = None
    ) -> None:
        with seeded(head_seed(facts)):
            query = Branch(backbone, projection_head(backbone.features, config.dim))
            classifier = nn.Linear(backbone.features, facts.second_classes or 0)
        super().__init__(config, facts, query, key_order=key_order)
        self.query: Branch
        self.key: Branch
        self.config = config
        self.classifier = classifier
        if config.independent:
            with seeded(int(random.address(_TEACHER, facts.seed)) >> 1):
                redraw(self.key.backbone)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the student's backbone and the teacher; the student's backbone is called without its head."""
        self.query.backbone.compile(*args, **kwargs)
        self.key.compile(*args, **kwargs)

    def followers(self) -> list[tuple[nn.Module, nn.Module]]:
        """The teacher, without its projector where that is frozen."""
        if self.config.frozen_projector:
            return [(self.key.backbone, self.query.backbone)]
        return super().followers()

    def forward(self, batch: Batch) -> StepOutput:
        """Contrastive loss of the first data set plus `alpha` times the cross-entropy of the second.

        Shapes: views [B, C, H, W] and labelled [L, C, H, W] -> features [B + L, F] -> logits [B, 1 + K], [L, classes].
        """
        second = batch.second
        if second is None or second.label is None:
            raise ConfigError(
                "gersp needs labelled images beside the views and the batch has none: give --data2"
            )
        seen = self.similarities(batch, second.views[0])
        with no_autocast(seen.query):
            contrastive = info_nce(seen.logits)
            supervised = F.cross_entropy(seen.classes, second.label)
            loss = contrastive + self.config.alpha * supervised
        with torch.no_grad():
            logs = {
                "loss_contrastive": contrastive.detach(),
                "loss_supervised": supervised.detach(),
                "acc1": top_accuracy(seen.logits),
                "acc1_label": label_accuracy(seen.classes, second.label),
                "acc5_label": label_accuracy(seen.classes, second.label, k=5),
                "embedding_std": embedding_std(seen.query),
            }
        return StepOutput(loss, logs)

    def similarities(self, batch: Batch, labelled: Tensor) -> TwoTasks:
        """Encode both data sets; compare the views with each other and the queue, and classify the labelled images."""
        if len(batch.views) != 2:
            raise ConfigError(f"gersp compares two views of a sample; the batch has {len(batch.views)}")
        images, key_images = batch.views
        self.check_batch(len(images))
        self.check_splits(len(labelled))
        own_features, labelled_features = self._joint(images, labelled)
        z = full_precision(self.query.head(own_features))
        classes = full_precision(self.classifier(labelled_features))
        joined = self.encode_keys(key_images, batch.step, len(self._pending))
        self.keep(joined)
        with no_autocast(z):
            query = F.normalize(z, dim=1)
            key = own_part(joined, len(images))
            logits = contrastive_logits(query, key, self.queue.to(z.dtype), self.config.temperature)
        return TwoTasks(logits, query, classes)

    def _joint(self, images: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
        """Features of both from one forward; each part of `bn_splits` holds its share of both."""
        splits = self.config.bn_splits
        shares = zip(images.chunk(splits), labelled.chunk(splits), strict=True)
        features = self.query.backbone(torch.cat([part for pair in shares for part in pair]))
        sizes = [len(images) // splits, len(labelled) // splits]
        own, other = features.unflatten(0, (splits, -1)).split(sizes, dim=1)
        return own.flatten(0, 1), other.flatten(0, 1)
