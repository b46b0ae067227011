"""Geography-aware self-supervised learning on fMoW (Ayush et al., ICCV 2021, arXiv 2011.09980).

fMoW tree -> lists and clusters -> shards -> MoCo-v2+Geo+TP -> linear probe with the vote of a place -> report.
`size=full` has the published settings of the released commands: ResNet-50, 224 px, 200 epochs, batch 256 over all ranks,
SGD 0.03 with a cosine set once an epoch, temperature 0.02, queue 65,536. Where code and paper differ (the input of the geo
head) `preset` chooses. What differs from the originals whatever the settings: places are in one shard sample, the order is
seeded, batch-norm statistics of one process need `bn_splits` to act as those of several GPUs did.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.stage import Pipeline, Stage, build_stage, eval_stage, report_stage, train_stage
from rsdata.curate.configs import FmowCsvConfig
from rsdata.sources.fmow import FMoW
from rstrain.config import TrainConfig, config_for
from rstrain.evals.config import EvalConfig, KnnConfig, LinearConfig


class GeographyAware(Pipeline):
    """MoCo-v2+Geo+TP on fMoW, from the downloaded tree to the linear probe."""

    root: Path = Field(Path("data/fmow-rgb"), description="fMoW tree with train/ and val/")
    metadata_root: Path | None = Field(
        None, description="tree of the ground truth, where the JSON has no coordinates"
    )
    method: Literal["moco", "moco-geo", "moco-tp", "moco-geo-tp"] = Field(
        "moco-geo-tp", description="what is trained"
    )
    preset: Literal["repo", "paper"] = Field(
        "repo", description="input of the geo head, see `rstrain methods`"
    )
    size: Literal["full", "small"] = Field(
        "full", description="full: as published; small: two cores, minutes"
    )
    k: int = Field(100, ge=2, description="geo clusters")
    seed: int = Field(0, ge=0, description="of clusters, order and weights")

    def data(self, out: Path) -> FMoW:
        """Crops of the first box; the short side is kept at 448 px, what training would resize to anyway."""
        return FMoW(
            root=self.root, metadata_root=self.metadata_root, size=96 if self.size == "small" else 448
        )

    def train(self, out: Path) -> TrainConfig:
        """The released command, or the same method at a size for two cores."""
        clusters = out / "lists" / "clusters.json" if "geo" in self.method else None
        settings: dict[str, Any] = {"data": str(out / "shards"), "clusters": clusters, "seed": self.seed}
        method: dict[str, Any] = {"preset": self.preset}
        if self.size == "small":
            settings |= {"arch": "resnet18", "epochs": 4, "batch": 64, "augment": {"size": 64, "resize": 96}}
            method |= {"queue": 1024, "encoder_momentum": 0.99, "temperature": 0.1}
        else:
            settings |= {
                "arch": "resnet50",
                "epochs": 200,
                "batch": 256,
                "precision": "bf16",
                "knn_every": 10,
            }
        return config_for(self.method).build(**settings, method=method)

    def evaluate(self, out: Path) -> list[EvalConfig]:
        """KNN and linear probe on fMoW's val, per image and by the vote of a place."""
        common: dict[str, Any] = {
            "data": str(out / "shards"),
            "checkpoint": str(out / self.method),
            "seed": self.seed,
            "test_split": "val",
        }
        linear = {"preset": "repo"} if self.size == "full" else {}
        folder = out / self.method / "evals"
        return [
            KnnConfig(**common, out=folder / "knn.json"),
            LinearConfig(**common, **linear, out=folder / "linear.json"),
        ]

    def stages(self, out: Path) -> list[Stage]:
        """Lists and clusters, shards, training, scores, page."""
        score = f"score {self.method}"
        return [
            self._lists(out / "lists"),
            build_stage("shards", self.data(out), out / "shards"),
            train_stage("train", self.train(out), out / self.method, needs=("lists", "shards")),
            eval_stage(score, self.evaluate(out), needs=("shards", "train")),
            report_stage(
                [out / self.method], out / "report.html", "Geography-aware SSL on fMoW", needs=(score,)
            ),
        ]

    def _lists(self, folder: Path) -> Stage:
        config = FmowCsvConfig(k=self.k, seed=self.seed, metadata_root=self.metadata_root)

        def run() -> None:
            from rsdata.curate.fmow_csv import fmow_csv

            fmow_csv(self.root, folder, config)

        does = f"rsdata fmow-csv {self.root} {folder} --k {self.k} --seed {self.seed}"
        return Stage(
            "lists", does, config.to_dict() | {"root": str(self.root)}, (), folder / "clusters.json", run
        )
