"""Seasonal Contrast (Mañas et al., ICCV 2021, arXiv 2103.16607): from places on Earth, or from a set with several dates.

Without `data` it begins at the source: places round cities, five seasons of each, from Earth Engine or a STAC API. With
`size=small` and no endpoint the embedded planet answers in their place: no account, no network.

`size=full`: 200,000 places; ResNet-50, 224 px, 200 epochs, SGD 0.03 divided by ten at epochs 120 and 160, temperature
0.07, 16,384 negatives in each of three spaces; red, green and blue, each from its 2 % to its 98 % quantile in 8 bits. The
authors' batch of 256 was for one process; here it is over all ranks. Where code and paper differ: the paper leaves the
query as it is, the code crops it, and so does this. The code colours and blurs before the crop; here that comes after it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.from_shards import SMALL_QUEUE, SMALL_RUN, FromShards
from pipelines.stage import Stage, build_stage
from rsdata.sources.seco import SeCo as Places


class SeCo(FromShards):
    """SeCo on seasons of places, sampled first or given: three embedding spaces, three dates of a place."""

    data: str = Field(
        "", description="shard set with several dates a place that is trained on; left out: it is sampled"
    )
    locations: int | None = Field(
        None, gt=0, description="places to sample; left out: 200,000 as published, 160 with size=small"
    )
    provider: Literal["earthengine", "stac"] = Field("earthengine", description="where places are fetched")
    endpoint: str | None = Field(
        None, description="URL of the service; left out: the real one, or the embedded planet with size=small"
    )
    project: str | None = Field(None, description="Cloud project that Earth Engine charges")
    credentials: Literal["persistent", "service-account", "anonymous"] = Field(
        "persistent", description="of Earth Engine, as `rsdata run seco --credentials` takes them"
    )

    def kind(self) -> str:
        """The method."""
        return "seco"

    def full(self) -> dict[str, Any]:
        """The released command."""
        rgb = {"bands": "rgb", "stretch": "seco"}
        return rgb | {"arch": "resnet50", "epochs": 200, "batch": 256, "precision": "bf16"}

    def small(self) -> dict[str, Any]:
        """ResNet-18 at 64 px."""
        rgb = {"bands": "rgb", "stretch": "seco"}
        return SMALL_RUN | rgb | {"augment": {"size": 64, "blur": 0.0}, "method": SMALL_QUEUE}

    def places(self) -> Places:
        """What is sampled."""
        given: dict[str, Any] = {
            "provider": self.provider,
            "endpoint": self.endpoint,
            "project": self.project,
        }
        if self._served:
            given |= {"credentials": "anonymous", "threads": 8, "cloud_percent": 30.0}
        else:
            given |= {"credentials": self.credentials}
        count = self.locations or (160 if self.size == "small" else None)
        return Places.build(locations=count, seed=self.seed, **given)

    def stages(self, out: Path) -> list[Stage]:
        """Places, unless data are given; then training, scores, page."""
        if self.data:
            return super().stages(out)
        folder = out / "shards"
        train, *rest = self.model_copy(update={"data": str(folder)}).stages(out)
        config = {key: value for key, value in train.config.items() if key != "reads"}  # the sample decides
        return [self._sample(folder), replace(train, config=config, needs=("sample",)), *rest]

    @property
    def _served(self) -> bool:
        return self.size == "small" and self.endpoint is None

    def _sample(self, folder: Path) -> Stage:
        source = self.places()
        stage = build_stage("sample", source, folder)
        if not self._served:
            return stage

        def run() -> None:
            from rsdata.sandbox.serve import sandbox

            with sandbox(seed=self.seed) as url:
                endpoint = f"{url}/stac" if self.provider == "stac" else url
                served = source.model_copy(update={"endpoint": endpoint})
                build_stage("sample", served, folder, workers=1).run()

        return replace(stage, does=f"{stage.does}, from the embedded planet", run=run)
