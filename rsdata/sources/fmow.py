"""fMoW: dated views of places of 62 functional classes (Christie et al. 2018), a sample a place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from rsdata.sources.base import Fetched, FetchError, Item, Listing, Lost, Source, read_file

if TYPE_CHECKING:
    from rsdata.fmow.bucket import Files
    from rsdata.fmow.truth import Truth
    from rsdata.images import Image

_BUCKET = "s3://"
_SUBSETS = ("train", "val", "test", "seq")
_MANY = 150
"""Places a shard where no sizes are known: about 4.8 views each, 200 GB over 523,846 of them make 270 MB."""
_VIEWS, _MB = 4.8, 0.38
"""Of a place (val sample: mean 4.78); at most, of an rgb image (200 GB for all, msrgb with it)."""


class FMoW(Source):
    """Functional Map of the World in its official layout; all views of a place lie in one sample."""

    kind: Literal["fmow"] = "fmow"
    root: str = Field(
        description="folder with train/ and val/, or s3://spacenet-dataset/Hosted-Datasets/fmow/fmow-rgb"
    )
    manifest: str | None = Field(
        None,
        description="file or URL that names the files of the root, so that it is not listed: manifest.json.bz2 of the "
        "bucket, lines of `aws s3 ls --recursive`, or Parquet with path and size",
    )
    metadata_root: str | None = Field(
        None,
        description="ground truth with the coordinates: groundtruth.tar.bz2 (file or URL), or a second tree of JSON "
        "(default: of a bucket its groundtruth.tar.bz2)",
    )
    endpoint: str | None = Field(None, description="URL of an S3 service other than Amazon's")
    cache: Path | None = Field(None, description="folder of what is fetched to plan: ground truth, listings")
    threads: int = Field(16, gt=0, le=256, description="objects of a bucket that a task fetches at once")
    subsets: tuple[str, ...] = Field(
        ("train", "val"), description="which of train, val, test, seq; the last two need the ground truth"
    )
    classes: tuple[str, ...] = Field((), description="only these classes; labels stay those of all classes")
    countries: tuple[str, ...] = Field((), description="only places in these countries, ISO alpha-3")
    places: tuple[str, ...] = Field((), description="only these places, such as train/airport_0")
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the places, each chosen by the seed and its name"
    )
    images: Literal["rgb", "msrgb"] = Field("rgb", description="pan-sharpened images or the smaller msrgb")
    boxes: Literal["crop", "whole", "files"] = Field(
        "crop",
        description="crop: the first box with its context, JPEG q95; whole: the image as it is; "
        "files: the <name>_crop_0.jpg that lie beside the images",
    )
    context_axes: Literal["correct", "baseline"] = Field(
        "correct",
        description="baseline divides the box width by the image height and the other way round, "
        "as the published code does",
    )
    split: Literal["official", "geo"] = Field(
        "official", description="official: the folders; geo: val holds whole grid blocks of the Earth"
    )
    geo_fraction: float = Field(0.3, gt=0, lt=1, description="share of the places in val with --split geo")
    geo_degrees: float = Field(5.0, gt=0, le=90, description="side of a grid block with --split geo, degrees")
    size: int | None = Field(
        None,
        gt=0,
        description="scale the short side down to this many pixels, JPEG q95 (default: native size)",
    )
    max_pixels: int = Field(300_000_000, gt=0, description="refuse images with more pixels")

    title: ClassVar[str] = "functional Map of the World, 62 classes, dated views of places"
    url: ClassVar[str] = "https://github.com/fMoW/dataset"
    licence: ClassVar[str] = "fMoW Challenge Public License"
    access: ClassVar[str] = "none (public bucket, unsigned)"
    typical_size: ClassVar[str] = "363,572 train and 53,040 val images, 200 GB as rgb"
    extra_columns: ClassVar[dict[str, str]] = {
        "class_name": "string",
        "location": "string",
        "view": "int32",
        "country": "string",
        "utm": "string",
        "cloud_cover": "float64",
        "box": "string",
    }
    where: ClassVar[frozenset[str]] = frozenset(
        {"root", "manifest", "metadata_root", "endpoint", "cache", "threads"}
    )

    @field_validator("root", "manifest", "metadata_root", mode="before")
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        """A build may start from another folder than the plan."""
        if isinstance(value, Path) or (isinstance(value, str) and "://" not in value):
            return str(Path(value).expanduser().absolute())
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if "://" in self.root and not self.root.startswith(_BUCKET):
            raise ValueError("root: expected a folder or an s3:// URL")
        for name in ("root", "manifest", "metadata_root", "endpoint"):
            url = getattr(self, name) or ""
            if "://" in url and "@" in urlsplit(url).netloc:
                raise ValueError(f"{name}: must not hold a name and password; put them into ~/.netrc")
        if not self.subsets or sorted(set(self.subsets) & set(_SUBSETS)) != sorted(self.subsets):
            raise ValueError(f"subsets: expected some of {', '.join(_SUBSETS)}, each once")
        return self

    @property
    def remote(self) -> bool:
        """Whether the images are in a bucket."""
        return self.root.startswith(_BUCKET)

    def shard_size(self) -> int | None:
        """As asked for; else by the sizes of the files, which a manifest in JSON does not tell."""
        return self.samples_per_shard or (_MANY if self.manifest else None)

    def estimate(self, items: int) -> dict[str, float]:
        """Bytes, where a manifest does not tell them; requests are counted by the listing."""
        return {"gigabytes_at_most": items * _VIEWS * _MB / 1e3} if self.remote and self.manifest else {}

    def concurrency(self) -> int:
        """Places at the same time, where their images come over the network."""
        return self.threads if self.remote else 1

    def listing(self) -> Listing:
        """Scan the tree or the bucket and join the metadata; a view without usable metadata fails in sight.

        Raises:
            UserError: no tree, an empty class, no ground truth where one is needed, nothing to split by geography.
        """
        from rsdata.fmow.plan import listing

        return listing(self)

    def cache_folder(self) -> Path:
        """Where the ground truth and tables of it and of listings are kept."""
        return (self.cache or Path.home() / ".cache" / "rsdata").expanduser().absolute()

    def ground_truth(self) -> Path | None:
        """The ground truth on this machine, fetched if it has to be; None: what lies beside the images is all."""
        from rsdata.fmow.bucket import fetched

        where = self.metadata_root
        if where is None and self.remote:
            where = f"{self.root.rstrip('/')}/groundtruth.tar.bz2"
        return None if where is None else fetched(where, endpoint=self.endpoint, cache=self.cache_folder())

    def files(self, known: Truth | None) -> Files:
        """What the root holds, by the manifest or by listing what is wanted of the bucket."""
        from rsdata.fmow import bucket
        from rsdata.fmow.plan import prefixes

        if self.manifest is not None:
            return bucket.from_manifest(
                bucket.fetched(self.manifest, endpoint=self.endpoint, cache=self.cache_folder())
            )
        wanted = prefixes(self, known)
        return bucket.listed(self.root, wanted, endpoint=self.endpoint, cache=self.cache_folder())

    def fetch(self, item: Item) -> Fetched:
        """All views of a place that can be had; the others are `lost`."""
        import json

        from rsdata.sources.members import json_member
        from shards.failures import FailureClass
        from shards.sample import Sample, View
        from shards.stats import Histogram

        facts = json.loads(item.facts)
        sizes = item.sizes or (None,) * len(item.urls)
        lost = [
            Lost(path, FetchError(FailureClass.INVALID, reason, "plan")) for path, reason in facts["strays"]
        ]
        views: list[View] = []
        members: dict[str, bytes] = {}
        kept, histograms, notes = [], [], Counter[str]()
        for url, size, view in zip(item.urls, sizes, facts["views"], strict=True):
            try:
                image = self._image(url, size, view)
            except FetchError as error:
                lost.append(Lost(url, error))
                continue
            member = f"{len(views):03d}.{image.ending}"
            extra = {name: view.get(name) for name in self.extra_columns}
            extra |= {"class_name": facts["class_name"], "location": facts["location"]}
            extra["box"] = None if view["box"] is None else json.dumps(view["box"])
            views.append(
                View(
                    member=member,
                    width=image.width,
                    height=image.height,
                    label=item.label,
                    split=item.split,
                    lon=view["lon"],
                    lat=view["lat"],
                    time=view["time"],
                    gsd_m=view["gsd_m"],
                    source=url,
                    licence=self.licence,
                    extra=extra,
                )
            )
            members[member] = image.data
            kept.append({**view, "member": member, "source": url})
            histograms.append(image.histogram())
            notes.update([image.note] if image.note else [])
        if not views:
            raise _all_lost(lost, self.images)
        about = {"id": item.id, "class_name": facts["class_name"], "label": item.label, "split": item.split}
        members["json"] = json_member({**about, "location": facts["location"], "views": kept})
        members["cls"] = str(item.label).encode()
        return Fetched(
            Sample(item.key, members, tuple(views)), Histogram.total(histograms), tuple(lost), dict(notes)
        )

    def _read(self, url: str, size: int | None) -> bytes:
        if not self.remote:
            return read_file(Path(self.root), url, size)
        from rsdata.fmow.bucket import read

        return read(self.root, url, size, endpoint=self.endpoint)

    def _image(self, url: str, size: int | None, view: dict[str, Any]) -> Image:
        from rsdata.fmow.boxes import with_context
        from rsdata.images import check_image, fit
        from shards.failures import FailureClass

        if view["error"] is not None:
            raise FetchError(FailureClass.INVALID, view["error"], "plan")
        image = check_image(self._read(url, size), max_pixels=self.max_pixels)
        box = None
        if self.boxes == "crop":
            try:
                box = with_context(view["box"], image.width, image.height, axes=self.context_axes)
            except ValueError as error:
                raise FetchError(
                    FailureClass.INVALID, f"{error}; --boxes whole needs no box", "check"
                ) from None
        return fit(image, box=box, size=self.size)


def _all_lost(lost: list[Lost], images: str) -> FetchError:
    from shards.failures import FailureClass

    if not lost:
        return FetchError(FailureClass.INVALID, f"the place has no {images} image", "plan")
    kinds = [part.error.kind for part in lost]
    kind = FailureClass.TRANSIENT if FailureClass.TRANSIENT in kinds else kinds[0]
    reasons = "; ".join(f"{part.id.rsplit('/', 1)[-1]}: {part.error.reason}" for part in lost[:3])
    more = f"; and {len(lost) - 3} more" if len(lost) > 3 else ""
    return FetchError(kind, f"none of its {len(lost)} views is left: {reasons}{more}", lost[0].error.stage)
