"""GeRSPConfig: contrast on unlabelled aerial images, classes of labelled photos, one encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rstrain.methods.config import Pairing, RunFacts
from rstrain.methods.momentum_config import MomentumConfig
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rstrain.methods.gersp import GeRSP
    from rstrain.models.backbone import Backbone


class GeRSPConfig(MomentumConfig):
    """GeRSP: MoCo on `--data`, cross-entropy on the labelled `--data2`, both through one forward of the student.

    Defaults are those of the released configuration. There each labelled image is paired with the same unlabelled one
    for ever; here both sets have an order of their own.
    """

    paper: ClassVar[str] = (
        "Huang et al., Generic Knowledge Boosted Pre-training For Remote Sensing Images, TGRS 2024, arXiv 2401.04614"
    )
    differs: ClassVar[str] = (
        "in the code the framework draws the teacher's weights anew, so that it starts unrelated to the student, and "
        "the teacher's projector never moves; in the paper the teacher is a moving average of the student as a whole"
    )

    kind: Literal["gersp"] = "gersp"
    preset: Literal["repo", "paper"] = Field(
        "repo", description="repo: teacher_init independent, teacher_projector frozen; paper: copy, ema"
    )
    teacher_init: Literal["copy", "independent"] | None = Field(
        None, description="first weights of the teacher's backbone; left out: by preset"
    )
    teacher_projector: Literal["frozen", "ema"] | None = Field(
        None, description="whether the teacher's projector follows the student's; left out: by preset"
    )
    alpha: float = Field(1.0, ge=0, description="weight of the supervised loss")

    @property
    def independent(self) -> bool:
        """Whether the teacher's backbone starts from weights of its own."""
        return (self.teacher_init or ("independent" if self.preset == "repo" else "copy")) == "independent"

    @property
    def frozen_projector(self) -> bool:
        """Whether the teacher's projector keeps its first weights."""
        return (self.teacher_projector or ("frozen" if self.preset == "repo" else "ema")) == "frozen"

    @property
    def second(self) -> Pairing | None:
        """The labelled images."""
        return "single"

    def run_defaults(self) -> dict[str, Any]:
        """MoCo-v1 views (grey before an always applied jitter, no blur); the cosine starts anew every 20 epochs."""
        return {
            "epochs": 100,
            "augment": {"gray_first": True, "jitter": 1.0, "hue": 0.4, "blur": 0.0},
            "optim": {"lr": 0.007, "min_lr": 0.001, "weight_decay": 5e-4, "schedule": "cosine_restarts"},
        }

    def create(self, backbone: Backbone, facts: RunFacts) -> GeRSP:
        """Make the module on the CPU, with initial weights that depend on `facts.seed` alone.

        Raises:
            ConfigError: the batch is larger than the queue, or the second data set has no classes or labels beyond them.
        """
        from rstrain.methods.gersp import GeRSP

        self.check_queue(facts)
        if not facts.second_classes:
            raise ConfigError(
                "gersp classifies the second data set and it names no classes: give a labelled set with --data2"
            )
        if facts.second_top_label is not None and facts.second_top_label >= facts.second_classes:
            raise ConfigError(
                f"the second data set has label {facts.second_top_label} but names {facts.second_classes} classes (0 … "
                f"{facts.second_classes - 1}): check it with `rsdata verify`"
            )
        return GeRSP(self, backbone, facts)
