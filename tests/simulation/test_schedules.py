"""Nights that do not go as they should, each as a story: the real keeper, engine, service and receiver in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from engine.jobledger import JobLedger
from engine.schedule.book import Book
from engine.schedule.entry import Tick, TickFate
from jobs.sandbox.audit import evaluations
from jobs.sandbox.settings import Settings
from tests import virtual_time
from tests.simulation.nights import Machine, machine

HOUR_S, DAY_S = 3600.0, 86_400.0
BEGIN = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
SPEC = """
version: 1
jobs:
  - name: nightly
    resource: results
    scope: {{agent_id: 101}}
    where: {{status: [completed, failed]}}
    action: {{type: evaluate_metrics, metrics: [11]}}
    limits: {{rate: {rate}, concurrency: 4, timeout: 5s, settle: 20s, verify: 1m, patience: 30m}}
    notify: [{{on: [failure, held, guard, missed, success, changed], urls: ["${{RECEIVER}}/hook"], ping: "${{RECEIVER}}/ping"}}]
    schedule: {{cron: "{cron}", {more}}}
    {beside}
"""


def spec(cron: str = "0 2 * * *", more: str = "jitter: 0s", rate: str = "50/s", beside: str = "") -> str:
    """A spec of one job that comes round."""
    return SPEC.format(cron=cron, more=more, rate=rate, beside=beside)


def tell(folder: Path, text: str, story: Callable[[Machine], Awaitable[None]]) -> None:
    """Tell a story of a machine with this spec."""

    async def scenario() -> None:
        async with machine(folder, 1, BEGIN, {"spec.yaml": text}, results=12) as here:
            await story(here)

    virtual_time.run(scenario)


def ticks(here: Machine) -> list[Tick]:
    """What became of the ticks, the earliest first."""
    book = Book.look(here.state_dir)
    assert book
    try:
        return book.ticks("nightly", 100)[::-1]
    finally:
        book.close()


def events(here: Machine) -> list[list[str]]:
    """What was told, in order."""
    return [body["events"] for body in here.received.bodies]


@pytest.fixture(autouse=True)
def orders_are_looked_at_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of hours would look ten thousand times."""
    monkeypatch.setattr("engine.ear.LOOK_EVERY_S", 60.0)


def test_a_job_past_its_deadline_is_drained_told_and_left_to_be_resumed(in_memory: Path) -> None:
    """It does not go on by itself, the next night has a job of its own, and by hand it can be finished."""

    async def story(here: Machine) -> None:
        await here.live(DAY_S, kill=False)
        (late,) = ticks(here)
        assert (late.fate, late.outcome, late.exit_code) == (TickFate.RAN, "failure", 6)
        assert late.ended_at
        assert 2 * HOUR_S <= late.ended_at - late.at < 2 * HOUR_S + 60
        assert late.job
        assert "deadline" in here.received.bodies[0]["error"]
        assert events(here) == [["failure"]]
        ledger = JobLedger.look(here.state_dir / f"{late.job}.rebatch")
        assert ledger.job["state"] not in {"finished", "cancelled"}
        ledger.checkpoint.close()
        await here.live(DAY_S, kill=False)
        assert [tick.job for tick in ticks(here)].count(late.job) == 1
        assert len(ticks(here)) == 2

    tell(in_memory, spec(more="deadline: 2h", rate="2/h"), story)


def test_a_failure_pauses_a_schedule_that_says_so_until_somebody_resumes_it(in_memory: Path) -> None:
    """The nights between are skipped; they are neither missed nor caught up."""

    async def story(here: Machine) -> None:
        here.sandbox.settings = Settings(errors=1.0)
        await here.live(2 * DAY_S, kill=False)
        here.sandbox.settings = Settings()
        book = Book.keep(here.state_dir)
        assert "failure" in str(book.entries()["nightly"].paused_because)
        book.pause("nightly", None)
        book.close()
        await here.live(DAY_S, kill=False)
        assert [(tick.fate, tick.outcome) for tick in ticks(here)] == [
            (TickFate.RAN, "failure"),
            (TickFate.SKIPPED, None),
            (TickFate.RAN, "success"),
        ]
        assert events(here) == [["failure"], ["success", "changed"]]

    tell(in_memory, spec(more="pause_on_failure: true"), story)


