"""The windows of the seasons: the published dates, any list, and what is refused."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdata.seasons import check, period, seasons_of, windows
from rsdata.sources.seco import SSL4EO, SeCo
from shards.errors import ConfigError


@pytest.mark.parametrize(
    ("hour", "expected"), [(3, ("2021-03-12", "2021-03-27")), (15, ("2021-03-13", "2021-03-28"))]
)
def test_the_time_of_day_moves_a_window_of_whole_days(hour: int, expected: tuple[str, str]) -> None:
    assert period(datetime(2021, 3, 20, hour), 15) == expected
    assert windows(seasons_of(["0w"], f"2021-03-20T{hour:02d}:00"), days=15) == [expected]


def test_the_five_windows_of_seco_move_together_and_never_touch() -> None:
    source = SeCo.build()
    assert [f"{day:%Y-%m-%d}" for day in source.middles()] == [
        "2021-03-20", "2020-12-26", "2020-10-03", "2020-07-11", "2020-04-18",
    ]  # fmt: skip
    still, moved = (windows(source.middles(), days=15, shift_days=shift) for shift in (0, 100))
    assert still[0] == ("2021-03-12", "2021-03-27") and moved[0] == ("2020-12-02", "2020-12-17")
    ends = [date.fromisoformat(end) for _, end in still]
    assert all(end < date.fromisoformat(start) for end, (start, _) in zip(ends[1:], still, strict=False))


def test_the_four_windows_of_ssl4eo_have_thirty_days() -> None:
    source = SSL4EO.build()
    spans = windows(source.middles(), days=source.window_days)
    assert spans[0] == ("2021-09-07", "2021-10-07") and spans[-1] == ("2020-12-06", "2021-01-05")
    assert (source.cloud_percent, source.min_distance_km, source.sensor) == (20.0, 1.98, "s2-l1c")


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)), st.integers(1, 366), st.integers(0, 3660))
def test_a_window_has_its_days_whatever_the_hour(middle: datetime, days: int, shift: int) -> None:
    ((start, end),) = windows([middle], days=days, shift_days=shift)
    assert (date.fromisoformat(end) - date.fromisoformat(start)).days == days


def test_days_of_the_year_are_the_last_ones_up_to_the_reference() -> None:
    found = seasons_of(["12-21", "03-20", "06-21", "02-29"], "2021-03-20")
    assert [f"{day:%Y-%m-%d}" for day in found] == ["2021-03-20", "2020-12-21", "2020-06-21", "2020-02-29"]
    assert f"{seasons_of(['02-29'], '2004-02-28T12:00')[0]:%Y-%m-%d}" == "2000-02-29"


@pytest.mark.parametrize(
    ("seasons", "reference", "message"),
    [
        ([], "2021-03-20", "none is given"),
        (["spring"], "2021-03-20", "'spring' cannot be read; give a date"),
        (["13-01"], "2021-03-20", "'13-01' is no day of the year"),
        (["2021-02-30"], "2021-03-20", "cannot be read"),
        (["0w"], "yesterday", "--reference: 'yesterday' cannot be read"),
        (["0w", "2021-03-20"], "2021-03-20", "two of them are 2021-03-20"),
        (["0001-01-01"], "2021-03-20", "before the first scene of any sensor"),
    ],
)
def test_what_is_no_season_is_refused(seasons: list[str], reference: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        seasons_of(seasons, reference)


def test_windows_that_share_days_are_refused_with_both_dates() -> None:
    with pytest.raises(ConfigError, match=r"20 days round 2021-03-20 and 2021-03-06 share days"):
        check(seasons_of(["0w", "2w"], "2021-03-20"), days=20, shift_days=0)
    check(seasons_of(["0w", "2w"], "2021-03-20"), days=14, shift_days=0)
    with pytest.raises(ConfigError, match="before the first scene"):
        SeCo.build(reference="1983-01-01")
