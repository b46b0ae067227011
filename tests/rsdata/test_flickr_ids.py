"""Photo ids from every form of URL that Flickr has used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdata.flickr.ids import Photo, is_flickr, parse

FILES = {
    "http://farm3.static.flickr.com/2280/2176212345_8f2a3b4c5d.jpg": "2280/2176212345_8f2a3b4c5d.jpg",
    "http://farm1.static.flickr.com/12/14_abcdef.jpg?v=0": "12/14_abcdef.jpg",
    "https://farm66.staticflickr.com/65535/52217925276_e41b00cb21_b.jpg": "65535/52217925276_e41b00cb21_b.jpg",
    "https://c2.staticflickr.com/4/3289/3027750556_91cef54b36_z.jpg?zz=1": "3289/3027750556_91cef54b36_z.jpg",
    "https://live.staticflickr.com/8500/8295861631_2c202c18c8_z.jpg": "8500/8295861631_2c202c18c8_z.jpg",
    "https://live.staticflickr.com/8500/8295861631_2c202c18c8_b_d.jpg": "8500/8295861631_2c202c18c8_b_d.jpg",
    "http://static.flickr.com/21/31234567_0a1b2c3d4e_o.png": "21/31234567_0a1b2c3d4e_o.png",
    "  http://FARM3.static.flickr.com/2280/2176212345_8f2a3b4c5d.jpg\r\n": "2280/2176212345_8f2a3b4c5d.jpg",
}
PAGES = {
    "http://www.flickr.com/photos/12037949754@N01/155761353/": 155761353,
    "https://flickr.com/photos/some-body/155761353/in/photostream/": 155761353,
    "http://www.flickr.com/photos/someone/155761353/sizes/o/": 155761353,
    "http://flickr.com/photo.gne?id=123": 123,
    "http://www.flickr.com/photo_zoom.gne?id=3003&size=o": 3003,
    "http://m.flickr.com/photos/someone/42?rb=1": 42,
    "https://flic.kr/p/2": 1,
    "https://flic.kr/p/21": 58,
}
NOTHING = [
    "",
    "http://example.org/2280/2176212345_8f2a3b4c5d.jpg",
    "http://farm3.static.flickr.com.example.org/2280/2176212345_8f2a3b4c5d.jpg",
    "http://example.org/?u=http://farm3.static.flickr.com/2280/2176212345_8f2a3b4c5d.jpg",
    "http://farm3.static.flickr.com@example.org/2280/2176212345_8f2a3b4c5d.jpg",
    "http://farm3.static.flickr.com/2280/../2176212345_8f2a3b4c5d.jpg",
    "http://farm3.static.flickr.com/2280/buddyicons/12037949754@N01.jpg",
    "http://farm3.static.flickr.com/2280/0_8f2a3b4c5d.jpg",
    "http://farm3.static.flickr.com/2280/99999999999999999999_8f2a3b4c5d.jpg",
    "https://s.yimg.com/pw/images/en-us/photo_unavailable.png",
    "https://combo.staticflickr.com/pw/images/en-us/photo_unavailable_l.png",
    "https://www.flickr.com/photos/someone/",
    "https://www.flickr.com/groups/155761353/",
    "https://flic.kr/p/0OIl",
    "https://flic.kr/p/zzzzzzzzzzz",
]


@pytest.mark.parametrize("url", FILES)
def test_a_file_has_an_id_and_a_path_that_live_serves(url: str) -> None:
    photo = parse(url)
    assert photo is not None
    assert photo.id == int(FILES[url].split("/")[1].split("_")[0])
    assert photo.live_url == f"https://live.staticflickr.com/{FILES[url]}"
    assert photo.url == url.strip()
    assert is_flickr(url.lower())


def test_the_first_hosts_had_no_server_so_only_they_have_the_image() -> None:
    photo = parse("http://photos22.flickr.com/23456789_0a1b2c3d4e_m.jpg")
    assert photo is not None and photo.id == 23456789
    assert photo.live_url == "" and photo.url.startswith("http://photos22.")


@pytest.mark.parametrize("url", PAGES)
def test_a_page_has_an_id_alone(url: str) -> None:
    assert parse(url) == Photo(PAGES[url])
    assert is_flickr(url)


@pytest.mark.parametrize("url", NOTHING)
def test_what_is_no_photo_of_flickr_is_none(url: str) -> None:
    assert parse(url) is None


@given(
    photo=st.integers(1, 10**18 - 1),
    server=st.integers(0, 65535),
    secret=st.text("0123456789abcdef", min_size=10, max_size=10),
    size=st.sampled_from(["", "_o", "_b", "_z", "_m_d"]),
    host=st.sampled_from(
        [
            "farm5.static.flickr.com",
            "farm9.staticflickr.com",
            "c7.staticflickr.com/8",
            "live.staticflickr.com",
        ]
    ),
)
def test_whatever_the_host_the_id_is_found(
    photo: int, server: int, secret: str, size: str, host: str
) -> None:
    file = f"{server}/{photo}_{secret}{size}.jpg"
    found = parse(f"https://{host}/{file}")
    assert found is not None and (found.id, found.file) == (photo, file)


@given(st.text(max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    parse(text)
    parse(f"http://farm1.static.flickr.com/{text}")
