"""A service that fails, in virtual time: how often it is asked meanwhile, and what is left undone afterwards (nothing)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S
from engine.errors import Exit, ServiceError
from engine.fates import ItemFate
from engine.jobledger import JobLedger
from engine.tasks import task_group
from jobs.sandbox.faults import Window
from jobs.sandbox.settings import Rate
from tests.simulation.world import World, world
from tests.virtual_time import run

HOUR_S = 3600.0
THOUSAND = 1000
EVALUATE, DELETE = "{type: evaluate_metrics, metrics: [11]}", "{type: delete_results}"
BOTH = pytest.mark.parametrize("action", [DELETE, EVALUATE], ids=["deletion", "evaluation"])


def spec(action: str, **limits: object) -> str:
    """A spec of one job on all completed and failed results."""
    given = "".join(f", {name}: {value}" for name, value in limits.items())
    return f"""
version: 1
jobs:
  - name: pressed
    resource: results
    where: {{status: [completed, failed]}}
    action: {action}
    limits: {{rate: 50/s, concurrency: 8, settle: 20s, timeout: 5s{given}}}
"""


def scheduled(seconds: float) -> int:
    """How many probes a schedule that doubles from a second to a minute needs in an outage, without any jitter."""
    at, pause, probes = FIRST_PAUSE_S, FIRST_PAUSE_S, 0
    while at < seconds:
        probes += 1
        pause = min(LONGEST_PAUSE_S, pause * 2)
        at += pause
    return probes


@dataclass
class Outage:
    """Everything is answered 500, 502 or 503 from the moment at which so many writes have arrived."""

    here: World
    lasts_s: float = HOUR_S
    writes: int = 10
    faults: dict[str, Any] = field(default_factory=lambda: {"errors": 1.0})
    began: float = float("inf")
    ended: float = float("inf")

    async def befall(self) -> None:
        """Begin, last, end."""
        sandbox = self.here.sandbox
        while sum(each.method == "POST" for each in sandbox.arrivals.last) < self.writes:  # noqa: ASYNC110 - time is virtual
            await anyio.sleep(0.001)
        before, sandbox.settings = sandbox.settings, replace(sandbox.settings, **self.faults)
        self.began = sandbox.elapsed()
        await anyio.sleep(self.lasts_s)
        self.ended, sandbox.settings = sandbox.elapsed(), before

    def arrivals(self, method: str | None = None) -> list[float]:
        """When requests arrived during the outage."""
        return [
            each.at_s
            for each in self.here.sandbox.arrivals.last
            if self.began <= each.at_s < self.ended and method in {None, each.method}
        ]


async def lived(here: World, beside: Callable[[], Coroutine[Any, Any, None]]) -> dict[str, int]:
    """The counts of a job during which something else happens."""
    counts: list[dict[str, int] | None] = []
    async with task_group() as group:
        group.start_soon(beside)
        counts.append(await here.live())
        group.cancel_scope.cancel()
    assert counts[0] is not None
    return counts[0]


def arrived(here: World, method: str | None = None) -> int:
    """How many requests there were."""
    return sum(method in {None, each.method} for each in here.sandbox.arrivals.last)


async def quiet(folder: Path, seed: int, results: int, action: str, **settings: Any) -> World:
    """The world as a job leaves it that nothing befell."""
    async with world(folder, seed, results, **settings) as here:
        here.read(spec(action))
        await here.live()
        return here


def all_done(here: World, counts: dict[str, int], action: str) -> None:
    """Every item, and each once."""
    assert counts[ItemFate.ACCEPTED] + counts[ItemFate.CONFIRMED] == sum(counts.values()) > 0
    if action == EVALUATE:
        assert here.audit()["evaluations"]["evaluated_twice"] == 0
        assert set(here.evaluated()) == here.eligible


@BOTH
def test_an_hour_of_errors_costs_its_probes_and_no_item(action: str, tmp_path: Path) -> None:
    """Beyond the probes, at most 2 % of a thousand requests: those that were under way, and what it takes to be sure."""

    async def story() -> None:
        before = await quiet(tmp_path / "quiet", 1, 4000, action, latency=0.1)
        async with world(tmp_path / "down", 1, 4000, latency=0.1) as here:
            here.read(spec(action))
            outage = Outage(here)
            counts = await lived(here, outage.befall)
            all_done(here, counts, action)
            probes = scheduled(HOUR_S)
            assert len(outage.arrivals()) <= probes + 0.02 * (THOUSAND + probes)
            # Writes alone: after an hour, what waited is looked at again. Of an evaluation, each left a chunk unsettled.
            assert len(outage.arrivals("POST")) <= (probes if action == DELETE else 0) + 20
            assert arrived(here, "POST") - arrived(before, "POST") <= (probes if action == DELETE else 0) + 20

    run(story)


@BOTH
def test_an_hour_without_any_answer_fails_no_item(action: str, tmp_path: Path) -> None:
    """Silence until the timeout is no more the fault of an item than a 503 is."""

    async def story() -> None:
        async with world(tmp_path, 2, 3000, latency=0.1) as here:
            here.attempts = 2  # an outage uses up none of them
            here.read(spec(action, attempts=2))
            outage = Outage(here, faults={"hang": 1.0})
            all_done(here, await lived(here, outage.befall), action)
            assert len(outage.arrivals()) <= scheduled(HOUR_S) + 20

    run(story)


def test_writes_that_fail_while_reads_are_answered_are_an_outage_too(tmp_path: Path) -> None:
    """The reads that settle lost answers do not end the pause of the writes, and no item uses up its attempts."""

    async def story() -> None:
        async with world(tmp_path, 3, 1500, latency=0.1) as here:
            here.attempts = 2  # an outage uses up none of them
            here.read(spec(EVALUATE, attempts=2))
            outage = Outage(here, writes=3, lasts_s=1500, faults={"errors": 1.0, "only": "writes"})
            all_done(here, await lived(here, outage.befall), EVALUATE)
            assert len(outage.arrivals("POST")) <= scheduled(1500) + 20

    run(story)


def test_half_open_lets_one_request_through(tmp_path: Path) -> None:
    """While the probe is under way, and it takes its time, nobody else asks."""

    async def story() -> None:
        async with world(tmp_path, 4, 3000, latency=0.1) as here:
            here.read(spec(DELETE))
            outage = Outage(here, lasts_s=1000, faults={"errors": 1.0, "latency": 3.0})
            await lived(here, outage.befall)
            probes = outage.arrivals()[
                26:
            ]  # for writes and for reads: five failures, at most eight that were under way
            assert len(probes) > 5
            assert min(later - earlier for earlier, later in pairwise(probes)) > 3.0 + 0.9 * FIRST_PAUSE_S

    run(story)


@BOTH
def test_one_request_in_ten_that_fails_costs_a_fifth_more_at_most(action: str, tmp_path: Path) -> None:
    """All is done; for evaluations, whose lost answers are read back by walking, that is of the writes."""

    async def story() -> None:
        of = None if action == DELETE else "POST"
        before = await quiet(tmp_path / "quiet", 5, 7000, action)
        async with world(tmp_path / "shaky", 5, 7000, errors=0.1) as here:
            here.read(spec(action))
            counts = await here.live()
            assert counts is not None
            all_done(here, counts, action)
            assert here.audit()["faults"]["errors"] > 0.05 * arrived(before, of)
            assert arrived(here, of) <= 1.2 * arrived(before, of)

    run(story)


class Watched(Window):
    """A limit that remembers the silences it asked for."""

    def __init__(self) -> None:
        """None yet."""
        super().__init__()
        self.silences: list[tuple[float, float]] = []

    def wait(self, now_s: float, limit: Rate | None) -> int:
        """Zero, or whole seconds of silence from now."""
        seconds = super().wait(now_s, limit)
        if seconds:
            self.silences.append((now_s, now_s + seconds))
        return seconds


@BOTH
def test_nothing_arrives_in_a_silence_that_was_asked_for(action: str, tmp_path: Path) -> None:
    """Only what was on its way with the refused one: reads and writes of every worker wait to the second."""

    async def story() -> None:
        async with world(tmp_path, 6, 6000, rate=Rate(30, 60.0)) as here:
            here.sandbox.window = window = Watched()
            here.read(spec(action))
            counts = await here.live()
            assert counts is not None
            all_done(here, counts, action)
            assert len(window.silences) >= 3
            arrivals = [each.at_s for each in here.sandbox.arrivals.last]
            for began, ended in window.silences:
                assert not [at for at in arrivals if began + 1e-3 < at < ended]

    run(story)


def test_patience_ends_and_the_job_can_be_resumed(tmp_path: Path) -> None:
    """After `patience` without an answer the job stops with exit code 6 and says so; nothing has failed."""

    async def story() -> None:
        async with world(tmp_path, 7, 1500, latency=0.1) as here:
            here.read(spec(DELETE, patience="10m"))
            outage = Outage(here, lasts_s=HOUR_S, writes=3)
            with pytest.raises(ServiceError, match=r"does not answer: 50\d .*limits: patience") as stopped:
                await lived(here, outage.befall)
            assert stopped.value.exit_code == Exit.STOPPED
            assert 600 <= here.sandbox.elapsed() - outage.began <= 600 + LONGEST_PAUSE_S + 1
            here.sandbox.settings = replace(here.sandbox.settings, errors=0.0)
            assert here.path is not None
            ledger = JobLedger.look(here.path)
            assert (await ledger.counts())[ItemFate.FAILED] == 0
            ledger.checkpoint.close()

    run(story)
