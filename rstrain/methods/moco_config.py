"""MoCoConfig: MoCo v2 and its geography-aware variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pydantic
from pydantic import Field

from rstrain.methods.config import Pairing, RunFacts
from rstrain.methods.momentum_config import MomentumConfig
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rstrain.methods.moco import MoCo
    from rstrain.models.backbone import Backbone


class MoCoConfig(MomentumConfig):
    """MoCo v2; `-geo` adds the geo-cluster loss, `-tp` takes the key from another date of the same place.

    Defaults are those of the released commands of geography-aware-ssl.
    """

    paper: ClassVar[str] = (
        "Ayush et al., Geography-Aware Self-Supervised Learning, ICCV 2021, arXiv 2011.09980"
    )
    differs: ClassVar[str] = (
        "the code classifies the geo cluster from ReLU of the projection before its normalisation; the formula in "
        "the paper takes z itself, the normalised projection that the contrastive loss sees, without a ReLU"
    )

    kind: Literal["moco", "moco-geo", "moco-tp", "moco-geo-tp"] = "moco"
    preset: Literal["repo", "paper"] = Field(
        "repo",
        description="input of the geo head: repo = ReLU of the raw projection, paper = the unit vector z",
    )
    temperature: float = Field(
        0.02, gt=0, description="0.02 in the released commands; MoCo v2 itself uses 0.2"
    )
    mlp: bool = Field(True, description="projection head of two layers (MoCo v2) instead of one")
    loss: Literal["cpc", "ml_cpc"] = Field("cpc", description="InfoNCE, or one softmax over the whole batch")
    alpha: float = Field(1.0, gt=0, description="ml_cpc: weight of a positive, below 1 + queue")
    alpha_low: float = Field(1.0, gt=0, description="ml_cpc: where annealing ends")
    alpha_geo: bool = Field(
        False, description="ml_cpc: go from alpha to alpha_low geometrically, epoch by epoch"
    )
    geo_weight: float = Field(1.0, gt=0, description="weight of the geo-cluster loss; -geo kinds only")

    @property
    def geo(self) -> bool:
        """Whether the geo-cluster loss is part of the objective."""
        return self.kind in ("moco-geo", "moco-geo-tp")

    @property
    def pairing(self) -> Pairing:
        """Two crops of one image, or two dates of one place."""
        return "temporal" if self.kind in ("moco-tp", "moco-geo-tp") else "self"

    @property
    def needs_geo(self) -> bool:
        """Whether each sample must carry a geo cluster."""
        return self.geo

    def run_defaults(self) -> dict[str, Any]:
        """Crops as the authors made them (spec of the released scripts): each variant has its own."""
        if self.pairing == "temporal":
            augment = {"resize": 448, "center_crop": True, "scale": (0.08, 1.0)}
        elif self.geo:
            augment = {"resize": 448}
        else:
            augment = {}
        return {"augment": augment, "optim": {"schedule": "cosine_epoch"}}

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if self.loss == "ml_cpc" and max(self.alpha, self.alpha_low) >= 1 + self.queue:
            raise ValueError(
                f"alpha={max(self.alpha, self.alpha_low):g} must be below 1 + queue = {1 + self.queue}: at that value "
                f"negatives have no weight, beyond it the loss is not a number"
            )
        if "geo_weight" in self.model_fields_set and not self.geo and self.geo_weight != 1.0:
            raise ValueError(f"geo_weight has no meaning for {self.kind}: use moco-geo or moco-geo-tp")
        return self

    def create(self, backbone: Backbone, facts: RunFacts) -> MoCo:
        """Make the module on the CPU, with initial weights that depend on `facts.seed` alone.

        Raises:
            ConfigError: the batch is larger than the queue, or the data have no geo clusters.
        """
        from rstrain.methods.moco import MoCo

        self.check_queue(facts)
        if self.geo and not facts.geo_classes:
            raise ConfigError(
                f"{self.kind} needs a geo cluster for each sample and this data set has none: make them with "
                f"`rsdata geocluster`, or use {self.kind.replace('-geo', '')}"
            )
        return MoCo(self, backbone, facts)
