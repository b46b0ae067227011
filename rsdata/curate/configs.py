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
        None,
        description="ground truth with the coordinates: groundtruth.tar.bz2, or a tree of JSON with the same layout",
    )
    cache: Path | None = Field(
        None, description="folder for what is read of that archive once (default: ~/.cache/rsdata)"
    )
    workers: int = Field(1, ge=1, description="processes that read metadata")


class Sn7Split(Config):
    """What is taken from a SpaceNet 7 tree and how it is divided; options of `sn7-csv` and of the source `sn7` alike."""

    split: Literal["aoi", "image", "patch", "temporal", "compat-mixed42"] = Field(
        "aoi",
        description="aoi: whole areas are held out, nothing leaks; image and patch: at random, as published, which leaks; "
        "temporal: the last months; compat-mixed42: the study's lists, of --images-list",
    )
    seed: int = Field(42, ge=0, description="of the split")
    val_fraction: float = Field(0.25, gt=0, lt=1, description="share of the areas held out by --split aoi")
    apart_km: float = Field(
        10.0, ge=0, le=5000, description="areas nearer than this stay on one side of --split aoi, kilometres"
    )
    countries: Literal["known", "any"] = Field(
        "known",
        description="known: an area is held out by --split aoi only if training keeps another of its country, so that "
        "every held-out label is known there (25 of 31 countries have one area); any: any area",
    )
    last_months: int = Field(6, gt=0, description="months held out by --split temporal")
    images_list: Path | None = Field(
        None, description="ids_and_labels_encoded.csv of the study, for --split compat-mixed42"
    )
    label: Literal["country", "aoi"] = Field(
        "country", description="what is labelled: the 31 countries of the study, or the areas"
    )
    images: Literal["images", "images_masked"] = Field(
        "images", description="folder of the training images; images_masked has clouds set to zero"
    )
    val_images: Literal["images", "images_masked"] | None = Field(
        None, description="folder of the held-out images of train/ (default: that of --images)"
    )
    drop_black: Literal["all", "test", "none"] = Field(
        "all",
        description="patches half of which are black or not valid are left out; test: only there, as published",
    )


class Sn7CsvConfig(Sn7Split):
    """How the lists are made."""

    pixels: bool = Field(
        True,
        description="read every image, and leave out broken ones and black patches; else names alone are read",
    )
    places: Literal["table", "nominatim"] = Field(
        "table",
        description="country, state and city: the frozen table and an embedded gazetteer, or OpenStreetMap's service",
    )
    contact: str | None = Field(
        None, description="mail address or page of yours, which Nominatim demands (default: RSDATA_CONTACT)"
    )
    nominatim: str = Field(
        "https://nominatim.openstreetmap.org", description="URL of the service, for --places nominatim"
    )
