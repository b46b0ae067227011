"""GeoImageNet (Ayush et al. 2021, section 5): photos of ImageNet's classes from Flickr, with the places they were taken.

What once served ImageNet's URLs is gone, so the list of URLs is the user's. `plan` reads it and asks nobody; `build` asks
Flickr for the place of each photo first, under a quota that a whole list takes weeks of, and fetches the image only of a
photo that has one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsdata.sources.base import Fetched, FetchError, Item, Listing, Source

if TYPE_CHECKING:
    from rsdata.flickr.ids import Photo
    from rsdata.images import Image

_SURPLUS = 0.9
"""The published downloader draws only classes with more than this share of their URLs to spare."""
_HASH = 64
_SMALLEST_PX = 16
"""Short side; what is less is a tracking pixel."""


class GeoImageNet(Source):
    """Photos of ImageNet classes with their places, from a list of Flickr URLs; a label for each wnid, never for a name."""

    kind: Literal["geoimagenet"] = "geoimagenet"
    urls: Path = Field(
        description="list of URLs: wnid_id<TAB>url as in fall11_urls.txt, CSV or Parquet with url and wnid, or a folder of "
        "<wnid>.txt"
    )
    class_names: Path | None = Field(
        None, description="words.txt (wnid<TAB>names), or a CSV with synid and class_name"
    )
    classes: tuple[str, ...] = Field(
        (), description="wnids, or names that only one wnid has; repeatable (default: all, or --draw-classes)"
    )
    draw_classes: int | None = Field(
        None, gt=0, description="draw so many classes by the seed, each equally likely"
    )
    images_per_class: int | None = Field(
        None, gt=0, description="photos of a class that are planned, drawn by the seed (default: all)"
    )
    fill: int = Field(
        0,
        ge=0,
        description="further photos of each class, that stand in for those without a place or an image",
    )
    min_urls: int | None = Field(
        None,
        gt=0,
        description="a class is drawn only where so many URLs name a photo (default: 10 % more than --images-per-class)",
    )
    test_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of photos for the test split (by the seed)"
    )
    min_accuracy: int = Field(
        1,
        ge=1,
        le=16,
        description="least accuracy of a place: 1 world, 3 country, 6 region, 11 city, 16 street",
    )
    ask_licences: bool = Field(
        False, description="ask for licence and date of each located photo, too: a second call of the quota"
    )
    placeholder: tuple[str, ...] = Field(
        (), description="sha256 of a further picture that stands for missing photos; repeatable"
    )
    size: int | None = Field(
        None,
        gt=0,
        description="scale the short side down to this many pixels, JPEG q95 (default: keep bytes)",
    )
    squash: int | None = Field(
        None, gt=0, description="scale to a square of this side whatever the shape, as published (224)"
    )
    max_pixels: int = Field(300_000_000, gt=0, description="refuse images with more pixels")
    quota: float = Field(
        3600.0, gt=0, description="calls of the API an hour, over all processes of this machine"
    )
    threads: int = Field(
        16, gt=0, le=256, description="photos under work at once, over all processes of this machine"
    )
    image_rate: float | None = Field(
        None, gt=0, description="images a second, over all processes of this machine (default: no limit)"
    )
    location_cache: Path | None = Field(
        None,
        description="file that keeps Flickr's answers, so that none is asked for twice "
        "(default: ~/.cache/rsdata/flickr-HOST.jsonl)",
    )
    endpoint: str | None = Field(
        None, description="URL that serves /services/rest/ and /photos/HOST/PATH in Flickr's place"
    )

    title: ClassVar[str] = "GeoImageNet: photos of ImageNet classes with the places where they were taken"
    url: ClassVar[str] = "https://geography-aware-ssl.github.io"
    licence: ClassVar[str] = "each photo its own (--ask-licences); not to be passed on without a look at it"
    access: ClassVar[str] = "a Flickr API key in FLICKR_API_KEY, and your own list of ImageNet's URLs"
    typical_size: ClassVar[str] = "543,435 images of 5,150 classes as published, about 60 GB"
    extra_columns: ClassVar[dict[str, str]] = {
        "wnid": "string",
        "class_name": "string",
        "photo_id": "int64",
        "url": "string",
        "accuracy": "int32",
        "locality": "string",
        "county": "string",
        "region": "string",
        "country": "string",
        "taken": "string",
    }
    where: ClassVar[frozenset[str]] = frozenset(
        {"urls", "class_names"}  # what they hold is in the plan
        | {"endpoint", "quota", "threads", "image_rate", "location_cache"}
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.classes and self.draw_classes:
            raise ValueError("draw_classes: classes are named already; leave out one of the two")
        if self.size and self.squash:
            raise ValueError("squash: and size are two ways to scale; leave out one of them")
        if self.fill and not self.images_per_class:
            raise ValueError("fill: needs --images-per-class; without it every photo is planned already")
        if self.min_urls and not self.draw_classes:
            raise ValueError("min_urls: is for --draw-classes; leave it out")
        for text in self.placeholder:
            if len(text) != _HASH or set(text) - set("0123456789abcdef"):
                raise ValueError(f"placeholder: {text!r} is not a sha256: 64 digits and letters a to f")
        if self.endpoint is not None and not _is_safe(self.endpoint):
            raise ValueError(
                f"endpoint: {self.endpoint!r}: the key is sent there; only https://…, or http://… of this machine"
            )
        return self

    def listing(self) -> Listing:
        """Choose classes and photos; asks no service.

        Raises:
            ConfigError: the list or the names cannot be read, or what is asked for is not in them.
        """
        from rsdata.flickr.choose import shuffled
        from rsdata.flickr.lists import read_names, read_photos

        names = read_names(self.class_names) if self.class_names is not None else {}
        wnids = self._wnids(names)
        found = read_photos(self.urls, wnids)
        items: list[Item] = []
        reserves: list[tuple[int, Item]] = []
        for label, wnid in enumerate(wnids):
            chosen = shuffled(found.photos[wnid], self.seed)
            made = [self._item(photo, found.urls[photo.id], wnid, label, names) for photo in chosen]
            wanted = self.images_per_class or len(made)
            items += made[:wanted]
            reserves += list(enumerate(made[wanted : wanted + self.fill]))
            if self.images_per_class and len(made) < wanted:
                found.notes["classes with fewer photos than asked for"] += 1
        reserves.sort(key=lambda pair: pair[0])  # the first of each class, then the second
        classes = [f"{wnid} {names[wnid]}" if wnid in names else wnid for wnid in wnids]
        return Listing(items, classes, dict(found.notes), [item for _, item in reserves])

    def ready(self) -> None:
        """See that the key is accepted.

        Raises:
            ConfigError: no key, a bad one, or nothing answers.
        """
        from rsdata.flickr.api import open_api

        open_api(self).check()

    def concurrency(self) -> int:
        """Photos at once in a task."""
        return self.threads

    def estimate(self, items: int) -> dict[str, float]:
        """Calls of the API, and how long they take where none is answered by the cache."""
        calls = float(items * (2 if self.ask_licences else 1))
        return {
            "calls_of_the_API_at_most": calls,
            "hours_at_quota": calls / self.quota,
            "days_at_quota": calls / self.quota / 24,
        }

    def fetch(self, item: Item) -> Fetched:
        """The place of a photo, then its licence if asked for, then its image.

        Raises:
            FetchError: stage `locate`, `fetch` or `check` says which of them failed.
        """
        from rsdata.flickr.api import open_api
        from rsdata.flickr.ids import parse
        from rsdata.flickr.images import open_images, squashed
        from rsdata.images import check_image, fit
        from rsdata.sources.members import image_sample
        from shards.failures import FailureClass

        photo = parse(item.urls[0])
        assert photo is not None
        api = open_api(self)
        place = api.locate(photo.id)
        if (place.accuracy or 1) < self.min_accuracy:
            reason = f"photo {photo.id} is placed with accuracy {place.accuracy or 'unknown'} only"
            raise FetchError(FailureClass.INVALID, reason, "locate")
        info = api.info(photo.id) if self.ask_licences or not photo.url else None
        if info is not None and not photo.url:
            photo = photo._replace(file=info.file)
        data, url = open_images(self).read(photo, self.placeholder)
        image = check_image(data, max_pixels=self.max_pixels)
        _check_size(image)
        image = squashed(image, self.squash) if self.squash else fit(image, size=self.size)
        extra = {
            "wnid": item.group,
            "class_name": item.facts,
            "photo_id": photo.id,
            "url": item.urls[0],
            "accuracy": place.accuracy,
            "locality": place.locality,
            "county": place.county,
            "region": place.region,
            "country": place.country,
            "taken": info.taken if info else "",
        }
        licence = info.licence if info else f"not asked for: https://www.flickr.com/photo.gne?id={photo.id}"
        more = {"lon": place.lon, "lat": place.lat, "source": url, "licence": licence}
        return image_sample(
            item, image, licence=licence, extra=extra, more=more, source=url, lon=place.lon, lat=place.lat
        )

    def _wnids(self, names: dict[str, str]) -> list[str]:
        """The classes, sorted."""
        from rsdata.flickr.choose import drawn_classes, named_classes
        from rsdata.flickr.lists import count_photos

        if self.classes:
            return named_classes(self.classes, names)
        counts = count_photos(self.urls)
        if self.draw_classes is None:
            return [wnid for wnid, count in counts.items() if count]
        least = self.min_urls or int((self.images_per_class or 0) / _SURPLUS) + 1
        return drawn_classes(self.urls, counts, self.draw_classes, least, self.seed)

    def _item(self, photo: Photo, url: str, wnid: str, label: int, names: dict[str, str]) -> Item:
        from shards.random import stream, uniform

        test = False
        if self.test_fraction:
            draw = uniform(stream("geoimagenet/split"), self.seed, photo.id, count=1)
            test = float(draw[0]) < self.test_fraction
        return Item(
            id=f"{wnid}/{photo.id}",
            urls=(url,),
            split="test" if test else "train",
            label=label,
            group=wnid,
            facts=names.get(wnid, ""),
        )


def _check_size(image: Image) -> None:
    from shards.failures import FailureClass

    if min(image.width, image.height) < _SMALLEST_PX:
        raise FetchError(FailureClass.INVALID, f"{image.width} x {image.height} px are no photo", "check")


def _is_safe(endpoint: str) -> bool:
    """https, or this machine."""
    import ipaddress
    from urllib.parse import urlsplit

    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return bool(host)
    try:
        return parts.scheme == "http" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return parts.scheme == "http" and host == "localhost"
