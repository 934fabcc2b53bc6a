"""What a timer must cover: every tick of a schedule is met by the fields that are generated, whatever the clocks do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.schedule.cover import (
    EVERY_DAY,
    HOURS,
    Cover,
    Days,
    in_own_zone,
    in_utc,
    is_even,
    merged,
    minutes_of_hour,
    second_time,
)
from engine.schedule.when import Schedule
from jobs.units.times import calendar_lines, cron_line, hull, rectangles, spaced
from tests.kubernetes_cron import KubernetesCron

NOW = datetime(2026, 11, 28, 10, 47, 13, tzinfo=UTC).timestamp()
DAY_S, DAYS = 86_400, 400
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # changes by 30 minutes
    "Asia/Kathmandu",  # 5:45
    "Asia/Kolkata",
    "Pacific/Apia",
    "Pacific/Chatham",  # changes at 2:45
    "Africa/Cairo",  # changes at midnight
    "America/Nuuk",  # changes before midnight
    "America/Havana",
    "America/Santiago",
    "America/St_Johns",
    "Africa/Casablanca",  # four changes a year with the moon
    "Antarctica/Troll",  # changes by two hours
    "Atlantic/Azores",
    "Pacific/Kiritimati",
]
MINUTE = ["0", "30", "59", "*/15", "*", "7,8", "10-50/20", "5/25"]
HOUR = ["0", "1", "2", "3", "23", "*", "*/6", "0-4", "22,23", "2,14"]
DATE = ["*", "1", "29", "31", "L", "LW", "*/2", "5,*", "1-7", "1-31", "25-31"]
MONTH = ["*", "3", "MAR-APR", "*/3", "10,11"]
WEEKDAY = ["*", "0", "7", "5-7", "MON-FRI", "5L", "0#2", "*/2", "6"]
CRONS = st.tuples(*map(st.sampled_from, (MINUTE, HOUR, DATE, MONTH, WEEKDAY))).map(" ".join)
HOSTILE = [
    ("30 2 * * *", "Europe/Berlin"),
    ("15 2 * * *", "Australia/Lord_Howe"),
    ("30 23 * * 6", "America/Nuuk"),  # on the spring day due on Sunday
    ("30 0 * * 5", "Africa/Cairo"),
    ("*/15 0 * * 5", "Africa/Cairo"),  # that day has no midnight
    ("*/15 1 * * 0", "Australia/Lord_Howe"),
    ("0 3 * * *", "Australia/Lord_Howe"),  # Kubernetes would pass over it
    ("0 3 * * 5", "Africa/Cairo"),
    ("0 0 13 * 5", "UTC"),
    ("15 4 5,* * 1", "UTC"),  # by Debian's rule: every day
]


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Any schedule that a spec may have."""
    with reject_impossible():
        return Schedule(cron=draw(CRONS), timezone=draw(st.sampled_from(ZONES)))


@contextmanager
def reject_impossible() -> Iterator[None]:
    """31 June is refused in a spec."""
    try:
        yield
    except ValidationError:
        reject()


def changes(zone: str) -> list[float]:
    """The days, in seconds since the epoch, in which the clocks change."""
    days = [NOW + number * DAY_S for number in range(DAYS)]
    offsets = [datetime.fromtimestamp(day, ZoneInfo(zone)).utcoffset() for day in [*days, NOW + DAYS * DAY_S]]
    return [day for day, before, after in zip(days, offsets, offsets[1:], strict=False) if before != after]


def ticks(schedule: Schedule) -> Iterator[int]:
    """Ticks of 400 days: the first thousand, and around each change of clocks some hundred more."""
    end = NOW + DAYS * DAY_S
    for begin, most in [(NOW, 400), *((change - 3600, 100) for change in changes(schedule.timezone))]:
        yield from takewhile(lambda tick: tick < end, islice(schedule.after(begin), most))


def covers(cover: Cover, tick: int) -> bool:
    """Whether a timer that is as the cover says fires at a tick."""
    local, days = datetime.fromtimestamp(tick, ZoneInfo(cover.zone)), cover.days
    date, weekday = local.day in days.dates, local.isoweekday() % 7 in days.weekdays
    day = (date or weekday) if days.either else (date and weekday)
    return (local.hour, local.minute) in cover.times and day and local.month in days.months


def lines(cover: Cover) -> list[str]:
    """The cover as cron lines."""
    return [cron_line(rectangle, cover.days) for rectangle in rectangles(cover.times)]


def missed(cron: list[str], zone: str, schedule: Schedule, within: int = 1) -> list[int]:
    """Ticks at which none of the lines starts something, nor so many minutes after it."""
    read = [CronSim(line, datetime.fromtimestamp(NOW, ZoneInfo(zone))) for line in cron]

    def starts(moment: float) -> bool:
        local = datetime.fromtimestamp(moment, ZoneInfo(zone))
        return any(
            local.minute in each.minutes
            and local.hour in each.hours
            and local.month in each.months
            and each.match_day(local.date())
            for each in read
        )

    return [tick for tick in ticks(schedule) if not any(starts(tick + 60 * late) for late in range(within))]


