"""VICReg with temporal positives on SpaceNet 7 patches (the city study; VICReg: Bardes et al., arXiv 2105.04906).

With `root` it begins at the archive: patches of 256 px, all months of one in a sample, whole areas held out, so that none
of the held-out patches has a twin in training (the study's own splits have nothing else). Without, a shard set is given.

`size=full`: ResNet-18, 100 epochs, batch 256, LARS with base rate 0.3, windows of 224 px out of 256 px patches without a
change of scale, the asymmetric colours of its temporal scripts. Where its code and its report differ: the scripts multiply
the peak rate by 8 and skip the warm-up by a slip, so that the first step has nearly the whole rate; here the rate is that
of VICReg itself (0.3 at batch 256, ten epochs of warm-up). `rate=repo` keeps the factor, never the slip.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.from_shards import SMALL_RUN, FromShards
from pipelines.stage import Stage, build_stage
from rsdata.sources.sn7 import SN7

_WINDOW = (224 / 256) ** 2


class Sn7Vicreg(FromShards):
    """VICReg+TP on SpaceNet 7: two months of one patch."""

    root: str | None = Field(
        None,
        description="folder of SpaceNet 7, or its archive as a file or URL: shards are made of it; left out: data are given",
    )
    split: Literal["aoi", "image", "patch", "temporal"] = Field(
        "aoi", description="what is held out, with root; all but aoi leak, see `rsdata sn7-csv`"
    )
    rate: Literal["vicreg", "repo"] = Field(
        "vicreg", description="peak learning rate at batch 256: VICReg's 0.3, or the study's 2.4"
    )

    def kind(self) -> str:
        """The method."""
        return "vicreg"

    def full(self) -> dict[str, Any]:
        """The study's settings."""
        return {
            "arch": "resnet18",
            "epochs": 100,
            "batch": 256,
            "precision": "bf16",
            "optim": {"lr": 0.3 if self.rate == "vicreg" else 2.4},
            "augment": {
                "size": 224,
                "scale": (_WINDOW, _WINDOW),
                "ratio": (1.0, 1.0),
                "saturation": 0.4,
                "jitter_2": 0.4,
                "grayscale_2": 0.1,
                "blur": 0.5,
                "solarize_2": 0.0,
            },
            "method": {"pairs": "temporal"},
        }

    def small(self) -> dict[str, Any]:
        """ResNet-18 at 64 px with a narrow expander."""
        augment = {"size": 64, "scale": (0.3, 1.0), "blur": 0.0, "blur_2": 0.0, "solarize_2": 0.0}
        return SMALL_RUN | {"augment": augment, "method": {"pairs": "temporal", "expander": "512-512-512"}}

    def patches(self) -> SN7:
        """What is cut."""
        return SN7.build(root=self.root, split=self.split)

    def stages(self, out: Path) -> list[Stage]:
        """Patches, if there is an archive; then training, scores, page."""
        if self.root is None:
            return super().stages(out)
        folder = out / "shards"
        given = self.model_copy(update={"root": None, "data": str(folder)})
        train, *rest = given.stages(out)
        config = {key: value for key, value in train.config.items() if key != "reads"}  # the patches decide
        patches = build_stage("patches", self.patches(), folder)
        return [patches, replace(train, config=config, needs=("patches",)), *rest]
