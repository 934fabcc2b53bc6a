"""Durations, rates and tolerances as people write them: `30d`, `90m`, `60/m`, `20/s`, `2%`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|m|h)")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
MAX_LENGTH = 100  # characters; digits without end take a pattern a time without end
MAX_RATE = 10_000.0  # requests a second; no single service takes more from one key


def parse_duration(text: str) -> timedelta:
    """Read `150s`, `90m`, `1h30m`, `30d`. Raises ValueError with what was expected."""
    parts = _DURATION.findall(text) if len(text) <= MAX_LENGTH else []
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(f"“{text}” is not a duration; write a number and a unit, such as 150s, 90m, 12h or 30d")
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f"“{text}” is longer than any calendar") from None


def parse_rate(text: str) -> float:
    """Read `60/m` or `20/s`; the answer is in requests a second. Raises ValueError with what was expected."""
    match = _RATE.fullmatch(text.strip()) if len(text) <= MAX_LENGTH else None
    rate = float(match[1]) / _SECONDS[match[2]] if match else 0.0
    if not 0 < rate <= MAX_RATE:
        raise ValueError(
            f"“{text}” is not a rate; write requests per s, m or h, such as 20/s or 60/m (at most {MAX_RATE:,.0f}/s)"
        )
    return rate


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How many failures are borne: so many per cent of a plan, or so many items; one of the two is set."""

    percent: float | None = None
    items: int | None = None

    def trips(self, failed: int, planned: int) -> bool:
        """Whether `failed` of `planned` items are more than that."""
        if self.items is not None:
            return failed > self.items
        return self.percent is not None and planned > 0 and 100 * failed / planned > self.percent

    def __str__(self) -> str:
        return f"{self.percent:g} %" if self.percent is not None else f"{self.items:,}"


def parse_tolerance(value: object) -> Tolerance:
    """Read `2%`, `0.5%`, or a whole number of items. Raises ValueError with what was expected."""
    if type(value) is int and value >= 0:
        return Tolerance(items=value)
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= MAX_LENGTH else None
    if match is None or (percent := float(match[1])) > 100:  # noqa: PLR2004 - of a hundred
        raise ValueError(f"“{value}” is not a share such as 2% or 0.5% (at most 100%), nor a whole number of items")
    return Tolerance(percent=percent)


def show_duration(seconds: float) -> str:
    """Two units are enough for a person: `1h 05m`, `2m 30s`, `4s`."""
    whole = round(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours:02}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {whole % 60:02}s" if minutes else f"{whole}s"


def show_rate(per_second: float) -> str:
    """The rate in the unit a person would choose: `20/s`, `30/m`."""
    for unit in "smh":
        amount = per_second * _SECONDS[unit]
        if amount >= 1 and (unit != "s" or amount == int(amount)):
            return f"{amount:g}/{unit}"
    return f"{per_second * 3600:g}/h"
