"""GeRSP (Huang et al., TGRS 2024, arXiv 2401.04614): contrast on unlabelled scenes, classes of labelled photos.

`size=full`: ResNet-50, 224 px, 256 pairs a step, 100 epochs of the larger set, SGD 0.007 with a cosine that starts anew
every 20 epochs, weight decay 5e-4 on every parameter. Where code and paper differ (how the teacher starts, and whether its
projector follows) `preset` chooses; each set has an order of its own here, where the authors pair the same two images for
ever.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pipelines.from_shards import SMALL_QUEUE, SMALL_RUN, FromShards


class GeRSP(FromShards):
    """GeRSP: `data` unlabelled (Million-AID), `data2` labelled (ImageNet)."""

    data2: str = Field("data/imagenet", description="labelled shard set")
    preset: Literal["repo", "paper"] = Field("repo", description="the teacher, see `rstrain methods`")

    def kind(self) -> str:
        """The method."""
        return "gersp"

    def full(self) -> dict[str, Any]:
        """The released configuration, which is in fp32."""
        return {
            "arch": "resnet50",
            "epochs": 100,
            "batch": 256,
            "data2": self.data2,
            "method": {"preset": self.preset},
        }

    def small(self) -> dict[str, Any]:
        """ResNet-18 at 64 px."""
        method = SMALL_QUEUE | {"preset": self.preset}
        return SMALL_RUN | {"data2": self.data2, "augment": {"size": 64}, "method": method}
