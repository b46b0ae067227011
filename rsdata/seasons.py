"""When a place is looked at: a window of days for each season, decided before anything is fetched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise

from shards.errors import ConfigError

_WEEKS = re.compile(r"(\d{1,3})w")
_DAY = re.compile(r"(\d\d)-(\d\d)")
_EARLIEST = datetime(1982, 1, 1)  # before the first scene of any sensor here
_HOW = "give a date (2021-03-20), a day of the year (03-20) or weeks before --reference (12w)"

Window = tuple[str, str]
"""First day and the day after the last one, ISO 8601."""


def seasons_of(seasons: Sequence[str], reference: str) -> list[datetime]:
    """The middle of each season, newest first.

    Args:
        seasons: dates, days of the year (the last such day up to the reference), or weeks before the reference (`12w`).
        reference: date, or date and time of day; weeks count from it.

    Raises:
        ConfigError: no season, one that cannot be read, or two that are the same.
    """
    newest = _date("--reference", reference)
    if not seasons:
        raise ConfigError(f"--seasons: none is given; {_HOW}")
    middles = sorted((_middle(season, newest) for season in seasons), reverse=True)
    for a, b in pairwise(middles):
        if a == b:
            raise ConfigError(f"--seasons: two of them are {a:%Y-%m-%d}; leave one out")
    return middles


def windows(middles: Sequence[datetime], *, days: int, shift_days: int = 0) -> list[Window]:
    """The window of each season, all moved back by the same number of days."""
    return [period(middle - timedelta(days=shift_days), days) for middle in middles]


def check(middles: Sequence[datetime], *, days: int, shift_days: int) -> None:
    """Refuse windows that share days, and those before all imagery.

    Raises:
        ConfigError: names the two dates, or the date.
    """
    for newer, older in pairwise(middles):
        if period(older, days)[1] > period(newer, days)[0]:
            raise ConfigError(
                f"--seasons: the windows of {days} days round {newer:%Y-%m-%d} and {older:%Y-%m-%d} share days, so one "
                "scene could be two seasons; choose a smaller --window-days or other seasons"
            )
    first = middles[-1] - timedelta(days=shift_days + days)
    if first < _EARLIEST:
        raise ConfigError(
            f"--seasons: {first:%Y-%m-%d} is before the first scene of any sensor; choose later dates"
        )


def period(middle: datetime, days: int) -> Window:
    """Half the days before the middle, half after, cut to dates.

    An odd number of days is always that many, but not the same ones before and after noon (as SeCo's `get_period`).
    """
    half = timedelta(days=days / 2)
    return (middle - half).date().isoformat(), (middle + half).date().isoformat()


def _middle(season: str, newest: datetime) -> datetime:
    if weeks := _WEEKS.fullmatch(season):
        return newest - timedelta(weeks=int(weeks[1]))
    if day := _DAY.fullmatch(season):
        return _last(int(day[1]), int(day[2]), newest, season)
    return _date("--seasons", season)


def _last(month: int, day: int, newest: datetime, season: str) -> datetime:
    """The last such day up to the reference; 29 February may be eight years back."""
    for year in range(newest.year, newest.year - 9, -1):
        try:
            found = date(year, month, day)
        except ValueError:
            continue
        if found <= newest.date():
            return datetime(found.year, found.month, found.day)
    raise ConfigError(f"--seasons: {season!r} is no day of the year; {_HOW}")


def _date(option: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        raise ConfigError(f"{option}: {text!r} cannot be read; {_HOW}") from None
    if found < _EARLIEST:
        raise ConfigError(f"{option}: {text} is before the first scene of any sensor; choose a later date")
    return found