def test_a_job_that_is_in_the_way_is_cancelled_and_nobody_is_told_of_a_failure(in_memory: Path) -> None:
    """The next one begins when its fates are known."""

    async def story(here: Machine) -> None:
        await here.live(18 * HOUR_S, kill=False)
        first, second = ticks(here)
        assert (first.outcome, second.fate) == ("cancelled", TickFate.RAN)
        assert first.ended_at
        assert second.begun_at
        assert second.at <= first.ended_at <= second.begun_at
        assert "failure" not in [event for told in events(here)[:1] for event in told]
        beats = [beat.split("?")[0] for beat in here.received.beats]
        assert beats[:2] == ["/ping/start", "/ping/start"]

    tell(in_memory, spec("0 2,3 * * *", "overlap: cancel_other", rate="2/h"), story)


def test_a_tick_that_queues_begins_when_the_one_before_has_ended_also_after_a_kill(in_memory: Path) -> None:
    """The third finds one that waits already."""

    async def story(here: Machine) -> None:
        await here.live(15.5 * HOUR_S, kill=True)  # the first is at work, the second waits
        assert [tick.fate for tick in ticks(here)] == [TickFate.RUNNING, TickFate.WAITING]
        await here.live(20 * HOUR_S, kill=False)
        first, second, third = ticks(here)[:3]
        assert third.fate is TickFate.SKIPPED
        assert first.ended_at
        assert second.begun_at
        assert second.begun_at >= first.ended_at
        assert (first.outcome, second.outcome) == ("success", "success")
        assert set(evaluations(here.sandbox.store.db, 101, 11).values()) == {2}

    tell(in_memory, spec("0 2,3,4 * * *", "overlap: queue", rate="2/h"), story)


def test_a_schedule_that_was_changed_while_nobody_was_there_tells_what_was_missed(in_memory: Path) -> None:
    """By its old times; the new ones count from then."""

    async def story(here: Machine) -> None:
        await here.live(HOUR_S, kill=False)
        await anyio.sleep(2 * DAY_S)
        here.specs["spec.yaml"] = spec("0 20 * * *")
        await here.live(8 * HOUR_S, kill=False)
        assert [(tick.fate, (tick.at - BEGIN) / HOUR_S) for tick in ticks(here)] == [
            (TickFate.MISSED, 14.0),
            (TickFate.MISSED, 38.0),
            (TickFate.RAN, 56.0),
        ]
        assert events(here)[0] == ["missed"]
        assert here.received.bodies[0]["missed"] == 2

    tell(in_memory, spec("0 2 * * *"), story)


def test_a_schedule_that_left_its_spec_ends_and_its_interrupted_job_still_goes_on(in_memory: Path) -> None:
    """Nothing comes round any more."""

    async def story(here: Machine) -> None:
        await here.live(14.5 * HOUR_S, kill=True)
        assert [tick.fate for tick in ticks(here)] == [TickFate.RUNNING]
        here.specs["spec.yaml"] = spec().replace("name: nightly", "name: other")
        await here.live(2 * DAY_S, kill=False)
        assert [(tick.fate, tick.outcome) for tick in ticks(here)] == [(TickFate.RAN, "success")]

    tell(in_memory, spec(rate="6/h"), story)


def test_a_removed_checkpoint_of_a_tick_is_a_failure_that_is_told(in_memory: Path) -> None:
    """It is not begun again: what it had done nobody knows."""

    async def story(here: Machine) -> None:
        await here.live(14.5 * HOUR_S, kill=True)
        for file in here.state_dir.glob("*.rebatch*"):
            file.unlink()
        await here.live(2 * HOUR_S, kill=False)
        assert [(tick.fate, tick.outcome) for tick in ticks(here)] == [(TickFate.RAN, "failure")]
        assert events(here) == [["failure"]]

    tell(in_memory, spec(rate="6/h"), story)


def test_retention_removes_what_is_over_and_nothing_else(in_memory: Path) -> None:
    """Checkpoints carry the time of the real clock, so far in the future all that is over is old."""

    async def story(here: Machine) -> None:
        here.begin += 100 * 365 * DAY_S
        await here.live(2.5 * DAY_S, kill=False)
        left = {path.stem for path in here.state_dir.glob("*.rebatch")}
        assert [tick.outcome for tick in ticks(here)] == ["success"] * 2
        assert left == set()

    tell(in_memory, spec(beside="retention: 1s"), story)
