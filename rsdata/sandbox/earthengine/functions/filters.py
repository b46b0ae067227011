"""Filters and date ranges: tests of elements, with what they tell a catalogue about place and time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import shapely

from rsdata.sandbox.earthengine.functions.dates import date_of, millis
from rsdata.sandbox.earthengine.functions.geometry import beside, circle, distance_m, meets
from rsdata.sandbox.earthengine.values import Args, Date, DateRange, Feature, Filter, RequestError

EVER = (float("-inf"), float("inf"))
_NONE = object()


def value_of(element: Any, field: str) -> Any:
    """A property of an element, its geometry for `.geo` and `.all`; None where there is none."""
    if field in (".all", ".geo"):
        return getattr(element, "geometry", None)
    if isinstance(element, dict):
        return element.get(field)
    properties = getattr(element, "properties", None)
    return None if properties is None else properties.get(field)


def _sides(a: Args) -> Callable[[Any, Any], tuple[Any, Any]]:
    """How to get the left and the right value from a left and a right element."""
    fields = [a.get(name) for name in ("leftField", "rightField")]
    values = [a.get(name, _NONE) for name in ("leftValue", "rightValue")]
    for field, value in zip(fields, values, strict=True):
        if field is None and value is _NONE:
            raise RequestError(f"{a.function}: needs a field or a value on each side.")

    def sides(left: Any, right: Any) -> tuple[Any, Any]:
        other = left if right is None else right
        return (
            value_of(left, fields[0]) if fields[0] is not None else values[0],
            value_of(other, fields[1]) if fields[1] is not None else values[1],
        )

    return sides


def _comparable(value: Any) -> Any:
    return value.ms if isinstance(value, Date) else value


def _less(left: Any, right: Any) -> bool:
    left, right = _comparable(left), _comparable(right)
    if isinstance(left, str) != isinstance(right, str):
        return False
    return bool(left < right)


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda left, right: bool(_comparable(left) == _comparable(right)),
    "lessThan": _less,
    "greaterThan": lambda left, right: _less(right, left),
    "lessThanOrEquals": lambda left, right: not _less(right, left),
    "greaterThanOrEquals": lambda left, right: not _less(left, right),
    "notEquals": lambda left, right: bool(_comparable(left) != _comparable(right)),
    "listContains": lambda left, right: right in left,
    "inList": lambda left, right: left in right,
    "stringContains": lambda left, right: right in left,
    "stringStartsWith": lambda left, right: left.startswith(right),
    "stringEndsWith": lambda left, right: left.endswith(right),
}


def _compare(name: str, a: Args) -> Filter:
    sides, test = _sides(a), _TESTS[name]

    def holds(left: Any, right: Any) -> bool:
        one, two = sides(left, right)
        return one is not None and two is not None and test(one, two)

    equal = None
    if name == "equals" and a.get("leftField") and a.get("rightValue") is not None:
        equal = (a["leftField"], a["rightValue"])
    return Filter(holds, equal=equal)


def _within(a: Args, test: Callable[[Any, Any], bool], *, prunes: bool) -> Filter:
    """Geometries: .all of the element against a value."""
    sides = _sides(a)

    def holds(left: Any, right: Any) -> bool:
        one, two = (_geometry(value) for value in sides(left, right))
        return one is not None and two is not None and test(one, beside(two, one))

    fixed = [_geometry(a.get(name)) for name in ("rightValue", "leftValue") if a.get(name) is not None]
    return Filter(holds, region=fixed[0] if prunes and fixed else None)


def _geometry(value: Any) -> shapely.Geometry | None:
    if isinstance(value, Feature):
        return value.geometry
    if isinstance(value, shapely.Geometry):
        return value
    return getattr(value, "geometry", None)


def _within_distance(a: Args) -> Filter:
    far = a.number("distance")
    near = _within(a, lambda left, right: distance_m(left, right) <= far, prunes=True)
    region = near.region
    if isinstance(region, shapely.Point):
        region = circle(region.x, region.y, far)
    return Filter(near.test, region=region)


def _date_range_contains(a: Args) -> Filter:
    sides = _sides(a)

    def holds(left: Any, right: Any) -> bool:
        span, when = sides(left, right)
        if not isinstance(span, DateRange) or when is None:
            return False
        return span.start <= millis(when) < span.end

    fixed = a.get("leftValue")
    known = isinstance(fixed, DateRange) and a.get("rightField") == "system:time_start"
    return Filter(holds, span=(fixed.start, fixed.end) if known else EVER)


def _calendar(name: str, low: int, high: int) -> Filter:
    def part(ms: int) -> int:
        when = Date(ms).utc
        return {
            "day_of_year": when.timetuple().tm_yday,
            "day_of_month": when.day,
            "month": when.month,
            "year": when.year,
            "hour": when.hour,
        }[name]

    def holds(left: Any, right: Any) -> bool:
        when = value_of(left, "system:time_start")
        if when is None:
            return False
        value = part(when)
        return low <= value <= high if low <= high else value >= low or value <= high

    return Filter(holds)


def _calendar_range(a: Args) -> Filter:
    name = a.get("field", "day_of_year")
    if name not in ("day_of_year", "day_of_month", "month", "year", "hour"):
        raise RequestError(f"Filter.calendarRange: field {name!r} is not known.")
    start = a.integer("start")
    return _calendar(name, start, a.integer("end", start))


def _range_contains(a: Args) -> Filter:
    field, low, high = a.text("field"), a["minValue"], a["maxValue"]

    def holds(left: Any, right: Any) -> bool:
        value = value_of(left, field)
        return value is not None and not _less(value, low) and not _less(high, value)

    return Filter(holds)


def _max_difference(a: Args) -> Filter:
    sides, most = _sides(a), a.number("difference")

    def holds(left: Any, right: Any) -> bool:
        one, two = sides(left, right)
        return one is not None and two is not None and abs(_comparable(one) - _comparable(two)) <= most

    return Filter(holds)


def _not_null(a: Args) -> Filter:
    names = a.items("properties")
    return Filter(lambda left, right: all(value_of(left, name) is not None for name in names))


def _parts(a: Args) -> list[Filter]:
    filters = a.items("filters")
    if not all(isinstance(each, Filter) for each in filters):
        raise a.wrong("filters", "List<Filter>", filters)
    return filters


def _and(a: Args) -> Filter:
    filters = _parts(a)
    regions = [each.region for each in filters if each.region is not None]
    span = (
        max((each.span[0] for each in filters), default=EVER[0]),
        min((each.span[1] for each in filters), default=EVER[1]),
    )
    return Filter(
        lambda left, right: all(each.test(left, right) for each in filters),
        min(regions, key=lambda each: each.area) if regions else None,
        span,
        next((each.equal for each in filters if each.equal), None),
    )


def _or(a: Args) -> Filter:
    filters = _parts(a)
    regions = [each.region for each in filters if each.region is not None]
    whole = filters and len(regions) == len(filters)
    return Filter(
        lambda left, right: any(each.test(left, right) for each in filters),
        shapely.unary_union(regions) if whole else None,
        (
            min((each.span[0] for each in filters), default=EVER[0]),
            max((each.span[1] for each in filters), default=EVER[1]),
        ),
    )


def _not(a: Args) -> Filter:
    inner = as_filter(a["filter"], a)
    return Filter(lambda left, right: not inner.test(left, right))


def as_filter(value: Any, a: Args) -> Filter:
    """A filter.

    Raises:
        RequestError: it is something else.
    """
    if not isinstance(value, Filter):
        raise a.wrong("filter", "Filter", value)
    return value


def _date_range(a: Args) -> DateRange:
    start = date_of(a["start"]).ms
    end = a.get("end")
    return DateRange(start, start + 1 if end is None else date_of(end).ms)


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    **{f"Filter.{name}": partial(_compare, name) for name in _TESTS},
    **{
        f"Filter.{short}": partial(_compare, name)
        for short, name in {
            "eq": "equals",
            "neq": "notEquals",
            "lt": "lessThan",
            "lte": "lessThanOrEquals",
            "gt": "greaterThan",
            "gte": "greaterThanOrEquals",
        }.items()
    },
    "Filter.and": _and,
    "Filter.or": _or,
    "Filter.not": _not,
    "Filter.always": lambda a: Filter(lambda left, right: True),
    "Filter.never": lambda a: Filter(lambda left, right: False),
    "Filter.notNull": _not_null,
    "Filter.rangeContains": _range_contains,
    "Filter.calendarRange": _calendar_range,
    "Filter.dayOfYear": lambda a: _calendar("day_of_year", a.integer("start"), a.integer("end") - 1),
    "Filter.maxDifference": _max_difference,
    "Filter.dateRangeContains": _date_range_contains,
    "Filter.intersects": lambda a: _within(a, meets, prunes=True),
    "Filter.contains": lambda a: _within(a, lambda left, right: bool(left.covers(right)), prunes=True),
    "Filter.isContained": lambda a: _within(a, lambda left, right: bool(right.covers(left)), prunes=True),
    "Filter.disjoint": lambda a: _within(a, lambda left, right: not meets(left, right), prunes=False),
    "Filter.withinDistance": _within_distance,
    "DateRange": _date_range,
    "DateRange.start": lambda a: Date(a["dateRange"].start),
    "DateRange.end": lambda a: Date(a["dateRange"].end),
}
