"""When a job is due: a cron expression in a time zone, right through both changes of daylight saving. Pure.

A *tick* is one time of a schedule, in whole seconds since the epoch; with the name of its job it is an identity. cronsim
does as Debian's cron does: what falls into the hour that is left out is due right after it, what falls into the hour that
comes twice is due once, and what is due every so often goes on in real time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice, pairwise
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, WithJsonSchema

from ..kind import Strict
from ..values import Duration
from ..where import suggest

FIELDS = 5  # of an expression: minute, hour, day of the month, month, day of the week
ON_TIME_S = 600.0  # how long after its start a tick is on time; later it is late, and `catch_up` decides
_BEFORE_S = (
    14_400  # where to begin: no change of a clock is longer, and an expression's ticks depend on where one begins
)
_SHOWN = 50  # ticks that are looked at to see that jitter is shorter than what lies between two


def _cron(value: str) -> str:
    if len(value.split()) != FIELDS:
        raise ValueError(f"“{value}” is no cron expression: five fields are needed, such as “30 2 * * *”")
    try:
        next(CronSim(value, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        why = str(error).lower() or "no day matches it"
        raise ValueError(
            f"“{value}” is no cron expression: {why}; the fields are minute, hour, day, month, weekday"
        ) from None
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        hint = suggest(value, available_timezones()) or "; write one such as Europe/Berlin, or UTC"
        raise ValueError(f"“{value}” is no time zone{hint}") from None
    return value


Cron = Annotated[str, AfterValidator(_cron), WithJsonSchema({"type": "string", "examples": ["30 2 * * *"]})]
Zone = Annotated[str, AfterValidator(_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Berlin"]})]


class Schedule(Strict):
    """When a job comes round, and what happens when it cannot. All durations are in seconds once read."""

    cron: Cron = Field(description="Minute, hour, day of the month, month, day of the week, as cron has them.")
    timezone: Zone = Field("UTC", description="In which the expression is read.")
    jitter: Duration = Field(
        0.0, ge=0, description="Each tick begins up to so much later; how much is always the same for the same tick."
    )
    overlap: Literal["skip", "queue", "cancel_other"] = Field(
        "skip", description="When the job before is still at work: leave this tick out, wait, or cancel that job."
    )
    catch_up: Literal["none", "once", "all"] = Field(
        "once", description="What is late: leave it out, one job for all of it, or a job for each tick."
    )
    catch_up_window: Duration = Field(43_200.0, ge=0, description="How late a tick may still begin.")
    pause_on_failure: bool = Field(
        default=False, description="After a job with any end but success: no more until resumed."
    )
    deadline: Duration | None = Field(
        None, gt=0, description="How long after its beginning a job is stopped; it can be resumed."
    )

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)

    def after(self, moment: float) -> Iterator[int]:
        """The ticks after a moment (seconds since the epoch), in order."""
        last = moment
        for due in CronSim(self.cron, datetime.fromtimestamp(moment - _BEFORE_S, self.zone)):
            tick = int(due.timestamp())
            if tick > last:  # two local times may fall on one instant, and cronsim may look back over a change
                last = tick
                yield tick

    def start(self, name: str, tick: int) -> float:
        """When the tick of this job begins: `jitter` later at most."""
        share = int.from_bytes(sha256(f"{name}/{tick}".encode()).digest()[:8]) / 2**64
        return tick + share * self.jitter

    def local(self, moment: float) -> datetime:
        """A moment as the schedule's own clocks show it."""
        return datetime.fromtimestamp(moment, self.zone)


def crowded(schedule: Schedule, moment: float) -> bool:
    """Whether jitter is so long that a tick could begin after the next one is due."""
    ticks = islice(schedule.after(moment), _SHOWN)
    return any(later - earlier <= schedule.jitter for earlier, later in pairwise(ticks))


def several_a_day(schedule: Schedule, moment: float) -> bool:
    """Whether two ticks fall on one day of UTC, which is what `{date}` stands for."""
    days = [int(tick // 86_400) for tick in islice(schedule.after(moment), _SHOWN)]
    return len(set(days)) < len(days)


def iso(moment: float) -> str:
    """A moment in UTC, as reports and notices write it."""
    return datetime.fromtimestamp(moment, UTC).isoformat()


def definition(schedule: Schedule) -> dict[str, Any]:
    """What tells one schedule from another: whatever decides when it is due."""
    return {"cron": schedule.cron, "timezone": schedule.timezone}
