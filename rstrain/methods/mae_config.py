"""Configs of the masked autoencoders: MAE and Scale-MAE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import pydantic
from pydantic import Field

from rstrain.methods.config import MethodConfig, Pairing, RunFacts

if TYPE_CHECKING:
    from rstrain.methods.mae import MAE
    from rstrain.methods.scalemae import ScaleMAE
    from rstrain.models.backbone import Backbone

CROP_ONLY = {"scale": (0.2, 1.0), "jitter": 0.0, "grayscale": 0.0, "blur": 0.0}
OPTIM = {
    "optimizer": "adamw",
    "lr": 1.5e-4,
    "scale_lr": "batch256",
    "momentum": 0.9,
    "beta2": 0.95,
    "weight_decay": 0.05,
    "schedule": "cosine",
}


class MaskedConfig(MethodConfig):
    """What the masked autoencoders have in common."""

    mask_ratio: float = Field(
        0.75, gt=0, lt=1, description="share of the patches that the encoder does not see"
    )
    decoder_dim: int = Field(512, gt=0, multiple_of=4, description="length of a token in the decoder")
    decoder_depth: int = Field(8, ge=0, description="blocks of the decoder")
    decoder_heads: int = Field(16, gt=0, description="attention heads of the decoder; divides decoder_dim")
    checkpoint_blocks: bool = Field(
        False, description="compute blocks again on the way back: less memory, a third more time"
    )

    @property
    def pairing(self) -> Pairing:
        """One view of each image."""
        return "single"

    @pydantic.model_validator(mode="after")
    def _heads(self) -> Self:
        if self.decoder_dim % self.decoder_heads:
            raise ValueError(
                f"decoder_dim={self.decoder_dim} does not divide by decoder_heads={self.decoder_heads}"
            )
        return self


class MAEConfig(MaskedConfig):
    """MAE: patches are hidden, their pixels predicted. Defaults are those of the published command."""

    paper: ClassVar[str] = (
        "He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, arXiv 2111.06377"
    )

    kind: Literal["mae"] = "mae"
    norm_pix: bool = Field(True, description="predict each patch less its mean, over its standard deviation")

    def run_defaults(self) -> dict[str, Any]:
        """Appendix A.1 of the paper; it has batches of 4096."""
        return {
            "arch": "timm:vit_base_patch16_224",
            "epochs": 800.0,
            "optim": OPTIM | {"warmup_epochs": 40.0},
            "augment": CROP_ONLY,
        }

    def create(self, backbone: Backbone, facts: RunFacts) -> MAE:
        """Make the module on the CPU, with initial weights that depend on `facts.seed` alone.

        Raises:
            ConfigError: the backbone is no plain ViT of timm, or its patches do not divide the view.
        """
        from rstrain.methods.mae import MAE

        return MAE(self, backbone, facts)


class ScaleMAEConfig(MaskedConfig):
    """Scale-MAE: the encoder is told the ground resolution, two branches predict a fine and a coarse band.

    A view of T px (`--size`) is what is predicted; the encoder sees the same ground at T/2 px. Defaults are those of
    the released run.
    """

    paper: ClassVar[str] = (
        "Reed et al., Scale-MAE: A Scale-Aware Masked Autoencoder for Multiscale Geospatial Representation Learning, "
        "ICCV 2023, arXiv 2212.14532"
    )
    differs: ClassVar[str] = (
        "the code predicts the image at half size and the image less its 7 x 7 averages, both by squared errors, and "
        "takes the width of a crop one pixel short; the paper predicts averages over 14 x 14 cells, and what 56 x 56 "
        "averages leave by absolute errors. Which of them made the released weights is not known"
    )

    kind: Literal["scalemae"] = "scalemae"
    preset: Literal["repo", "paper"] = Field(
        "repo", description="targets and losses of the code, or of the paper"
    )
    decoder_depth: int = Field(3, ge=0, description="blocks of the decoder")
    gsd: Literal["simulated", "true"] = Field(
        "simulated",
        description="resolution given to the encoder: base_resolution times the zoom of the crop, as in the authors' "
        "runs, or the true metres a pixel, which the data must have",
    )
    base_resolution: float = Field(
        2.5, gt=0, description="simulated: resolution of a view that shows its image pixel for pixel"
    )
    absolute_scale: bool = Field(False, description="give every image resolution 1: positions of plain MAE")
    band_cells: tuple[int, int] | None = Field(
        None,
        description="averages (cells a side) of the fine and the coarse target; preset: repo 7 56, paper 56 14",
    )
    high_loss: Literal["l1", "l2"] | None = Field(
        None, description="errors of the fine band, absolute or squared; preset: repo l2, paper l1"
    )
    l1_weight: float = Field(1.0, gt=0, description="weight of the fine band when its errors are absolute")
    norm_pix: bool = Field(
        False,
        description="predict each patch of both bands less its mean, over its standard deviation; the authors' code has "
        "this option, on, and ignores it",
    )
    source_sizes: tuple[int, ...] = Field(
        (),
        description="sides of the encoder's input, one drawn at each step, multiples of 16; empty: always T/2",
    )
    head_dim: int = Field(512, gt=0, multiple_of=4, description="channels inside the head of a band")
    head_layers: int = Field(2, ge=0, description="convolution blocks of a head")
    shared_head: bool = Field(False, description="one head for both bands")
    progressive: bool = Field(False, description="the fine branch goes on from the coarse one")

    def input_px(self, view_px: int) -> int:
        """The encoder sees the view at half its side; the decoder rebuilds the whole."""
        return view_px // 2

    @property
    def needs_gsd(self) -> bool:
        """Whether each sample must carry its true GSD."""
        return self.gsd == "true"

    @property
    def band_sides(self) -> tuple[int, int]:
        """`band_cells`, or those of the preset."""
        return self.band_cells or ((7, 56) if self.preset == "repo" else (56, 14))

    @property
    def l1(self) -> bool:
        """Whether errors of the fine band are absolute."""
        return (self.high_loss or ("l2" if self.preset == "repo" else "l1")) == "l1"

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if min(self.band_sides) < 1:
            raise ValueError(f"band_cells={self.band_sides}: each is a number of cells, at least 1")
        odd = [size for size in self.source_sizes if size < 16 or size % 16]
        if odd:
            raise ValueError(f"source_sizes: {odd[0]} is no multiple of 16, the side of a patch")
        if self.l1_weight != 1.0 and not self.l1:
            raise ValueError(
                f"l1_weight={self.l1_weight:g} has no meaning with high_loss=l2: use high_loss=l1"
            )
        return self

    def run_defaults(self) -> dict[str, Any]:
        """The authors' pretraining on fMoW; their views are not squeezed."""
        return {
            "arch": "gsd:vit_large_patch16_224",
            "epochs": 800.0,
            "optim": OPTIM | {"warmup_epochs": 20.0},
            "augment": CROP_ONLY | {"size": 448, "window": 448, "ratio": (1.0, 1.0)},
        }

    def create(self, backbone: Backbone, facts: RunFacts) -> ScaleMAE:
        """Make the module on the CPU, with initial weights that depend on `facts.seed` alone.

        Raises:
            ConfigError: the backbone is no `gsd:` ViT with patches of 16 px.
        """
        from rstrain.methods.scalemae import ScaleMAE

        return ScaleMAE(self, backbone, facts)
