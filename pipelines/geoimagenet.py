"""GeoImageNet (Ayush et al., ICCV 2021, arXiv 2011.09980, section 5): photos with their places, MoCo-v2+Geo, linear probe.

List of URLs -> located photos in shards -> geo clusters -> MoCo-v2+Geo -> kNN and linear probe on the test photos -> report.
The list is the user's, as what once served it is gone, and so is the Flickr key (FLICKR_API_KEY). With `size=small` and no
`urls` the embedded planet makes up both.

`size=full`: images squashed to 224 px, 100 clusters, ResNet-50, 200 epochs, batch 256 over all ranks, SGD 0.03 with a cosine
set once an epoch, no resize before the crop. The published set has 543,435 images of 5,150 classes, 18.4 % of them for the
test; which photos of the list it holds is not known, so scores compare with each other and not with the paper's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.from_shards import SMALL_QUEUE, SMALL_RUN
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
from rsdata.sources.geoimagenet import GeoImageNet as Photos
from rstrain.config import TrainConfig, config_for
from rstrain.evals.config import EvalConfig, KnnConfig, LinearConfig
from shards.errors import ConfigError

_PHOTOS = 900
_KEY = "0" * 32


class GeoImageNet(Pipeline):
    """MoCo-v2+Geo on located photos of ImageNet's classes, from a list of Flickr URLs to the linear probe."""

    urls: Path | None = Field(
        None, description="list of URLs (wnid_id<TAB>url); left out with size=small: the planet's"
    )
    class_names: Path | None = Field(None, description="words.txt, or a CSV with synid and class_name")
    draw_classes: int | None = Field(None, gt=0, description="classes drawn by the seed; left out: all")
    images_per_class: int | None = Field(None, gt=0, description="photos of a class; left out: all")
    endpoint: str | None = Field(None, description="URL of a service in Flickr's place")
    method: Literal["moco", "moco-geo"] = Field("moco-geo", description="what is trained")
    preset: Literal["repo", "paper"] = Field(
        "repo", description="input of the geo head, see `rstrain methods`"
    )
    size: Literal["full", "small"] = Field(
        "full", description="full: as published; small: two cores, minutes"
    )
    k: int | None = Field(
        None, ge=2, description="geo clusters; left out: 100 as published, 12 with size=small"
    )
    seed: int = Field(0, ge=0, description="of photos, clusters, order and weights")

    def data(self, urls: Path) -> Photos:
        """Photos as the published downloader stored them."""
        side = 224 if self.size == "full" else 96
        return Photos(
            urls=urls,
            class_names=self.class_names,
            draw_classes=self.draw_classes,
            images_per_class=self.images_per_class,
            test_fraction=0.184,
            squash=side,
            endpoint=self.endpoint,
            seed=self.seed,
        )

    def train(self, out: Path) -> TrainConfig:
        """The authors' command, or the same method at a size for two cores."""
        clusters = out / "clusters.json" if self.method == "moco-geo" else None
        settings: dict[str, Any] = {"data": str(out / "shards"), "clusters": clusters, "seed": self.seed}
        method: dict[str, Any] = {"preset": self.preset}
        if self.size == "small":
            settings |= SMALL_RUN | {"augment": {"size": 64, "resize": 0}}
            method |= SMALL_QUEUE
        else:
            settings |= {"arch": "resnet50", "epochs": 200, "batch": 256, "precision": "bf16"}
            settings |= {"augment": {"resize": 0}}
        return config_for(self.method).build(**settings, method=method)

    def evaluate(self, out: Path) -> list[EvalConfig]:
        """KNN and linear probe on the classes of the test photos."""
        run = out / self.method
        common: dict[str, Any] = {"data": str(out / "shards"), "checkpoint": str(run), "seed": self.seed}
        linear = {"preset": "repo"} if self.size == "full" else {}
        return [
            KnnConfig(**common, out=run / "evals" / "knn.json"),
            LinearConfig(**common, **linear, out=run / "evals" / "linear.json"),
        ]

    def stages(self, out: Path) -> list[Stage]:
        """Photos, clusters, training, scores, page.

        Raises:
            ConfigError: no list of URLs.
        """
        k = self.k or (12 if self.size == "small" else 100)
        config = GeoclusterConfig(k=k, seed=self.seed)
        clusters = geocluster_stage(
            "clusters", out / "shards", out / "clusters.csv", config, needs=("shards",)
        )
        train = train_stage("train", self.train(out), out / self.method, needs=("shards", "clusters"))
        scores = eval_stage("score", self.evaluate(out), needs=("shards", "train"))
        page = report_stage([out / self.method], out / "report.html", "GeoImageNet", needs=("score",))
        return [*self._photos(out), clusters, train, scores, page]

    def _photos(self, out: Path) -> list[Stage]:
        folder = out / "shards"
        if self.urls is not None:
            return [build_stage("shards", self.data(self.urls), folder)]
        if self.size == "full":
            urls = Path("fall11_urls.txt")  # what `show` prints
            return [replace(build_stage("shards", self.data(urls), folder), run=_no_list)]
        return self._served(out)

    def _served(self, out: Path) -> list[Stage]:
        """A list of the planet's photos, and those photos, from a server that lives as long as the stage."""
        folder, urls = out / "shards", out / "list" / "urls.txt"
        source = self.data(urls).model_copy(
            update={
                "class_names": urls.parent / "words.txt",
                "location_cache": urls.parent / "locations.jsonl",
                "quota": 3_600_000.0,
            }
        )

        def write() -> None:
            from rsdata.sandbox.flickr.lists import write_url_list

            urls.parent.mkdir(parents=True, exist_ok=True)
            write_url_list(urls, _PHOTOS, seed=self.seed, shares={"nowhere": 0.2, "placeholder": 0.05})

        def run() -> None:
            import os

            from rsdata.flickr.api import KEY
            from rsdata.sandbox.serve import sandbox

            known = os.environ.get(KEY)
            os.environ[KEY] = _KEY  # the planet takes any; yours stays where it is
            try:
                with sandbox(seed=self.seed) as url:
                    served = source.model_copy(update={"endpoint": url})
                    build_stage("shards", served, folder, workers=1).run()
            finally:
                os.environ.pop(KEY)
                if known is not None:
                    os.environ[KEY] = known

        facts = {"photos": _PHOTOS, "seed": self.seed}
        listed = Stage("list", f"photos of the embedded planet in {urls}", facts, (), urls, write)
        built = build_stage("shards", source, folder, needs=("list",))
        return [listed, replace(built, does=f"{built.does}, from the embedded planet", run=run)]


def _no_list() -> None:
    raise ConfigError(
        "geoimagenet: urls: give a list of ImageNet's URLs (--set urls=fall11_urls.txt), as nobody serves one any more; "
        "or try it on the embedded planet (--set size=small)"
    )
