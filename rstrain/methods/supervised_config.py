"""SupervisedConfig: the baseline that learns from labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rstrain.methods.config import MethodConfig, Pairing, RunFacts
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rstrain.methods.supervised import Supervised
    from rstrain.models.backbone import Backbone


class SupervisedConfig(MethodConfig):
    """Cross-entropy on the class of each image; the countries of SpaceNet 7, or any label.

    The published baseline of the SpaceNet 7 study is `--arch resnet18 --outputs 1000 --batch 256 --epochs 100 --lr 0.01
    --momentum 0 --weight-decay 0 --schedule constant` without augmentation, its head left at ImageNet's 1000 outputs
    for 31 countries. The defaults here are an ordinary run: momentum, cosine, crops and mirrors.
    """

    paper: ClassVar[str] = (
        "Cross-entropy baseline; countries of SpaceNet 7 (Van Etten et al. 2021, arXiv 2102.04420)"
    )

    kind: Literal["supervised"] = "supervised"
    outputs: int | None = Field(
        None, gt=0, description="outputs of the head; left out: the classes of the data"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of the target that is spread over all classes"
    )

    @property
    def pairing(self) -> Pairing:
        """One view of an image."""
        return "single"

    @property
    def needs_label(self) -> bool:
        """Always."""
        return True

    def run_defaults(self) -> dict[str, Any]:
        """Crops and mirrors, no change of colour."""
        return {
            "epochs": 100,
            "augment": {"vflip": 0.5, "jitter": 0.0, "grayscale": 0.0, "blur": 0.0},
            "optim": {"lr": 0.01},
        }

    def create(self, backbone: Backbone, facts: RunFacts) -> Supervised:
        """Make the module on the CPU, with initial weights that depend on `facts.seed` alone.

        Raises:
            ConfigError: the data name no classes, or have more of them than the head has outputs.
        """
        from rstrain.methods.supervised import Supervised

        outputs = self.outputs or facts.classes
        if not outputs:
            raise ConfigError(
                "supervised needs classes and this data set names none: give a labelled set, or the size of the head "
                "with --outputs"
            )
        top = max((facts.classes or 0) - 1, -1 if facts.top_label is None else facts.top_label)
        if top >= outputs:
            raise ConfigError(
                f"the data have class {top} but the head has {outputs} outputs (classes 0 … {outputs - 1}): use --outputs "
                f"{top + 1}, or check the labels with `rsdata verify`"
            )
        return Supervised(self, backbone, facts, outputs)
