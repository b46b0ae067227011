"""Supervised classification, the baseline of the self-supervised methods."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rstrain.losses.gauges import embedding_std, label_accuracy
from rstrain.losses.precision import full_precision, no_autocast
from rstrain.methods.base import Batch, Method, RunFacts, StepOutput
from rstrain.methods.supervised_config import SupervisedConfig
from rstrain.models.backbone import Backbone
from rstrain.models.init import seeded
from shards import random
from shards.errors import ConfigError

_HEAD = random.stream("supervised/head")


class Supervised(Method):
    """One linear layer on the pooled feature, and cross-entropy."""

    def __init__(self, config: SupervisedConfig, backbone: Backbone, facts: RunFacts, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        with seeded(int(random.address(_HEAD, facts.seed)) >> 1):
            self.head = nn.Linear(backbone.features, outputs)

    @property
    def encoder(self) -> nn.Module:
        """The backbone, without its head."""
        return self.backbone

    def forward(self, batch: Batch) -> StepOutput:
        """Mean cross-entropy.

        Shapes: view [B, C, H, W] -> features [B, F] -> logits [B, outputs].
        """
        if batch.label is None:
            raise ConfigError(
                "supervised needs the class of each sample and the batch has none: give a labelled set"
            )
        features = self.backbone(batch.views[0])
        logits = full_precision(self.head(features))
        with no_autocast(logits):
            loss = F.cross_entropy(logits, batch.label, label_smoothing=self.config.label_smoothing)
        with torch.no_grad():
            logs = {
                "acc1": label_accuracy(logits, batch.label),
                "acc5": label_accuracy(logits, batch.label, k=5),
                "embedding_std": embedding_std(F.normalize(full_precision(features), dim=1)),
            }
        return StepOutput(loss, logs)
