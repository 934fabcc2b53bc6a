"""When schedules are due: both changes of daylight saving, leap days, jitter."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.schedule.when import Schedule, crowded, several_a_day

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_S = 3600


def moment(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> float:
    """A local time as seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def local(schedule: Schedule, after: str, number: int) -> list[str]:
    """The next ticks as the schedule's clocks show them."""
    return [f"{schedule.local(tick):%m-%d %H:%M %Z}" for tick in islice(schedule.after(moment(after)), number)]


def jittery(cron: str, jitter: str) -> Schedule:
    """A schedule as a spec writes it."""
    return Schedule.model_validate({"cron": cron, "jitter": jitter})


def test_what_falls_into_the_hour_that_is_left_out_is_due_right_after_it() -> None:
    """At 03:00 of the spring day, and at its own time again on the next."""
    nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert local(nightly, "2026-03-28T00:00", 3) == ["03-28 02:30 CET", "03-29 03:00 CEST", "03-30 02:30 CEST"]


def test_what_falls_into_the_hour_that_comes_twice_is_due_once() -> None:
    """The first time."""
    nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert local(nightly, "2026-10-24T12:00", 2) == ["10-25 02:30 CEST", "10-26 02:30 CET"]


def test_what_is_due_every_so_often_goes_on_in_real_time() -> None:
    """The hour that comes twice has its ticks twice, half an hour apart."""
    often = Schedule(cron="*/30 * * * *", timezone="Europe/Berlin")
    ticks = list(islice(often.after(moment("2026-10-25T01:00")), 8))
    assert {later - earlier for earlier, later in pairwise(ticks)} == {HOUR_S // 2}


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 2 * * *", "15 1 * * *", "0 3 * * *"])
def test_a_nightly_job_is_due_once_on_each_day_of_a_leap_year(cron: str, timezone: str) -> None:
    """366 ticks on 366 local days."""
    nightly = Schedule(cron=cron, timezone=timezone)
    begin, end = (moment(f"{year}-01-01T00:00", ZoneInfo(timezone)) for year in (2028, 2029))
    ticks = list(takewhile(lambda tick: tick < end, nightly.after(begin - 1)))
    assert len(ticks) == len({nightly.local(tick).date() for tick in ticks}) == 366


def test_a_leap_day_comes_every_four_years() -> None:
    """And nothing in between."""
    rare = Schedule(cron="0 0 29 2 *")
    assert [datetime.fromtimestamp(tick, UTC).year for tick in islice(rare.after(moment("2026-01-01T00:00")), 2)] == [
        2028,
        2032,
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "*/20 * * * *", "15 0-5 * * *", "0 3 * * 0", "59 1,2,3 * * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"]),
    st.sampled_from(["2026-03-29", "2026-10-25", "2026-11-01", "2026-03-08", "2026-04-05", "2026-09-06"]),
    st.integers(-12 * HOUR_S, 36 * HOUR_S),
)
def test_ticks_do_not_depend_on_where_one_begins(cron: str, timezone: str, day: str, begin: int) -> None:
    """Whoever is restarted in the hour that comes twice sees the same ticks as whoever was there all the time."""
    schedule = Schedule(cron=cron, timezone=timezone)
    first, last = moment(day + "T00:00") - 24 * HOUR_S, moment(day + "T00:00") + 72 * HOUR_S
    whole = list(takewhile(lambda tick: tick < last, schedule.after(first)))
    since = moment(day + "T00:00") + begin
    assert list(takewhile(lambda tick: tick < last, schedule.after(since))) == [tick for tick in whole if tick > since]
    assert all(earlier < later for earlier, later in pairwise(whole))


def test_jitter_is_always_the_same_for_the_same_tick() -> None:
    """Within its bounds, and spread over them by ticks and names."""
    schedule = jittery("0 * * * *", "10m")
    late = [schedule.start("nightly", tick) - tick for tick in range(0, 1000 * HOUR_S, HOUR_S)]
    assert late == [schedule.start("nightly", tick) - tick for tick in range(0, 1000 * HOUR_S, HOUR_S)]
    assert 0 <= min(late) < 60
    assert 540 < max(late) < 600
    assert schedule.start("another", 0) != schedule.start("nightly", 0)


def test_jitter_must_leave_ticks_in_their_order() -> None:
    """One as long as what lies between two ticks is told."""
    assert crowded(jittery("*/10 * * * *", "10m"), 0)
    assert not crowded(jittery("*/10 * * * *", "9m"), 0)
    assert crowded(jittery("0,5 3 * * *", "6m"), 0)


def test_several_ticks_on_a_day_are_seen() -> None:
    """Of UTC, as in the names of exports."""
    assert several_a_day(Schedule(cron="0 2,14 * * *"), 0)
    assert not several_a_day(Schedule(cron="0 2 * * *"), 0)
    assert not several_a_day(Schedule(cron="0 0 * * 0"), 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cron", "30 2 * *"),
        ("cron", "0 30 2 * * *"),
        ("cron", "@daily"),
        ("cron", "60 2 * * *"),
        ("cron", "0 0 30 2 *"),
        ("cron", ""),
        ("timezone", "Europe/Berlon"),
        ("timezone", "../etc/passwd"),
        ("timezone", ""),
        ("overlap", "queu"),
        ("catch_up", "twice"),
        ("deadline", "0s"),
        ("jitter", "-5m"),
        ("catch_up_window", 600),
    ],
)
def test_what_makes_no_schedule_is_refused(field: str, value: object) -> None:
    """Each field by itself."""
    with pytest.raises(ValidationError) as refused:
        Schedule.model_validate({"cron": "30 2 * * *", field: value})
    assert {error["loc"] for error in refused.value.errors()} == {(field,)}
