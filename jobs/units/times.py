"""What a timer must cover, as cron and as systemd write it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from engine.schedule.cover import DATES, EVERY_DAY, HOURS, MINUTES, MONTHS, WEEKDAYS, Cover, Days, Time

Rectangle = tuple[frozenset[int], frozenset[int]]  # hours and minutes: each of these with each of those
_NAMES = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_SHORTEST_RANGE = 3


def rectangles(times: Iterable[Time]) -> list[Rectangle]:
    """The times, taken apart into as few hours × minutes as have these very times."""
    hours: dict[int, set[int]] = {}
    for hour, minute in times:
        hours.setdefault(minute, set()).add(hour)
    minutes: dict[frozenset[int], set[int]] = {}
    for minute, some in hours.items():
        minutes.setdefault(frozenset(some), set()).add(minute)
    return sorted(((some, frozenset(each)) for some, each in minutes.items()), key=lambda pair: sorted(pair[1]))


def hull(times: Iterable[Time]) -> Rectangle:
    """All hours and all minutes of the times: more of them, in one line."""
    hours, minutes = zip(*times, strict=True)
    return frozenset(hours), frozenset(minutes)


def spaced(cover: Cover, least: int) -> Cover:
    """A cover whose times are so many minutes apart: what is closer goes up to a multiple of them."""
    minutes = sorted(hour * 60 + minute for hour, minute in cover.times)
    day = len(HOURS) * len(MINUTES)
    if all(later - earlier >= least for earlier, later in zip(minutes, [*minutes[1:], minutes[0] + day], strict=True)):
        return cover
    raised = [-(-minute // least) * least for minute in minutes]
    days = cover.days if raised[-1] < day else EVERY_DAY
    return Cover(frozenset(divmod(minute % day, 60) for minute in raised), days, cover.zone)


def cron_line(rectangle: Rectangle, days: Days) -> str:
    """Five fields, read by any cron.

    Where date and day of the week are both given, cron takes either: a date *and* a day of the week is said without the date.
    """
    hours, minutes = rectangle
    dates = days.dates if days.either or days.weekdays == WEEKDAYS else DATES
    fields = (minutes, MINUTES), (hours, HOURS), (dates, DATES), (days.months, MONTHS), (days.weekdays, WEEKDAYS)
    return " ".join("*" if each == whole else _listed(each, "-") for each, whole in fields)


def calendar_lines(cover: Cover) -> Iterator[str]:
    """Events as systemd.time(7) has them. It takes date *and* day of the week: either of them is two events."""
    days = cover.days
    kinds = [(days.dates, WEEKDAYS), (DATES, days.weekdays)] if days.either else [(days.dates, days.weekdays)]
    for hours, minutes in rectangles(cover.times):
        for dates, weekdays in kinds:
            week = "" if weekdays == WEEKDAYS else ",".join(_NAMES[day] for day in sorted(weekdays)) + " "
            date = f"*-{_padded(days.months, MONTHS)}-{_padded(dates, DATES)}"
            yield f"{week}{date} {_padded(hours, HOURS)}:{_padded(minutes, MINUTES)}:00 {cover.zone}"


def _padded(values: Collection[int], whole: Collection[int]) -> str:
    return "*" if values == whole else _listed(values, "..", "02")


def _listed(values: Collection[int], to: str, form: str = "") -> str:
    """Numbers with commas, three or more in a row as a range."""
    rows: list[list[int]] = []
    for value in sorted(values):
        if rows and value == rows[-1][-1] + 1:
            rows[-1].append(value)
        else:
            rows.append([value])
    pieces = (
        [f"{row[0]:{form}}{to}{row[-1]:{form}}"]
        if len(row) >= _SHORTEST_RANGE
        else [f"{value:{form}}" for value in row]
        for row in rows
    )
    return ",".join(piece for some in pieces for piece in some)
