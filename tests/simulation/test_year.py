"""A year of nights in virtual time: both changes of daylight saving, a leap day, restarts, clocks that are set, outages."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import pytest

from engine.schedule.book import Book
from engine.schedule.entry import Tick, TickFate
from engine.schedule.when import iso
from jobs.sandbox.audit import evaluations
from jobs.sandbox.settings import Settings
from tests import virtual_time
from tests.simulation.nights import Machine, machine

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_S, DAY_S = 3600.0, 86_400.0
JOB = """
  - name: {name}
    resource: results
    scope: {{agent_id: {agent}}}
    where: {{status: [completed, failed]}}
    action: {{type: evaluate_metrics, metrics: [{metric}]}}
    limits: {{rate: {rate}, concurrency: 4, timeout: 5s, settle: 20s, verify: 1m, patience: 30m}}
    retention: 3d
    notify: [{{on: [failure, held, guard, missed, changed], urls: ["${{RECEIVER}}/hook"], ping: "${{RECEIVER}}/ping"}}]
    schedule: {schedule}
"""
# A rate of a few requests an hour makes jobs of hours, which overlap; their days hold the changes of their clocks.
NIGHTLY = '{cron: "30 2 * * *", timezone: Europe/Berlin, jitter: 10m, deadline: 5h}'
SKIPPING = '{cron: "0 */2 1-7 11 *", timezone: America/New_York, overlap: skip, catch_up: none}'
QUEUEING = '{cron: "15 1,2,3,9 25-31 3,10 *", timezone: Europe/Berlin, overlap: queue, catch_up: all, deadline: 150m}'
CANCELLING = '{cron: "0 1,2,3 1-7 4,10 *", timezone: Australia/Lord_Howe, overlap: cancel_other}'
TASKS = {"nightly": (101, 11), "skipping": (101, 12), "queueing": (102, 11), "cancelling": (102, 12)}


def spec(**jobs: tuple[str, str]) -> str:
    """A spec of these jobs, each with its rate and its schedule."""
    return "version: 1\njobs:" + "".join(
        JOB.format(name=name, agent=TASKS[name][0], metric=TASKS[name][1], rate=rate, schedule=schedule)
        for name, (rate, schedule) in jobs.items()
    )


SPECS = {
    "nightly.yaml": spec(nightly=("50/s", NIGHTLY)),
    "often.yaml": spec(skipping=("3/h", SKIPPING), queueing=("4/h", QUEUEING), cancelling=("3/h", CANCELLING)),
}
SETS_S = [3 * HOUR_S, -3 * HOUR_S, -2 * HOUR_S, 2 * HOUR_S, 45 * 60, -45 * 60, 40 * DAY_S, -40 * DAY_S]  # of the clock


@pytest.mark.parametrize("seed", [1])
def test_in_a_year_of_nights_every_tick_has_one_fate_nothing_runs_twice_and_every_miss_is_told(
    seed: int, in_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a leap day, both changes of three time zones, kills, stops, outages of 25 hours, clocks that are set."""
    monkeypatch.setattr("engine.ear.LOOK_EVERY_S", 300.0)  # a job of hours would look ten thousand times

    async def scenario() -> None:
        begin = datetime(2028, 1, 1, tzinfo=BERLIN).timestamp()
        async with machine(in_memory, seed, begin, SPECS, results=12) as here:
            await a_year(here, begin + 366 * DAY_S)
            await here.live(2 * DAY_S, kill=False)  # what was refused by its receiver arrives
            check(here, begin)

    virtual_time.run(scenario)


async def a_year(here: Machine, end: float) -> None:
    """Processes one after the other, and what befalls them."""
    sets = list(SETS_S)
    here.received.failing = 0.2
    while here.wall() < end or sets:
        after_s = here.dice.uniform(0, 8 * DAY_S)
        to_set = sets.pop(0) if sets and here.dice.random() < 0.3 else 0.0
        down = here.dice.random() < 0.05

        async def meanwhile(after_s: float = after_s, to_set: float = to_set, *, down: bool = down) -> None:
            await anyio.sleep(after_s / 2)
            here.ahead_s += to_set
            if down:
                here.sandbox.settings = Settings(errors=1.0)
                await anyio.sleep(25 * HOUR_S)
                here.sandbox.settings = Settings()

        await here.live(after_s, kill=here.dice.random() < 0.6, meanwhile=meanwhile)
        here.sandbox.settings = Settings()
        if here.dice.random() < 0.5:
            await anyio.sleep(here.dice.choice([60, HOUR_S, 25 * HOUR_S]))
    here.received.failing = 0.0


def check(here: Machine, begin: float) -> None:
    """What must hold at the end."""
    book = Book.look(here.state_dir)
    assert book
    begun = [line.partition(": ")[::2] for line in here.said if " begins, due " in line]
    assert max(Counter((name, said.split()[-1]) for name, said in begun).values()) == 1, "a tick began two jobs"
    assert max(Counter(said.split()[1] for _, said in begun).values()) == 1, "a job began twice"
    seen = set()
    for name, entry in book.entries().items():
        ticks = book.ticks(name, 10_000)
        due = list(takewhile(lambda tick: tick <= entry.decided, entry.schedule.after(begin)))  # noqa: B023 - used at once
        assert sorted(tick.at for tick in ticks) == due, f"{name}: a tick without a fate"
        assert next(entry.schedule.after(entry.decided)) > here.wall() - HOUR_S, f"{name}: it stood still"
        seen |= {tick.fate for tick in ticks if tick.fate not in {TickFate.RUNNING, TickFate.WAITING}}
        assert {iso(tick.at) for tick in ticks if tick.fate is TickFate.MISSED} <= here.received.missed(name)
        assert_evaluated_once(here, name, ticks)
        assert_told(here, [tick for tick in ticks if tick.fate is TickFate.RAN])
    assert seen == {TickFate.RAN, TickFate.SKIPPED, TickFate.MISSED}, "the year was too quiet"


def assert_evaluated_once(here: Machine, name: str, ticks: list[Tick]) -> None:
    """Each tick that succeeded evaluated each run once; no run was evaluated more often than there were jobs."""
    happened = evaluations(here.sandbox.store.db, *TASKS[name])
    done = sum(tick.outcome == "success" for tick in ticks)
    jobs = sum(tick.job is not None for tick in ticks)
    assert done <= min(happened.values(), default=0), f"{name}: {done} nights, {happened}"
    assert max(happened.values(), default=0) <= jobs


def assert_told(here: Machine, ticks: list[Tick]) -> None:
    """Whatever did not end well was told, and each job had its beats."""
    for tick in ticks:
        assert tick.job
        if tick.outcome in {"failure", "held", "guard"}:
            assert tick.outcome in here.received.told(tick.job)
