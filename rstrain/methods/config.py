"""What every method's config has. Imports no torch, so `rstrain pretrain --help` stays instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from shards.config import Config

if TYPE_CHECKING:
    from rstrain.methods.base import Method
    from rstrain.models.backbone import Backbone

Pairing = Literal["single", "self", "temporal", "seasons"]
VIEWS: dict[Pairing, int] = {"single": 1, "self": 2, "temporal": 2, "seasons": 4}
"""Views of a sample in a batch."""


@dataclass(frozen=True)
class RunFacts:
    """What a method has to know of the run that it is part of."""

    seed: int = 0
    batch: int = 1
    """Samples a step over all ranks and micro-batches."""
    samples: int = 1
    """Samples in an epoch."""
    epochs: float = 1.0
    classes: int | None = None
    """Classes of the data; None when they have no labels."""
    geo_classes: int | None = None
    """Geo clusters of the data; None when they have none."""
    second_classes: int | None = None
    """Classes of the second data set."""
    top_label: int | None = None
    """Largest label of the data; None when they have no labels."""
    second_top_label: int | None = None
    """Largest label of the second data set."""

    def epoch(self, step: int) -> int:
        """The epoch in which a step begins."""
        return step * self.batch // self.samples


class MethodConfig(Config):
    """One method: its options, the data it asks for, and how to make it."""

    paper: ClassVar[str] = ""
    """Authors, title, venue, arXiv number."""
    differs: ClassVar[str] = ""
    """Where the authors' code and their paper disagree: what `--preset repo|paper` chooses."""

    kind: str

    @property
    def pairing(self) -> Pairing:
        """Views of a sample: one, two crops of one image, two images of one place, or four views of three dates."""
        return "self"

    @property
    def plain_views(self) -> tuple[int, ...]:
        """Views that are cropped only: no mirror, colour or blur."""
        return ()

    @property
    def needs_gsd(self) -> bool:
        """Whether each sample must carry its true GSD."""
        return False

    @property
    def second(self) -> Pairing | None:
        """Views of the second data set (`--data2`) that goes into each step; None for methods of one data set."""
        return None

    def input_px(self, view_px: int) -> int:
        """Side of what the encoder sees of a view of side `view_px`, pixels."""
        return view_px

    @property
    def needs_geo(self) -> bool:
        """Whether each sample must carry a geo cluster."""
        return False

    @property
    def needs_label(self) -> bool:
        """Whether each sample must carry a class label."""
        return False

    def run_defaults(self) -> dict[str, Any]:
        """What the published runs of this method set outside of it: fields of TrainConfig that differ from its own."""
        return {}

    def create(self, backbone: Backbone, facts: RunFacts) -> Method:
        """Make the module on the CPU, with initial weights that depend on `facts.seed` alone.

        Raises:
            ConfigError: the options do not fit the data or the batch.
        """
        raise NotImplementedError
