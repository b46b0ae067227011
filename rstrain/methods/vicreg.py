"""VICReg."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from rstrain.losses.gauges import embedding_std
from rstrain.losses.precision import full_precision, no_autocast
from rstrain.losses.vicreg import VICRegTerms, vicreg_terms
from rstrain.methods.base import Batch, Method, RunFacts, StepOutput
from rstrain.methods.vicreg_config import VICRegConfig
from rstrain.models.backbone import Backbone
from rstrain.models.init import seeded
from rstrain.models.sync_norm import sync_batch_norms
from shards import random
from shards.errors import ConfigError

_EXPANDER = random.stream("vicreg/expander")


class VICReg(Method):
    """Variance-invariance-covariance regularisation (Bardes et al. 2022; temporal positives as in the SpaceNet 7 study).

    Differences from the authors' code: the covariance is divided by the rows there are, everything after the expander
    is float32, and gradient accumulation exists: statistics are then of a part of the batch.

    The module is made after the process group, since `sync_bn` acts where there are several ranks.

    Args:
        config: options.
        backbone: becomes the encoder.
        facts: seed of the run.
        covariance_rows: divisor of the covariance plus 1, of all ranks; by default the rows there are.
    """

    def __init__(
        self, config: VICRegConfig, backbone: Backbone, facts: RunFacts, covariance_rows: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.covariance_rows = covariance_rows
        self.backbone = backbone
        with seeded(int(random.address(_EXPANDER, facts.seed)) >> 1):
            self.expander = expander(backbone.features, config.widths)
        if config.sync_bn:
            sync_batch_norms(self)

    @property
    def encoder(self) -> nn.Module:
        """The backbone, without the expander."""
        return self.backbone

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile backbone and expander; the gathering loss stays as it is."""
        self.backbone.compile(*args, **kwargs)
        self.expander.compile(*args, **kwargs)

    def forward(self, batch: Batch) -> StepOutput:
        """Weighted sum of the three terms.

        Shapes: view [B, C, H, W] -> backbone [B, F] -> expander z [B, D] -> gathered [W * B, D]. The views pass one
        after the other, so batch norms see one view at a time.
        """
        if len(batch.views) != 2:
            raise ConfigError(f"vicreg compares two views of a sample; the batch has {len(batch.views)}")
        if len(batch.rows) < 2:
            raise ConfigError(
                "vicreg takes the variance over the batch and got a part of 1 sample: use a larger --batch, or less "
                "--accumulate or ranks"
            )
        x, y = (full_precision(self.expander(self.backbone(view))) for view in batch.views)
        with no_autocast(x):
            terms = vicreg_terms(x, y, rows=self.covariance_rows)
            logs = terms.logs() | {"embedding_std": embedding_std(F.normalize(x.detach(), dim=1))}
            return StepOutput(self._total(terms, x.shape[1]), logs)

    def _total(self, terms: VICRegTerms, dim: int) -> Tensor:
        config = self.config
        invariance, variance = terms.invariance, terms.variance
        if config.preset == "paper":  # sums instead of means (Bardes et al. 2022, section 4.1)
            invariance, variance = invariance * dim, variance * 2
        return (
            config.sim_coeff * invariance + config.std_coeff * variance + config.cov_coeff * terms.covariance
        )


def expander(features: int, widths: tuple[int, ...]) -> nn.Sequential:
    """[B, features] -> [B, widths[-1]]: linear, batch norm and ReLU for each width but the last, which is linear alone."""
    *inner, last = (features, *widths)
    layers: list[nn.Module] = []
    for width_in, width in pairwise(inner):
        layers += [nn.Linear(width_in, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(inner[-1], last, bias=False))
