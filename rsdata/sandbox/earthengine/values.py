"""What expressions evaluate to, apart from plain JSON, shapely geometries (degrees) and images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import shapely

EARTH_RADIUS_M = 6_371_008.8


class RequestError(Exception):
    """A request that is refused with HTTP 400 and this message."""


@dataclass(frozen=True)
class Date:
    """An instant."""

    ms: int
    """Since 1970."""

    @property
    def utc(self) -> datetime:
        """As a datetime."""
        return datetime.fromtimestamp(self.ms / 1000, UTC)


@dataclass(frozen=True)
class DateRange:
    """From (inclusive) to (exclusive), milliseconds since 1970."""

    start: int
    end: int


@dataclass(frozen=True)
class Projection:
    """A CRS with the grid of its pixels."""

    crs: str
    transform: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    def scaled(self, metres: float) -> Projection:
        """The same with square pixels of a size on the ground."""
        a, _, c, _, e, f = self.transform
        size = metres / 111_319.49 if self.crs == "EPSG:4326" else metres
        return Projection(self.crs, (size if a > 0 else -size, 0.0, c, 0.0, size if e > 0 else -size, f))

    @property
    def metres(self) -> float:
        """Side of a pixel on the ground, about."""
        return abs(self.transform[0]) * (111_319.49 if self.crs == "EPSG:4326" else 1)


@dataclass
class Feature:
    """Geometry and properties."""

    geometry: shapely.Geometry | None
    properties: dict[str, Any]
    id: str | None = None


@dataclass(frozen=True)
class Filter:
    """A test of one element (or of two, in a join), with what it tells about place and time."""

    test: Callable[[Any, Any], bool]
    """Of the left and the right element; a filter of a collection has no right one."""
    region: shapely.Geometry | None = None
    """No element passes that does not meet this; None: not known."""
    span: tuple[float, float] = (float("-inf"), float("inf"))
    """No element passes that does not start in here, milliseconds, end exclusive."""
    equal: tuple[str, Any] | None = None
    """No element passes whose property is not this value."""


@dataclass(frozen=True)
class Reducer:
    """A name with options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Join:
    """A name with options."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class PixelType:
    """Of a band."""

    precision: str
    """int, float, double."""
    least: float | None = None
    most: float | None = None


class Args:
    """The arguments of one call, evaluated, by the service's names."""

    def __init__(self, function: str, values: Mapping[str, Any]) -> None:
        self.function = function
        self._values = values

    def __getitem__(self, name: str) -> Any:
        """A required one; JSON's null counts as missing."""
        value = self._values.get(name)
        if value is None:
            raise RequestError(f"{self.function}: Parameter '{name}' is required and may not be null.")
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """An optional one."""
        value = self._values.get(name)
        return default if value is None else value

    def given(self, name: str) -> bool:
        """Whether it is there, even as null."""
        return name in self._values

    def number(self, name: str, default: float | None = None) -> float:
        """A number."""
        value = self.get(name, default)
        if value is None:
            value = self[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "Number", value)
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        value = self.number(name, default)
        if value != value or abs(value) > 2**53:
            raise self.wrong(name, "Integer", value)
        return int(value)

    def text(self, name: str) -> str:
        """A string."""
        value = self[name]
        if not isinstance(value, str):
            raise self.wrong(name, "String", value)
        return value

    def items(self, name: str) -> list[Any]:
        """A list."""
        value = self[name]
        if isinstance(value, Iterable) and not isinstance(value, str | dict):
            return list(value)
        raise self.wrong(name, "List", value)

    def record(self, name: str) -> dict[str, Any]:
        """A dictionary."""
        value = self[name]
        if not isinstance(value, dict):
            raise self.wrong(name, "Dictionary", value)
        return value

    def geometry(self, name: str) -> shapely.Geometry:
        """A geometry, or that of a feature."""
        value = self[name]
        if isinstance(value, shapely.Geometry):
            return value
        found = getattr(value, "geometry", None)
        if isinstance(found, shapely.Geometry):
            return found
        raise self.wrong(name, "Geometry", value)

    def wrong(self, name: str, expected: str, value: Any) -> RequestError:
        """An argument of the wrong type."""
        return RequestError(
            f"{self.function}, argument '{name}': Invalid type. Expected type: {expected}. "
            f"Actual type: {type(value).__name__}."
        )
