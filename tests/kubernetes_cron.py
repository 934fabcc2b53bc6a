"""When Kubernetes starts a CronJob: a model of how robfig/cron v3 (`spec.go`), which it uses, goes from one time to the next.

It goes on in steps of a day, an hour, a minute, the first of each kind from the beginning of the day or the hour. Where
clocks change it so passes over times, and these tests must not be better than it is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_WHOLE = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


class KubernetesCron:
    """Five fields in a time zone."""

    def __init__(self, line: str, zone: str) -> None:
        """`line` has only numbers, ranges, commas and stars."""
        fields = line.split()
        self._minutes, self._hours, self._dates, self._months, self._weekdays = (
            _read(field, low, high) for field, (low, high) in zip(fields, _WHOLE, strict=True)
        )
        self._and = "*" in {fields[2], fields[4]}
        self._zone = ZoneInfo(zone)

    def after(self, moment: int) -> int:
        """The first start after a moment, in whole seconds since the epoch."""
        now = self._later(datetime.fromtimestamp(moment, self._zone), 60 - moment % 60)
        began = False
        while True:
            if now.month not in self._months:
                now = self._month(now if began else self._date(now.year, now.month, 1))
            elif not self._day(now):
                now = self._midnight(now if began else self._date(now.year, now.month, now.day))
            elif now.hour not in self._hours:
                now = self._later(now if began else self._date(now.year, now.month, now.day, now.hour), 3600)
            elif now.minute not in self._minutes:
                now = self._later(now, 60)
            else:
                return int(now.timestamp())
            began = True

    def _month(self, now: datetime) -> datetime:
        following = now.date().replace(day=1) + timedelta(days=32)
        return self._date(following.year, following.month, now.day, now.hour)

    def _midnight(self, now: datetime) -> datetime:
        """The next day, corrected for a midnight that is not there as that library does it."""
        following = now.date() + timedelta(days=1)
        then = self._date(following.year, following.month, following.day, now.hour, now.minute)
        if then.hour:
            then = self._later(then, ((24 if then.hour > 12 else 0) - then.hour) * 3600)
        return then

    def _day(self, now: datetime) -> bool:
        date, weekday = now.day in self._dates, now.isoweekday() % 7 in self._weekdays
        return date and weekday if self._and else date or weekday

    def _later(self, now: datetime, seconds: int) -> datetime:
        return datetime.fromtimestamp(now.timestamp() + seconds, self._zone)

    def _date(self, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
        """As Go's time.Date chooses where a time is not there or comes twice."""
        bare = datetime(year, month, day, hour, minute, tzinfo=UTC)
        offset = self._offset(bare)
        if self._offset(bare - offset) != offset:
            offset = self._offset(bare - offset)
        return (bare - offset).astimezone(self._zone)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta()


def _read(field: str, low: int, high: int) -> set[int]:
    if field == "*":
        return set(range(low, high + 1))
    ends = [[int(end) for end in piece.split("-")] for piece in field.split(",")]
    return {value for each in ends for value in range(each[0], each[-1] + 1)}
