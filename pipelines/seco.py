"""Seasonal Contrast (Mañas et al., ICCV 2021, arXiv 2103.16607) on a set with several dates a place.

`size=full`: ResNet-50, 224 px, 200 epochs, SGD 0.03 divided by ten at epochs 120 and 160, temperature 0.07, 16,384
negatives in each of three spaces. The authors' batch of 256 was for one process; here it is over all ranks. Where code and
paper differ: the paper leaves the query as it is, the code crops it, and so does this. The code colours and blurs before
the crop; here that comes after it.
"""

from __future__ import annotations

from typing import Any

from pipelines.from_shards import SMALL_QUEUE, SMALL_RUN, FromShards


class SeCo(FromShards):
    """SeCo on seasonal shards (`rsdata run seco`): three embedding spaces, three dates of a place."""

    def kind(self) -> str:
        """The method."""
        return "seco"

    def full(self) -> dict[str, Any]:
        """The released command."""
        return {"arch": "resnet50", "epochs": 200, "batch": 256, "precision": "bf16"}

    def small(self) -> dict[str, Any]:
        """ResNet-18 at 64 px."""
        return SMALL_RUN | {"augment": {"size": 64, "blur": 0.0}, "method": SMALL_QUEUE}
