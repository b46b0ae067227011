"""Options of the commands on tables; only pydantic is imported, so `--help` stays instant."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from shards.config import Config

Space = Literal["sphere", "degrees"]
Kind = Literal["rgb", "msrgb"]


class TableConfig(Config):
    """Which columns of a table hold coordinates."""

    lon: str = Field("lon", description="column of longitudes, degrees east")
    lat: str = Field("lat", description="column of latitudes, degrees north")
    skip_invalid: bool = Field(False, description="leave out rows without usable coordinates and list them")


class GeoclusterConfig(TableConfig):
    """How places are grouped."""

    k: int = Field(100, ge=1, description="clusters; labels are 0 … k-1 from west to east")
    seed: int = Field(0, ge=0, description="of the k-means++ start")
    method: Literal["kmeans", "minibatch"] = Field(
        "kmeans", description="`minibatch` is scikit-learn's, for comparison: slower here, and worse"
    )
    space: Space = Field(
        "sphere", description="unit sphere, or plain lon/lat degrees as the paper probably did"
    )
    weights: Literal["image", "place"] = Field(
        "image", description="every row counts one, or every place (see --place) does"
    )
    place: tuple[str, ...] = Field(
        (), description="columns that name a place (default: key, or class_name and location)"
    )


class FmowCsvConfig(Config):
    """How the lists are made. File names are the contract's, whatever the number of classes and clusters."""

    k: int = Field(100, ge=1, description="geographic clusters of the train images")
    seed: int = Field(0, ge=0, description="of the clusters")
    space: Space = Field("sphere", description="where distances are measured, see geocluster")
    kind: Kind = Field("rgb", description="pan-sharpened `rgb` or the smaller `msrgb` images")
    boxes: Literal["auto", "files", "whole"] = Field(
        "auto",
        description="`files`: the _crop_<box>.jpg files beside the images; `whole`: the images; `auto`: crops if there are any",
    )
    metadata_root: Path | None = Field(
        None, description="tree with the same layout whose JSON files carry the coordinates (ground truth)"
    )
    workers: int = Field(1, ge=1, description="processes that read metadata")