@given(schedules())
@settings(max_examples=150, deadline=None)
def test_every_tick_is_covered_in_the_schedules_own_zone(schedule: Schedule) -> None:
    """Ticks that a change of clocks moves are among them."""
    cover = in_own_zone(schedule, NOW)
    assert [tick for tick in ticks(schedule) if not covers(cover, tick)] == []


@given(schedules())
@settings(max_examples=150, deadline=None)
def test_every_tick_is_covered_in_utc(schedule: Schedule) -> None:
    """By cron lines that cronsim reads, and by the fields themselves."""
    cover = in_utc(schedule, NOW)
    assert [tick for tick in ticks(schedule) if not covers(cover, tick)] == []
    assert missed(lines(cover), "UTC", schedule) == []


@given(schedules())
@settings(max_examples=60, deadline=None)
def test_what_is_spaced_starts_within_five_minutes_of_every_tick(schedule: Schedule) -> None:
    """GitHub starts nothing more often."""
    assert missed(lines(spaced(in_utc(schedule, NOW), 5)), "UTC", schedule, within=5) == []


@given(schedules(), st.sampled_from(["Europe/London", "America/Los_Angeles", "Asia/Tokyo", None]))
@settings(max_examples=100, deadline=None)
def test_every_tick_is_covered_by_the_minutes_of_an_hour(schedule: Schedule, machine: str | None) -> None:
    """In whichever zone of whole hours the machine is, or in the schedule's own."""
    cron = [cron_line((HOURS, minutes_of_hour(schedule, NOW)), EVERY_DAY)]
    assert missed(cron, machine or schedule.timezone, schedule) == []


@pytest.mark.parametrize("machine", ["Asia/Kathmandu", "Asia/Kolkata", "Europe/Berlin", "Pacific/Chatham"])
@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_zones_of_half_and_quarter_hours_are_covered_wherever_the_machine_is(zone: str, machine: str) -> None:
    """A spec for Kathmandu may be installed in Kolkata."""
    schedule = Schedule(cron="20 2 * * *", timezone=zone)
    assert missed([cron_line((HOURS, minutes_of_hour(schedule, NOW)), EVERY_DAY)], machine, schedule) == []


def test_a_machine_of_half_hours_is_covered_when_it_is_said() -> None:
    """Of itself, a schedule of whole hours does not tell."""
    schedule = Schedule(cron="20 2 * * *")
    cron = [cron_line((HOURS, minutes_of_hour(schedule, NOW, whole_hours=False)), EVERY_DAY)]
    assert missed(cron, "Asia/Kolkata", schedule) == []


@given(schedules())
@settings(max_examples=60, deadline=None)
def test_every_tick_is_covered_by_what_kubernetes_makes_of_it(schedule: Schedule) -> None:
    """It goes from start to start; so does this, from days before each change of clocks to the day after."""
    assert missed_by_kubernetes(schedule) == set()


def missed_by_kubernetes(schedule: Schedule) -> set[int]:
    """Ticks around changes of clocks at which it would start nothing."""
    cover = in_own_zone(schedule, NOW) if is_even(schedule, NOW) else in_utc(schedule, NOW)
    rectangle = hull(cover.times)
    cron = KubernetesCron(cron_line(rectangle, cover.days), cover.zone)
    days_before = 8 if len(rectangle[0]) * len(rectangle[1]) < 24 else 1
    found = set[int]()
    for change in changes(schedule.timezone) or [NOW]:
        moment, end = int(change) - days_before * DAY_S, int(change) + 2 * DAY_S
        wanted = set(takewhile(end.__gt__, schedule.after(moment)))
        met = set[int]()
        while wanted and moment < max(wanted):
            moment = cron.after(moment)
            met.add(moment)
        found |= wanted - met
    return found


@pytest.mark.parametrize(("cron", "zone"), HOSTILE)
def test_known_traps_are_covered_in_every_way(cron: str, zone: str) -> None:
    """Each of these was, or could be, missed by a simpler way."""
    schedule = Schedule(cron=cron, timezone=zone)
    own, utc = in_own_zone(schedule, NOW), in_utc(schedule, NOW)
    assert [tick for tick in ticks(schedule) if not covers(own, tick) or not covers(utc, tick)] == []
    assert missed_by_kubernetes(schedule) == set()


def test_a_simple_schedule_has_simple_fields() -> None:
    """Nothing is widened without need."""
    nightly = Schedule(cron="30 2 * * MON-FRI", timezone="UTC")
    assert lines(in_own_zone(nightly, NOW)) == lines(in_utc(nightly, NOW)) == ["30 2 * * 1-5"]
    assert list(calendar_lines(in_own_zone(nightly, NOW))) == ["Mon,Tue,Wed,Thu,Fri *-*-* 02:30:00 UTC"]
    assert minutes_of_hour(nightly, NOW) == {30}


def test_what_a_change_of_clocks_moves_has_a_time_of_its_own() -> None:
    """02:30 is due at 03:00 on the spring day; the days stay."""
    cover = in_own_zone(Schedule(cron="30 2 * * 0", timezone="Europe/Berlin"), NOW)
    assert lines(cover) == ["0 3 * * 0", "30 2 * * 0"]
    assert cron_line(hull(cover.times), cover.days) == "0,30 2,3 * * 0"


