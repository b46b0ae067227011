"""VICRegConfig: variance-invariance-covariance regularisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pydantic
from pydantic import Field

from rstrain.methods.config import MethodConfig, Pairing, RunFacts
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rstrain.methods.vicreg import VICReg
    from rstrain.models.backbone import Backbone


class VICRegConfig(MethodConfig):
    """VICReg; `--pairs temporal` takes the second view from another date of the same place, as the SpaceNet 7 study did.

    Defaults are those of the authors' run of 100 epochs, but for the batch: they took 2048 (`--batch 2048`), the
    SpaceNet 7 study 256.
    """

    paper: ClassVar[str] = (
        "Bardes et al., VICReg: Variance-Invariance-Covariance Regularization, ICLR 2022, arXiv 2105.04906"
    )
    differs: ClassVar[str] = (
        "the code takes the mean of the squared differences over the dimensions of the embedding, and of the variance "
        "terms over the two views; the formulas in the paper sum both, so its invariance is D times and its variance "
        "twice as large. The coefficients 25/25/1 belong to the code"
    )

    kind: Literal["vicreg"] = "vicreg"
    preset: Literal["repo", "paper"] = Field(
        "repo",
        description="repo: invariance is a mean over dimensions, variance a mean over views; paper: both are sums, "
        "as in its formulas (give it other coefficients)",
    )
    pairs: Literal["self", "temporal"] = Field(
        "self", description="two crops of one image, or of two dates of one place"
    )
    expander: str = Field(
        "8192-8192-8192",
        description="widths of its linear layers; batch norm and ReLU follow each but the last",
    )
    sim_coeff: float = Field(25.0, ge=0, description="weight of invariance")
    std_coeff: float = Field(25.0, ge=0, description="weight of variance")
    cov_coeff: float = Field(1.0, ge=0, description="weight of covariance")
    sync_bn: bool = Field(True, description="batch norms see the batch of all ranks instead of the own part")

    @property
    def pairing(self) -> Pairing:
        """Two crops of one image, or two dates of one place."""
        return self.pairs

    @property
    def widths(self) -> tuple[int, ...]:
        """Those of the expander; the last is that of the embedding."""
        return tuple(int(width) for width in self.expander.split("-"))

    def run_defaults(self) -> dict[str, Any]:
        """The authors' 100 epochs: base rate 0.3, end at a thousandth of the peak, blur and solarise by view.

        Their crops are bicubic, ours bilinear.
        """
        return {
            "epochs": 100.0,
            "augment": {
                "scale": (0.08, 1.0),
                "saturation": 0.2,
                "blur": 1.0,
                "blur_2": 0.1,
                "solarize_2": 0.2,
            },
            "optim": {
                "optimizer": "lars",
                "lr": 0.3,
                "scale_lr": "batch256",
                "weight_decay": 1e-6,
                "warmup_epochs": 10.0,
                "min_lr_share": 0.001,
            },
        }

    @pydantic.field_validator("expander")
    @classmethod
    def _widths(cls, value: str) -> str:
        if not all(width.isdecimal() and int(width) for width in value.split("-")):
            raise ValueError(f"{value!r}: expected widths above 0 joined by dashes, such as 8192-8192-8192")
        return value

    def create(self, backbone: Backbone, facts: RunFacts) -> VICReg:
        """Make the module on the CPU, with initial weights that depend on `facts.seed` alone.

        Raises:
            ConfigError: a batch of one, which has no variance.
        """
        from rstrain.methods.vicreg import VICReg

        if facts.batch < 2:
            raise ConfigError(
                "batch=1: vicreg takes the variance over the batch, so give it 2 samples or more"
            )
        return VICReg(self, backbone, facts)
