"""SeCoConfig: seasonal contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rstrain.methods.config import Pairing, RunFacts
from rstrain.methods.momentum_config import MomentumConfig

if TYPE_CHECKING:
    from rstrain.methods.seco import SeCo
    from rstrain.models.backbone import Backbone


class SeCoConfig(MomentumConfig):
    """SeCo: three embedding spaces, each blind to another mix of season and augmentation.

    Defaults are those of seasonal-contrast. Two things differ there: it colours, blurs and mirrors the whole image before
    the crop, and `moco_tp` may draw one date twice. Query and the key of the second space are cropped though the paper
    says that they are not augmented.
    """

    paper: ClassVar[str] = (
        "Mañas et al., Seasonal Contrast: Unsupervised Pre-Training from Uncurated Remote Sensing Data, ICCV 2021, "
        "arXiv 2103.16607"
    )

    kind: Literal["seco"] = "seco"
    mode: Literal["seco", "moco_tp", "moco"] = Field(
        "seco",
        description="seco: three spaces, three dates of a place; moco_tp: one space, two dates; moco: one space, two "
        "crops of one image",
    )
    queue: int = Field(16384, gt=0, description="negatives kept from earlier batches, in each space")
    batch_negatives: Literal["local", "all"] = Field(
        "local",
        description="keys of the other views that are negatives in the second and third space: of the own rank, as "
        "published, or of all ranks, so that the loss does not depend on their number",
    )

    @property
    def spaces(self) -> int:
        """Embedding spaces, each with a pair of heads and a queue."""
        return 3 if self.mode == "seco" else 1

    @property
    def pairing(self) -> Pairing:
        """Query and keys: dates t0 | t1, t2, t0; two dates; or two crops."""
        pairings: dict[str, Pairing] = {"seco": "seasons", "moco_tp": "temporal", "moco": "self"}
        return pairings[self.mode]

    @property
    def plain_views(self) -> tuple[int, ...]:
        """The query, and the key that differs by its season alone."""
        return (0, 2) if self.mode == "seco" else ()

    def run_defaults(self) -> dict[str, Any]:
        """Rate divided by ten at epochs 120 and 160 of 200."""
        return {"optim": {"schedule": "step"}}

    def create(self, backbone: Backbone, facts: RunFacts) -> SeCo:
        """Make the module on the CPU, with initial weights that depend on `facts.seed` alone.

        Raises:
            ConfigError: the batch is larger than the queue.
        """
        from rstrain.methods.seco import SeCo

        self.check_queue(facts)
        return SeCo(self, backbone, facts)
