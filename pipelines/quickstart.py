"""Quickstart: the whole path on two cores in minutes, offline, on the embedded planet.

Places round real cities are rendered on several dates in the layout of fMoW; shards and geo clusters are made of them;
MoCo-v2 with and without geography learns from them; held-out places, in other parts of the Earth, judge the features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.stage import (
    Pipeline,
    Stage,
    build_stage,
    eval_stage,
    geocluster_stage,
    report_stage,
    train_stage,
)
from rsdata.curate.configs import GeoclusterConfig
from rsdata.sources.fmow import FMoW
from rstrain.config import TrainConfig, config_for
from rstrain.evals.config import EvalConfig, KnnConfig, LinearConfig


class Quickstart(Pipeline):
    """Offline, on the embedded planet: random against moco against moco-geo-tp."""

    places: int = Field(
        900, ge=40, description="places to render; a third is held out, in other parts of the Earth"
    )
    classes: int = Field(8, ge=2, description="classes of the planet")
    k: int = Field(20, ge=2, description="geo clusters")
    size: int = Field(64, ge=32, description="side of a view, pixels")
    epochs: float = Field(5, gt=0, description="epochs of each training")
    seed: int = Field(0, ge=0, description="of planet, clusters and training")

    def data(self, out: Path) -> FMoW:
        """The rendered tree as an fMoW source; its val places share no 5 degree cell with train."""
        return FMoW(root=out / "planet", size=96)

    def train(self, out: Path) -> dict[str, TrainConfig]:
        """Both methods with one recipe; only the pairs and the geo loss differ."""
        common: dict[str, Any] = {
            "data": str(out / "shards"),
            "arch": "resnet18",
            "epochs": self.epochs,
            "batch": 64,
            "seed": self.seed,
            "precision": "bf16",
            "log_every": 10,
            # SGD needs many more than these few hundred steps before it leaves the random start behind.
            "optim": {
                "optimizer": "adamw",
                "lr": 1.5e-3,
                "schedule": "cosine",
                "weight_decay": 0.01,
                "warmup_epochs": 0.2,
            },
            "augment": {
                "size": self.size,
                "resize": 0,
                "center_crop": False,
                "scale": (0.3, 1.0),
                "blur": 0.0,
            },
        }
        method = {"temperature": 0.07, "queue": 1024, "encoder_momentum": 0.99}
        return {
            "moco": config_for("moco").build(**common, method=method),
            "moco-geo-tp": config_for("moco-geo-tp").build(
                **common, method=method, clusters=out / "clusters.json"
            ),
        }

    def evaluate(self, out: Path) -> dict[str, list[EvalConfig]]:
        """KNN and linear probe of a random encoder and of each trained one, on the held-out places."""
        found: dict[str, list[EvalConfig]] = {}
        for name in ("random", *self.train(out)):
            common: dict[str, Any] = {
                "data": str(out / "shards"),
                "checkpoint": "random" if name == "random" else str(out / name),
                "arch": "resnet18" if name == "random" else None,
                "size": self.size,
                "seed": self.seed,
                "workers": 0,
            }
            folder = out / name / "evals"
            found[name] = [
                KnnConfig(**common, out=folder / "knn.json"),
                LinearConfig(**common, out=folder / "linear.json"),
            ]
        return found

    def stages(self, out: Path) -> list[Stage]:
        """Planet, shards, clusters, two trainings, scores of three backbones, one page."""
        runs = self.train(out)
        scores = self.evaluate(out)
        return [
            self._planet(out / "planet"),
            build_stage("shards", self.data(out), out / "shards", needs=("planet",)),
            geocluster_stage(
                "clusters",
                out / "shards",
                out / "clusters.csv",
                GeoclusterConfig(k=self.k, seed=self.seed),
                needs=("shards",),
            ),
            *(
                train_stage(f"train {name}", config, out / name, needs=("shards", "clusters"))
                for name, config in runs.items()
            ),
            *(
                eval_stage(
                    f"score {name}", configs, needs=("shards", *([f"train {name}"] if name in runs else []))
                )
                for name, configs in scores.items()
            ),
            report_stage(
                [out / name for name in scores],
                out / "report.html",
                "Quickstart: the embedded planet",
                needs=tuple(f"score {name}" for name in scores),
            ),
        ]

    def _planet(self, root: Path) -> Stage:
        def run() -> None:
            from rsdata.sandbox.fmow_tree import write_fmow_tree

            write_fmow_tree(root, places=self.places, classes=self.classes, seed=self.seed, workers=2)

        config = {"places": self.places, "classes": self.classes, "seed": self.seed}
        return Stage(
            "planet", f"render {self.places} places in the layout of fMoW", config, (), root / "train", run
        )