def test_a_tick_that_is_moved_to_the_next_day_widens_the_days() -> None:
    """In Nuuk the clocks go from 23:00 on Saturday to 00:00 on Sunday."""
    cover = in_own_zone(Schedule(cron="30 23 * * 6", timezone="America/Nuuk"), NOW)
    assert cover == Cover(frozenset({(23, 30), (0, 0)}), EVERY_DAY, "America/Nuuk")


def test_changes_on_dates_of_other_years_count() -> None:
    """On 26 March clocks change in 2028, not within 400 days; and 29 February is not within them."""
    assert (3, 0) in in_own_zone(Schedule(cron="30 2 26 3 *", timezone="Europe/Berlin"), NOW).times
    assert in_own_zone(Schedule(cron="0 5 29 2 *"), NOW).times == {(5, 0)}


def test_an_hour_that_comes_twice_is_covered_the_second_time() -> None:
    """For what goes on through it; a fixed time is due once."""
    again = second_time(Schedule(cron="*/30 2 * * *", timezone="Europe/Berlin"), NOW)
    assert again == Cover(frozenset({(1, 0), (1, 30)}), EVERY_DAY, "UTC")
    assert second_time(Schedule(cron="30 2 * * *", timezone="Europe/Berlin"), NOW) is None
    assert second_time(Schedule(cron="*/30 2 * * *", timezone="Asia/Tokyo"), NOW) is None


@pytest.mark.parametrize(
    ("date", "weekday", "days"),
    [
        ("L", "*", Days(frozenset({28, 29, 30, 31}))),
        ("LW", "*", Days(frozenset({26, 27, 28, 29, 30, 31}))),
        ("*", "5L", Days(weekdays=frozenset({5}))),
        ("*", "7#2", Days(weekdays=frozenset({0}))),
        ("13", "5", Days(frozenset({13}), weekdays=frozenset({5}), either=True)),
        ("*/15", "5", Days(frozenset({1, 16, 31}), weekdays=frozenset({5}))),
        ("1-31", "5", EVERY_DAY),
    ],
)
def test_days_are_said_in_what_every_timer_understands(date: str, weekday: str, days: Days) -> None:
    """What only cronsim knows becomes all days that it could be."""
    assert in_own_zone(Schedule(cron=f"0 4 {date} * {weekday}"), NOW).days == days


def test_a_date_or_a_day_of_the_week_is_two_events_of_systemd_and_one_line_of_cron() -> None:
    """Systemd takes both at once, cron either."""
    either = in_own_zone(Schedule(cron="0 4 13 1 5"), NOW)
    assert list(calendar_lines(either)) == ["*-01-13 04:00:00 UTC", "Fri *-01-* 04:00:00 UTC"]
    assert lines(either) == ["0 4 13 1 5"]
    both = in_own_zone(Schedule(cron="0 4 */15 * 5"), NOW)
    assert list(calendar_lines(both)) == ["Fri *-*-01,16,31 04:00:00 UTC"]
    assert lines(both) == ["0 4 * * 5"]


def test_what_is_spaced_past_midnight_starts_on_every_day() -> None:
    """23:58 becomes 00:00 of the next day."""
    close = in_own_zone(Schedule(cron="56,58 23 * * 1"), NOW)
    assert spaced(close, 5) == Cover(frozenset({(0, 0)}), EVERY_DAY, "UTC")
    apart = in_own_zone(Schedule(cron="50,58 23 * * 1"), NOW)
    assert spaced(apart, 5) == apart


def test_covers_of_one_zone_and_the_same_days_are_one() -> None:
    """A spec may hold many jobs."""
    covers_of = [in_own_zone(Schedule(cron=cron), NOW) for cron in ("0 1 * * *", "0 2 * * 1", "0 3 * * *")]
    assert [sorted(cover.times) for cover in merged(covers_of)] == [[(1, 0), (3, 0)], [(2, 0)]]


def test_the_model_of_kubernetes_passes_over_what_that_library_passes_over() -> None:
    """Where this stops being so, schedules of such zones need no UTC."""
    lord_howe = KubernetesCron("0 3 * * *", "Australia/Lord_Howe")
    spring = int(datetime(2027, 10, 3, 0, 0, tzinfo=ZoneInfo("Australia/Lord_Howe")).timestamp())
    assert lord_howe.after(spring) > spring + DAY_S
    cairo = KubernetesCron("0 3 * * 5", "Africa/Cairo")
    thursday = int((datetime(2027, 4, 29, tzinfo=ZoneInfo("Africa/Cairo"))).timestamp())
    assert datetime.fromtimestamp(cairo.after(thursday), UTC) > datetime(2027, 5, 1, tzinfo=UTC) + timedelta(days=2)
    berlin = KubernetesCron("0,30 2,3 * * *", "Europe/Berlin")
    spring = int(datetime(2027, 3, 28, 0, 0, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    assert datetime.fromtimestamp(berlin.after(spring), UTC) == datetime(2027, 3, 28, 1, 0, tzinfo=UTC)
