"""Scale-MAE (Reed et al., ICCV 2023, arXiv 2212.14532).

`size=full`: ViT-L, views of 448 px seen at 224 px, 800 epochs, AdamW 1.5e-4 at batch 256 with 20 epochs of warm-up, three
quarters of the patches hidden. The total batch of the published run is not known. Where code and paper differ (what the two
bands are, squared or absolute errors) `preset` chooses.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pipelines.from_shards import SMALL_OPTIM, FromShards


class ScaleMAE(FromShards):
    """Scale-MAE with simulated ground resolutions, as published."""

    preset: Literal["repo", "paper"] = Field("repo", description="bands and losses, see `rstrain methods`")

    def kind(self) -> str:
        """The method."""
        return "scalemae"

    def full(self) -> dict[str, Any]:
        """The authors' command."""
        return {"batch": 256, "precision": "bf16", "method": {"preset": self.preset}}

    def small(self) -> dict[str, Any]:
        """ViT-tiny that sees 64 px, and a thin decoder; normalised targets, without which short runs learn brightness alone."""
        decoder = {
            "decoder_dim": 128,
            "decoder_depth": 1,
            "decoder_heads": 4,
            "head_dim": 64,
            "head_layers": 1,
        }
        return {
            "arch": "gsd:vit_tiny_patch16_224",
            "epochs": 8,
            "batch": 32,
            "precision": "bf16",
            "optim": SMALL_OPTIM | {"lr": 5e-4},
            "augment": {"size": 128, "window": 0},
            "method": {"preset": self.preset, "norm_pix": True, "mask_ratio": 0.6, **decoder},
        }
