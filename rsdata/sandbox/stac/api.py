"""STAC API 1.0: landing page, collections, items, and search by POST and GET, a page at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rsdata.sandbox.scenes import Scene, scenes_over
from rsdata.sandbox.stac.items import COLLECTION, SENSOR, item_id, item_of

_CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
]
_EARLIEST, _LATEST = "2015-01-01T00:00:00Z", "2035-01-01T00:00:00Z"
_PAGE = 10
_MOST = 250
_COMPARE = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
}


class BadRequest(ValueError):  # noqa: N818
    """What the caller asked for cannot be answered; becomes a 400."""


def answer(path: str, query: Mapping[str, str], body: bytes, base: str, seed: int) -> dict[str, Any] | None:
    """The JSON of a path below `/stac`; None where there is nothing.

    Args:
        path: such as `/search`; empty for the landing page.
        query: of the URL.
        body: of a POST; empty for a GET.
        base: URL of the server.
        seed: of the planet.

    Raises:
        BadRequest: a search that cannot be read.
    """
    parts = path.strip("/").split("/")
    match parts:
        case [""]:
            return _landing(base)
        case ["conformance"]:
            return {"conformsTo": _CONFORMS}
        case ["collections"]:
            return {"collections": [_collection(base)], "links": []}
        case ["collections", name] if name == COLLECTION:
            return _collection(base)
        case ["collections", name, "items", item] if name == COLLECTION:
            scene = _scene_of(item, seed)
            return None if scene is None else item_of(scene, base)
        case ["search"]:
            return _search(_asked(query, body), bool(body), base, seed)
    return None


def _landing(base: str) -> dict[str, Any]:
    root = f"{base}/stac"
    links = [
        ("self", "application/json", root, None),
        ("root", "application/json", root, None),
        ("data", "application/json", f"{root}/collections", None),
        ("conformance", "application/json", f"{root}/conformance", None),
        ("child", "application/json", f"{root}/collections/{COLLECTION}", None),
        ("search", "application/geo+json", f"{root}/search", "GET"),
        ("search", "application/geo+json", f"{root}/search", "POST"),
    ]
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "planet",
        "title": "Embedded planet",
        "description": "Scenes of a planet that is computed.",
        "conformsTo": _CONFORMS,
        "links": [
            {"rel": rel, "type": kind, "href": href} | ({"method": method} if method else {})
            for rel, kind, href, method in links
        ],
    }


def _collection(base: str) -> dict[str, Any]:
    here = f"{base}/stac/collections/{COLLECTION}"
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": COLLECTION,
        "title": "Sentinel-2 level 2A of the embedded planet",
        "description": "Surface reflectance, 12 bands, and the scene classification.",
        "license": "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [[-180, -84, 180, 84]]},
            "temporal": {"interval": [["2017-03-28T00:00:00Z", None]]},
        },
        "links": [
            {"rel": "self", "type": "application/json", "href": here},
            {"rel": "root", "type": "application/json", "href": f"{base}/stac"},
            {"rel": "items", "type": "application/geo+json", "href": f"{here}/items"},
        ],
    }


def _asked(query: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """A search as its POST form, however it came."""
    if body:
        try:
            asked = json.loads(body)
        except ValueError:
            raise BadRequest("the body is not JSON") from None
        if not isinstance(asked, dict):
            raise BadRequest("the body is not an object")
        return asked
    asked = dict(query)
    for name in ("collections", "ids"):
        if name in asked:
            asked[name] = asked[name].split(",")
    try:
        if "bbox" in asked:
            asked["bbox"] = [float(number) for number in asked["bbox"].split(",")]
        for name in ("intersects", "query"):
            if name in asked:
                asked[name] = json.loads(asked[name])
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return asked


def _search(asked: dict[str, Any], posted: bool, base: str, seed: int) -> dict[str, Any]:
    try:
        limit = min(int(asked.get("limit", _PAGE)), _MOST)
        start = int(asked.get("token", 0))
    except (TypeError, ValueError):
        raise BadRequest("limit and token are whole numbers") from None
    if limit < 1 or start < 0:
        raise BadRequest("limit is at least 1")
    found = [] if COLLECTION not in asked.get("collections", [COLLECTION]) else _found(asked, base, seed)
    page = found[start : start + limit]
    links: list[dict[str, Any]] = [{"rel": "root", "type": "application/json", "href": f"{base}/stac"}]
    if start + limit < len(found):
        links.append(_next(asked | {"limit": limit, "token": str(start + limit)}, posted, base))
    return {
        "type": "FeatureCollection",
        "features": page,
        "links": links,
        "numberMatched": len(found),
        "numberReturned": len(page),
    }


def _next(asked: dict[str, Any], posted: bool, base: str) -> dict[str, Any]:
    from urllib.parse import urlencode

    link = {"rel": "next", "type": "application/geo+json", "href": f"{base}/stac/search"}
    if posted:
        return link | {"method": "POST", "body": asked, "merge": False}
    flat = {k: v if isinstance(v, (str, int)) else _flat(k, v) for k, v in asked.items()}
    return link | {"method": "GET", "href": f"{link['href']}?{urlencode(flat)}"}


def _flat(name: str, value: Any) -> str:
    return json.dumps(value) if name in ("intersects", "query") else ",".join(str(part) for part in value)


def _found(asked: dict[str, Any], base: str, seed: int) -> list[dict[str, Any]]:
    """All items of a search, newest first."""
    start, end = _interval(asked.get("datetime"))
    region = _region(asked)
    if region is None:
        scenes = [scene for name in asked.get("ids", []) if (scene := _scene_of(name, seed))]
        scenes = [scene for scene in scenes if start <= scene.time < end]
    else:
        scenes = scenes_over(SENSOR, region, start, end, seed)
        if "ids" in asked:
            scenes = [scene for scene in scenes if item_id(scene) in asked["ids"]]
    items = [item_of(scene, base) for scene in sorted(scenes, key=lambda s: (-s.time, s.id))]
    for name, conditions in (asked.get("query") or {}).items():
        for operator, value in conditions.items():
            if operator not in _COMPARE:
                raise BadRequest(f"query: the operator {operator!r} is not known")
            items = [i for i in items if _holds(operator, i["properties"].get(name), value)]
    return items


def _holds(operator: str, found: Any, value: Any) -> bool:
    try:
        return found is not None and bool(_COMPARE[operator](found, value))
    except TypeError:
        raise BadRequest(f"query: {value!r} cannot be compared") from None


def _region(asked: dict[str, Any]) -> Any:
    """What is searched, in degrees; None where ids alone are asked for."""
    import shapely
    from shapely.geometry import shape

    try:
        if asked.get("intersects") is not None:
            return shape(asked["intersects"])
        if asked.get("bbox") is not None:
            west, south, east, north = asked["bbox"][:2] + asked["bbox"][len(asked["bbox"]) // 2 :][:2]
            return shapely.box(west, south, east + 360 if east < west else east, north)
    except (ValueError, TypeError, KeyError, AttributeError, shapely.errors.ShapelyError):
        raise BadRequest("bbox or intersects cannot be read") from None
    if "ids" not in asked:
        raise BadRequest("give bbox, intersects or ids: the planet has too many scenes")
    return None


def _interval(text: str | None) -> tuple[int, int]:
    """A closed interval of RFC 3339, as [start, end) in milliseconds since 1970."""
    first, slash, last = (text or "../..").partition("/")
    try:
        start = _ms(_EARLIEST if first in ("..", "") else first)
        end = _ms((_LATEST if last in ("..", "") else last) if slash else first) + 1
    except ValueError:
        raise BadRequest(f"datetime: {text!r} cannot be read") from None
    return start, end


def _ms(text: str) -> int:
    when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def _scene_of(item: str, seed: int) -> Scene | None:
    """The scene of an item."""
    from rsdata.sandbox.scenes.products import DAY_MS, PRODUCTS
    from rsdata.sandbox.scenes.scene import scenes_of
    from rsdata.sandbox.scenes.tiles import passes, tile_named

    parts = item.split("_")
    tile = tile_named(parts[1]) if len(parts) == 5 else None
    try:
        day = _ms(f"{parts[2][:4]}-{parts[2][4:6]}-{parts[2][6:]}")
    except (ValueError, IndexError):
        return None
    if tile is None:
        return None
    for each in passes(SENSOR, tile):
        for scene in scenes_of(PRODUCTS[SENSOR], tile, each, day - DAY_MS, day + 2 * DAY_MS, seed):
            if item_id(scene) == item:
                return scene
    return None
