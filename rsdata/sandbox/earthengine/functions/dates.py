"""Dates, always UTC."""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from rsdata.sandbox.earthengine.values import Args, Date, DateRange, RequestError

_MS = {
    "second": 1000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 604_800_000,
}
_YEAR_MS = 365.2425 * 86_400_000


def date_of(value: Any) -> Date:
    """A date of milliseconds, ISO text or a date.

    Raises:
        RequestError: it is not one.
    """
    if isinstance(value, Date):
        return value
    if isinstance(value, dict) and value.get("type") == "Date":
        value = value.get("value")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Date(int(value))
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            raise RequestError(f"Date: Cannot parse '{value}'. Invalid format.") from None
        return _date(when if when.tzinfo else when.replace(tzinfo=UTC))
    raise RequestError(f"Date: Invalid type. Expected type: Date. Actual type: {type(value).__name__}.")


def millis(value: Any) -> int:
    """Milliseconds since 1970 of what may be a date."""
    return date_of(value).ms


def _date(when: datetime) -> Date:
    return Date((when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))


def _unit(a: Args, name: str = "unit") -> str:
    unit = a.text(name).rstrip("s")
    if unit not in (*_MS, "month", "year"):
        raise RequestError(f"{a.function}: Invalid unit '{a[name]}'.")
    return unit


def _later(date: Date, amount: float, unit: str) -> Date:
    if unit in _MS:
        return Date(date.ms + round(amount * _MS[unit]))
    months = int(amount * (12 if unit == "year" else 1))
    when = date.utc
    year, month = divmod(when.year * 12 + when.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise RequestError("Date.advance: the date leaves the calendar.")
    day = min(when.day, calendar.monthrange(year, month + 1)[1])
    return _date(when.replace(year=year, month=month + 1, day=day))


def _advance(a: Args) -> Date:
    return _later(date_of(a["date"]), a.number("delta"), _unit(a))


def _difference(a: Args) -> float:
    unit = _unit(a)
    size = _MS.get(unit, _YEAR_MS if unit == "year" else _YEAR_MS / 12)
    return (date_of(a["date"]).ms - date_of(a["start"]).ms) / size


def _format(a: Args) -> str:
    date = date_of(a["date"])
    pattern = a.get("format")
    when = date.utc
    if pattern is None:
        return f"{when:%Y-%m-%dT%H:%M:%S}"
    parts = {
        "YYYY": "%Y",
        "yyyy": "%Y",
        "MM": "%m",
        "dd": "%d",
        "DDD": "%j",
        "HH": "%H",
        "mm": "%M",
        "ss": "%S",
    }
    out = pattern.replace("'", "")
    for name, code in parts.items():
        out = out.replace(name, when.strftime(code))
    return str(out)


def _get(a: Args) -> int:
    when, unit = date_of(a["date"]).utc, _unit(a)
    return int(when.isocalendar().week if unit == "week" else getattr(when, unit))


def _get_relative(a: Args) -> int:
    when, unit, inside = date_of(a["date"]).utc, _unit(a), _unit(a, "inUnit")
    if (unit, inside) == ("day", "year"):
        return when.timetuple().tm_yday - 1
    if (unit, inside) == ("month", "year"):
        return when.month - 1
    if (unit, inside) == ("day", "month"):
        return when.day - 1
    raise RequestError(f"Date.getRelative: {unit} in {inside} is not served.")


def _from_ymd(a: Args) -> Date:
    return _date(datetime(a.integer("year"), a.integer("month"), a.integer("day"), tzinfo=UTC))


def _range(a: Args) -> DateRange:
    unit, when = _unit(a), date_of(a["date"]).utc
    start = when.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit in ("month", "year"):
        start = start.replace(day=1)
    if unit == "year":
        start = start.replace(month=1)
    first = _date(start)
    return DateRange(first.ms, _later(first, 1, unit).ms)


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    "Date": lambda a: date_of(a["value"]),
    "Date.advance": _advance,
    "Date.difference": _difference,
    "Date.format": _format,
    "Date.get": _get,
    "Date.getRelative": _get_relative,
    "Date.fromYMD": _from_ymd,
    "Date.millis": lambda a: millis(a["date"]),
    "Date.getRange": _range,
}
