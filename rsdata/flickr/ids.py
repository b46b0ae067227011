"""Photo ids: every form of URL that Flickr has used for its photos.

Forms: https://www.flickr.com/services/api/misc.urls.html, and those of lists from 2005 on.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_FILE = r"(?P<id>\d{1,18})_(?P<rest>[0-9a-f]{4,20}(?:_[a-z0-9]{1,2}){0,2}\.(?:jpe?g|png|gif))"
_SERVED = re.compile(
    r"https?://(?P<host>(?:farm\d+\.|c\d+\.|live\.)?static\.?flickr\.com)"
    rf"/(?:\d+/)??(?P<server>\d+)/{_FILE}(?:[?#].*)?\Z",
    re.IGNORECASE,
)
_FIRST = re.compile(rf"https?://(?P<host>photos\d+\.flickr\.com)/{_FILE}(?:[?#].*)?\Z", re.IGNORECASE)
_PAGE = re.compile(
    r"https?://(?:(?:www|m|secure)\.)?flickr\.com/(?:photos/[\w@.-]+/|photo(?:_zoom)?\.gne\?(?:.*&)?id=)"
    r"(?P<id>\d{1,18})(?:[/?#&].*)?\Z",
    re.IGNORECASE,
)
_SHORT = re.compile(r"https?://(?:www\.)?flic\.kr/p/(?P<code>[1-9A-HJ-NP-Za-km-z]{1,11})/?(?:[?#].*)?\Z")
_BASE58 = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
_LARGEST = 2**63 - 1


class Photo(NamedTuple):
    """What a URL says of a photo."""

    id: int
    file: str = ""
    """`SERVER/ID_SECRET.jpg`, its path on every image host; empty for a page, which names no file."""
    url: str = ""
    """Of the image as the list has it; empty for a page."""

    @property
    def live_url(self) -> str:
        """Where Flickr serves the image today; empty where the URL does not say."""
        return f"https://live.staticflickr.com/{self.file}" if self.file.count("/") == 1 else ""


def parse(url: str) -> Photo | None:
    """The photo of a URL; None where it is not one of Flickr's, or names no photo (an icon, a group, a placeholder)."""
    url = url.strip()
    found = _SERVED.match(url)
    if found:
        return _photo(found, f"{found['server']}/{found['id']}_{found['rest']}", url)
    found = _FIRST.match(url)
    if found:  # of 2004 and 2005, without a server
        return _photo(found, f"{found['id']}_{found['rest']}", url)
    found = _PAGE.match(url)
    if found:
        return _photo(found, "", "")
    found = _SHORT.match(url)
    if found:
        number = 0
        for letter in found["code"]:
            number = number * 58 + _BASE58.index(letter)
        return Photo(number) if 0 < number <= _LARGEST else None
    return None


def is_flickr(url: str) -> bool:
    """Whether a URL points at Flickr at all, photo or not; a quick look at millions of lines."""
    return "flickr.com/" in url or "flic.kr/" in url


def _photo(found: re.Match[str], file: str, url: str) -> Photo | None:
    number = int(found["id"])
    return Photo(number, file, url) if number else None
