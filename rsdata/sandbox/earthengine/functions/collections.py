"""Collections and their elements: filter, sort, map, aggregate, join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import shapely

from rsdata.sandbox.earthengine.collection import Collection, Step
from rsdata.sandbox.earthengine.functions import reducers
from rsdata.sandbox.earthengine.functions.arithmetic import plain
from rsdata.sandbox.earthengine.functions.filters import as_filter, value_of
from rsdata.sandbox.earthengine.image import Image
from rsdata.sandbox.earthengine.values import Args, Date, Feature, Filter, Join, Reducer, RequestError

_OWN = ("system:id", "system:version", "system:bands", "system:band_names")


def collection_of(a: Args, name: str = "collection") -> Collection:
    """A collection argument.

    Raises:
        RequestError: it is something else.
    """
    value = a[name]
    if not isinstance(value, Collection):
        raise a.wrong(name, "FeatureCollection", value)
    return value


def property_of(element: Any, name: str) -> Any:
    """A property; images also have their id and bands."""
    if isinstance(element, Image) and name in _OWN:
        return {
            "system:id": element.id,
            "system:version": 1,
            "system:bands": {key: band.info(key) for key, band in element.bands.items()},
            "system:band_names": list(element.bands),
        }[name]
    value = value_of(element, name)
    return value.ms if isinstance(value, Date) and name.startswith("system:time") else value


def _element(a: Args, name: str) -> Any:
    value = a[name]
    if not isinstance(value, Image | Feature | dict):
        raise a.wrong(name, "Element", value)
    return value


def with_properties(element: Any, properties: Mapping[str, Any]) -> Any:
    """The element with other properties."""
    if isinstance(element, Feature):
        return Feature(element.geometry, dict(properties), element.id)
    if isinstance(element, dict):
        return dict(properties)
    return replace(element, properties=dict(properties))


def _properties(element: Any) -> dict[str, Any]:
    return dict(element if isinstance(element, dict) else element.properties)


def _names(a: Args) -> list[str]:
    element = _element(a, "element")
    return [*_properties(element), *(_OWN if isinstance(element, Image) else ())]


def _set(a: Args) -> Any:
    element = _element(a, "object")
    return with_properties(element, {**_properties(element), a.text("key"): a.get("value")})


def _set_multi(a: Args) -> Any:
    element = _element(a, "object")
    return with_properties(element, {**_properties(element), **a.record("properties")})


def _to_dictionary(a: Args) -> dict[str, Any]:
    element = _element(a, "element")
    names = a.get("properties")
    if names is None:
        return {key: value for key, value in _properties(element).items() if not key.startswith("system:")}
    return {name: property_of(element, name) for name in names}


def _copy(a: Args) -> Any:
    destination, source = _element(a, "destination"), _properties(_element(a, "source"))
    names, without = a.get("properties"), a.get("exclude", [])
    taken = {
        key: value
        for key, value in source.items()
        if key not in without and (key in names if names is not None else not key.startswith("system:"))
    }
    return with_properties(destination, {**_properties(destination), **taken})


def _geometry(a: Args) -> Any:
    value = a["feature"]
    geometry = getattr(value, "geometry", None)
    return shapely.box(-180, -90, 180, 90) if geometry is None and isinstance(value, Image) else geometry


def _feature(a: Args) -> Feature:
    metadata = a.get("metadata", {})
    return Feature(a.geometry("geometry") if a.get("geometry") is not None else None, dict(metadata))


def _features(a: Args) -> Collection:
    elements = a.items("features")
    for k, each in enumerate(elements):
        if isinstance(each, shapely.Geometry):
            each = elements[k] = Feature(each, {})
        if isinstance(each, Feature) and each.id is None:
            elements[k] = Feature(each.geometry, each.properties, str(k))
    return Collection(elements, images=False)


def _filter(a: Args) -> Collection:
    return collection_of(a).with_step(Step(filter=as_filter(a["filter"], a)))


def _map(a: Args) -> Collection:
    function = a["baseAlgorithm"]
    if not callable(function):
        raise a.wrong("baseAlgorithm", "Algorithm", function)
    drop = a.get("dropNulls")

    def checked(element: Any) -> Any:
        value = function(element)
        if value is None and not drop:
            raise RequestError("Collection.map: A mapped algorithm must return a Feature or Image.")
        if value is not None and not isinstance(value, Image | Feature):
            raise RequestError("Collection.map: A mapped algorithm must return a Feature or Image.")
        if isinstance(value, Image) and isinstance(element, Image) and value.id is None:
            # What an image is called and where it lies survive a mapped function.
            kept = {"system:index": element.properties.get("system:index"), **value.properties}
            value = replace(value, properties=kept, geometry=value.geometry or element.geometry)
        return value

    return collection_of(a).with_step(Step(function=checked))


def _limit(a: Args) -> Collection:
    found = collection_of(a)
    elements = found.elements
    key = a.get("key")
    if key is not None:

        def of(element: Any) -> Any:
            return property_of(element, key)

        known = [each for each in elements if of(each) is not None]
        elements = sorted(known, key=of, reverse=a.get("ascending", True) is False)
        elements += [each for each in found.elements if of(each) is None]
    if a.get("limit") is not None:
        elements = elements[: a.integer("limit")]
    return found.of(list(elements))


def _first(a: Args) -> Any:
    return next(iter(collection_of(a)), None)


def _to_list(a: Args) -> list[Any]:
    start = a.integer("offset", 0)
    return collection_of(a).elements[start : start + a.integer("count")]


def _merge(a: Args) -> Collection:
    parts = [collection_of(a, "collection1"), collection_of(a, "collection2")]
    merged = []
    for k, part in enumerate(parts, start=1):
        for each in part:
            index = each.properties.get("system:index") if not isinstance(each, Feature) else each.id
            renamed = f"{k}_{index}"
            if isinstance(each, Feature):
                merged.append(Feature(each.geometry, each.properties, renamed))
            else:
                merged.append(with_properties(each, {**each.properties, "system:index": renamed}))
    return Collection(merged, images=parts[0].images)


def _distinct(a: Args) -> Collection:
    names = a["properties"]
    names = [names] if isinstance(names, str) else names
    seen: list[Any] = []
    kept = []
    for each in collection_of(a):
        values = [property_of(each, name) for name in names]
        if values not in seen:
            seen.append(values)
            kept.append(each)
    return collection_of(a).of(kept)


def _flatten(a: Args) -> Collection:
    return Collection([inner for each in collection_of(a) for inner in each], images=False)


def _iterate(a: Args) -> Any:
    state = a.get("first")
    for each in collection_of(a):
        state = a["function"](each, state)
    return state


def _union_geometry(a: Args) -> shapely.Geometry:
    found = [each.geometry for each in collection_of(a) if each.geometry is not None]
    return shapely.unary_union(found)


def _reduce_columns(a: Args) -> dict[str, Any]:
    reducer = a["reducer"]
    if not isinstance(reducer, Reducer):
        raise a.wrong("reducer", "Reducer", reducer)
    names = a.items("selectors")
    return reducers.column(
        reducer, [[property_of(each, name) for name in names] for each in collection_of(a)]
    )


def _aggregate(name: str, a: Args) -> Any:
    key = a.text("property")
    values = [value for value in (property_of(each, key) for each in collection_of(a)) if value is not None]
    if name == "array":
        return values
    if name == "first":
        return values[0] if values else None
    if name == "count":
        return len(values)
    if name == "count_distinct":
        return len(set(map(str, values)))
    if name == "histogram":
        return dict(Counter(str(value) for value in values))
    if not values:
        return 0 if name == "sum" else None
    if name in ("min", "max"):
        return min(values) if name == "min" else max(values)
    numbers = np.array(values, np.float64)
    return plain(numbers.sum() if name == "sum" else numbers.mean() if name == "mean" else numbers.std())


def _join(name: str, a: Args) -> Join:
    known = (
        "matchKey",
        "matchesKey",
        "ordering",
        "ascending",
        "outer",
        "primaryKey",
        "secondaryKey",
        "measureKey",
    )
    return Join(name, {key: a.get(key) for key in known})


def _apply(a: Args) -> Collection:
    join, condition = a["join"], as_filter(a["condition"], a)
    if not isinstance(join, Join):
        raise a.wrong("join", "Join", join)
    primary, others = collection_of(a, "primary"), collection_of(a, "secondary").elements
    kept: list[Any] = []
    for each in primary:
        matches = [other for other in others if condition.test(each, other)]
        order = join.options.get("ordering")
        if order:
            ascending = join.options.get("ascending") is not False
            matches.sort(key=lambda match: property_of(match, order), reverse=not ascending)
        if (join.name == "simple" and matches) or (join.name == "inverted" and not matches):
            kept.append(each)
        elif join.name in ("saveFirst", "saveBest", "saveAll") and (matches or join.options.get("outer")):
            if join.name == "saveAll":
                saved: dict[str, Any] = {join.options["matchesKey"]: matches}
            else:
                saved = {join.options["matchKey"]: matches[0]} if matches else {}
            kept.append(with_properties(each, {**_properties(each), **saved}))
        elif join.name == "inner":
            names = (
                join.options.get("primaryKey") or "primary",
                join.options.get("secondaryKey") or "secondary",
            )
            kept += [Feature(None, {names[0]: each, names[1]: match}) for match in matches]
    return primary.of(kept)


def matching(collection: Collection, name: str, value: Any) -> Any:
    """The first element whose property has a value; None where there is none."""
    wanted = Filter(lambda left, right: property_of(left, name) == value, equal=(name, value))
    return next(iter(collection.with_step(Step(filter=wanted))), None)


_AGGREGATES = (
    "array",
    "first",
    "count",
    "count_distinct",
    "histogram",
    "min",
    "max",
    "sum",
    "mean",
    "total_sd",
)

FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    "Element.get": lambda a: property_of(_element(a, "object"), a.text("property")),
    "Element.getNumber": lambda a: property_of(_element(a, "object"), a.text("property")),
    "Element.getString": lambda a: property_of(_element(a, "object"), a.text("property")),
    "Element.set": _set,
    "Element.setMulti": _set_multi,
    "Element.propertyNames": _names,
    "Element.toDictionary": _to_dictionary,
    "Element.copyProperties": _copy,
    "Image.copyProperties": _copy,
    "Element.geometry": _geometry,
    "Feature.geometry": _geometry,
    "Image.geometry": _geometry,
    "Feature": _feature,
    "Feature.id": lambda a: getattr(a["element"], "id", None),
    "Collection": _features,
    "Collection.filter": _filter,
    "Collection.map": _map,
    "Collection.limit": _limit,
    "Collection.first": _first,
    "Collection.size": lambda a: len(collection_of(a).elements),
    "Collection.toList": _to_list,
    "Collection.merge": _merge,
    "ImageCollection.merge": _merge,
    "Collection.distinct": _distinct,
    "Collection.flatten": _flatten,
    "Collection.iterate": _iterate,
    "Collection.geometry": _union_geometry,
    "Collection.reduceColumns": _reduce_columns,
    **{f"AggregateFeatureCollection.{name}": partial(_aggregate, name) for name in _AGGREGATES},
    **{
        f"Join.{name}": partial(_join, name)
        for name in ("saveFirst", "saveBest", "saveAll", "inner", "simple", "inverted")
    },
    "Join.apply": _apply,
}
