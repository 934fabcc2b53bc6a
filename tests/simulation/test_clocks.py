"""Clocks that jump: the wall clock is shown to people and kept in the books, but nothing that must be waited for hangs on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from engine.jobledger import JobLedger
from tests import virtual_time
from tests.simulation.world import World, world
from tests.torture.lives import SPEC, live

JUMPS_S = [-86_400.0, -3_600.0, -0.5, 0.5, 3_600.0, 86_400.0]
RESULTS = 500


def _arrived(here: World, method: str) -> int:
    return sum(arrival.method == method for arrival in here.sandbox.arrivals.last)


def _planning(here: World) -> bool:
    return _arrived(here, "GET") >= 2


def _in_flight(here: World) -> bool:
    """The service has a chunk, and has not answered it."""
    return any(arrival.method == "POST" and arrival.status is None for arrival in here.sandbox.arrivals.last)


def _verifying(here: World) -> bool:
    if here.path is None:
        return False
    ledger = JobLedger.look(here.path)
    ledger.checkpoint.close()
    return bool(ledger.job["state"] == "verifying")


MOMENTS: dict[str, Callable[[World], bool]] = {
    "while planning": _planning,
    "between intent and outcome": _in_flight,
    "while verifying": _verifying,
}


async def _when(here: World, fact: Callable[[World], bool]) -> None:
    while not fact(here):  # noqa: ASYNC110 - time is virtual
        await anyio.sleep(0.02)


def _slow_service_that_loses_answers() -> dict[str, float]:
    return {"latency": 0.2, "errors_after": 0.1, "reset_after": 0.1, "evaluation_time": 3.0}


@pytest.mark.parametrize("jump_s", JUMPS_S)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_clock_that_jumps_changes_nothing_that_is_done(tmp_path: Path, moment: str, jump_s: float) -> None:
    """By a day, an hour or half a second (NTP), forward or back, in any stage; a suspended machine wakes up like that, too."""

    async def story() -> None:
        async with world(tmp_path, 21, RESULTS, **_slow_service_that_loses_answers()) as here:
            here.read(SPEC)
            jumped: list[float] = []

            async def jump() -> None:
                await _when(here, MOMENTS[moment])
                here.clock_s += jump_s
                jumped.append(jump_s)

            async with anyio.create_task_group() as beside:
                beside.start_soon(jump)
                counts = await here.live()
                beside.cancel_scope.cancel()
            assert jumped
            assert counts is not None
            assert here.audit()["evaluations"]["evaluated_twice"] == 0
            assert set(here.evaluated()) == here.eligible
            assert anyio.current_time() < 600, "nobody waited for the clock"

    virtual_time.run(story)


@pytest.mark.parametrize("jump_s", JUMPS_S)
@pytest.mark.parametrize("moment", ["while planning", "between intent and outcome"])
def test_a_job_that_is_resumed_by_another_clock_ends_as_it_would_have(
    tmp_path: Path, moment: str, jump_s: float
) -> None:
    """Killed, carried to a machine whose clock is a day off, and resumed while the service is still at work on a request."""

    async def story() -> None:
        async with world(tmp_path, 22, RESULTS, **_slow_service_that_loses_answers()) as here:
            here.read(SPEC.replace("timeout: 5s, settle: 20s", "timeout: 30s, settle: 60s"))
            quick = here.sandbox.settings
            if moment != "while planning":
                here.sandbox.settings = replace(quick, latency=15.0)
            assert await here.live(lambda: _when(here, MOMENTS[moment])) is None
            here.clock_s += jump_s
            here.sandbox.settings = quick
            assert await here.live() is not None
            await anyio.sleep(60)  # by then the service has done all that it was ever asked
            assert here.audit()["evaluations"]["evaluated_twice"] == 0
            assert set(here.evaluated()) == here.eligible

    virtual_time.run(story)


@pytest.mark.parametrize("sort", ["clocks", "power", "disk"])
@pytest.mark.parametrize("seed", range(3))
def test_jobs_live_through_clocks_power_cuts_and_failing_disks(tmp_path: Path, sort: str, seed: int) -> None:
    """A sample of what `make torture` does by the hundred."""
    tally = live(sort, seed, tmp_path / "life")
    assert (tally.lost, tally.doubled, tally.corrupt) == (0, 0, 0)


def test_a_seed_replays_a_disk_on_which_a_failed_sync_once_tore_a_checkpoint(tmp_path: Path) -> None:
    """Sync failed for good, the job was resumed on the mended disk, and then the power was cut."""
    tally = live("disk", 383, tmp_path / "life")
    assert tally.whole
