"""Which times of a clock and which days a timer must have so that it fires at every tick of a schedule. Pure.

A timer may fire too often, never too rarely. So this is reckoned from the expression and from the changes of its zone's
clocks over the coming years. Looking at the ticks of one year was refused: 29 February is in none of four, and a change
of clocks meets a given date only in some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim

from .when import Schedule

Time = tuple[int, int]  # hour and minute
HOURS, MINUTES = frozenset(range(24)), frozenset(range(60))
DATES, MONTHS, WEEKDAYS = frozenset(range(1, 32)), frozenset(range(1, 13)), frozenset(range(7))
HORIZON_DAYS = 5 * 366  # over which changes of clocks are looked for
_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
_DAY_MINUTES = _DAY // _MINUTE
_MIDNIGHT = (0, 0)


@dataclass(frozen=True, slots=True)
class Days:
    """Days: of the month, in months, of the week (0 is Sunday). With `either`, the date or the day of the week suffices."""

    dates: frozenset[int] = DATES
    months: frozenset[int] = MONTHS
    weekdays: frozenset[int] = WEEKDAYS
    either: bool = False


EVERY_DAY = Days()


@dataclass(frozen=True, slots=True)
class Cover:
    """A timer fires at these times of these days, as the clocks of `zone` show them."""

    times: frozenset[Time]
    days: Days
    zone: str


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of clocks, at an instant in UTC, from one offset to another."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def span(self) -> tuple[datetime, datetime]:
        """What the clocks leave out, or show twice: its beginning and its end, without a zone."""
        bare = self.at.replace(tzinfo=None)
        first, last = sorted((self.before, self.after))
        return bare + first, bare + last

    @property
    def skips(self) -> bool:
        """Whether it leaves something out."""
        return self.after > self.before

    @property
    def is_even(self) -> bool:
        """Whether it is by whole hours, on the hour, and leaves midnight alone."""
        begin, end = self.span
        return not ((end - begin) % _HOUR or begin.minute or _MIDNIGHT in {*self.shown, _time(end)})

    @property
    def shown(self) -> frozenset[Time]:
        """The times that are left out, or come twice."""
        begin, end = self.span
        return frozenset(_time(begin + minutes * _MINUTE) for minutes in range((end - begin) // _MINUTE))


def in_own_zone(schedule: Schedule, now: float) -> Cover:
    """The times and days as the schedule's own clocks show them; `now` is in seconds since the epoch.

    With what falls into a time that is left out: it is due where that ends. Where that is on the next day, every day.
    """
    times, days = _times(schedule), _days(schedule)
    moved: set[Time] = set()
    for change in _changes(schedule.zone, now):
        if change.skips and times & change.shown:
            begin, end = change.span
            moved.add(_time(end))
            days = days if begin.date() == end.date() else EVERY_DAY
    return Cover(times | moved, days, schedule.timezone)


def second_time(schedule: Schedule, now: float) -> Cover | None:
    """In UTC, the ticks in an hour that comes twice, the second time; None where there are none.

    For timers that pass over the second time, as systemd does. A job at a fixed time is due only the first time.
    """
    if not any(field.startswith("*") for field in schedule.cron.split()[:2]):
        return None
    times, found = _times(schedule), set[Time]()
    for change in _changes(schedule.zone, now):
        if not change.skips:
            found |= _shifted(times & change.shown, change.after)
    return Cover(frozenset(found), EVERY_DAY, "UTC") if found else None


def in_utc(schedule: Schedule, now: float) -> Cover:
    """The times in UTC under every offset that the zone is going to have; on every day, unless the zone is UTC itself."""
    changes = list(_changes(schedule.zone, now))
    offsets = {_offset(schedule.zone, datetime.fromtimestamp(now, UTC)), *(change.after for change in changes)}
    own = in_own_zone(schedule, now)
    times = frozenset[Time]().union(*(_shifted(own.times, offset) for offset in offsets))
    return Cover(times, EVERY_DAY if any(offsets) else own.days, "UTC")


def minutes_of_hour(schedule: Schedule, now: float, *, whole_hours: bool = True) -> frozenset[int]:
    """The minutes at which a timer must fire in every hour where nobody knows what zone its clocks are in.

    They are taken to be whole hours from UTC, as most are. Without `whole_hours`, or where the schedule's own zone is not,
    they may be anywhere, and each quarter of an hour is covered: all zones of today are quarters of an hour from UTC.
    """
    minutes = {minute for _, minute in in_utc(schedule, now).times}
    own = {minute for _, minute in in_own_zone(schedule, now).times}
    if whole_hours and minutes == own:
        return frozenset(minutes)
    return frozenset((minute + quarter) % 60 for minute in minutes | own for quarter in (0, 15, 30, 45))


def is_even(schedule: Schedule, now: float) -> bool:
    """Whether the clocks of its zone only ever change by whole hours, on the hour, and never at midnight."""
    return all(change.is_even for change in _changes(schedule.zone, now))


def merged(covers: Iterable[Cover]) -> list[Cover]:
    """The same with one cover for each zone and set of days, in the order in which these first come."""
    times: dict[tuple[str, Days], frozenset[Time]] = {}
    for cover in covers:
        times[cover.zone, cover.days] = times.get((cover.zone, cover.days), frozenset()) | cover.times
    return [Cover(some, days, zone) for (zone, days), some in times.items()]


def _times(schedule: Schedule) -> frozenset[Time]:
    read = CronSim(schedule.cron, datetime.now(UTC))
    return frozenset((hour, minute) for hour in read.hours for minute in read.minutes)


def _days(schedule: Schedule) -> Days:
    """The days in what every timer understands: of `L`, `LW`, `5L`, `5#2` all days that it could be."""
    read = CronSim(schedule.cron, datetime.now(UTC))
    last = {CronSim.LAST: range(28, 32), CronSim.LAST_WEEKDAY: range(26, 32)}
    dates = frozenset(date for day in read.days for date in last.get(day, [day]))
    weekdays = frozenset((day if isinstance(day, int) else day[0]) % 7 for day in read.weekdays)
    months = frozenset(read.months)
    if read.day_and:
        return Days(dates, months, weekdays)
    if dates == DATES or weekdays == WEEKDAYS:
        return Days(months=months)
    return Days(dates, months, weekdays, either=True)


def _changes(zone: tzinfo, now: float) -> Iterator[_Change]:
    begin = datetime.fromtimestamp(now - now % 60, UTC) - _DAY
    for day in range(HORIZON_DAYS):
        low, high = begin + day * _DAY, begin + (day + 1) * _DAY
        before, after = _offset(zone, low), _offset(zone, high)
        if before != after:
            while high - low > _MINUTE:
                middle = low + (high - low) // _MINUTE // 2 * _MINUTE
                low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
            yield _Change(high, before, after)


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _shifted(times: Iterable[Time], offset: timedelta) -> frozenset[Time]:
    """Local times under an offset, in UTC."""
    minutes = (hour * 60 + minute - offset // _MINUTE for hour, minute in times)
    return frozenset(divmod(each % _DAY_MINUTES, 60) for each in minutes)


def _time(moment: datetime) -> Time:
    return moment.hour, moment.minute
