"""The plan is what runs: hashed, valid for a day, and held to before anything is changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import apsw
import pytest

from engine.errors import GuardError
from engine.fates import ItemFate
from engine.jobledger import JobLedger
from tests.simulation.world import World, world
from tests.virtual_time import run

DAY_S = 86_400.0
SPEC = """
version: 1
jobs:
  - name: held
    resource: results
    where: {status: [completed, failed]}
    action: {type: %s}
    limits: {rate: 50/s, concurrency: 4, timeout: 5s, settle: 20s, verify: 60s}
"""
EVALUATE, DELETE = SPEC % "evaluate_metrics, metrics: [11]", SPEC % "delete_results"


def changed(here: World) -> int:
    """How many requests that change something the service has had."""
    return sum(arrival.method == "POST" for arrival in here.sandbox.arrivals.last)


def state(here: World) -> str:
    """What the checkpoint says."""
    assert here.path is not None
    ledger = JobLedger.look(here.path)
    ledger.checkpoint.close()
    return str(ledger.job["state"])


async def done(here: World) -> bool:
    """Live to the end; whether everything that was planned is done."""
    counts = await here.live()
    assert counts is not None
    return counts[ItemFate.ACCEPTED] + counts[ItemFate.CONFIRMED] == sum(counts.values()) > 0


@pytest.mark.parametrize("text", [EVALUATE, DELETE])
@pytest.mark.parametrize(
    ("later_s", "words"),
    [
        (DAY_S + 1, r"The plan is 24 h old; plans are valid for 24 h\. .* Plan again: .* rebatch run \w+ --plan-ttl 3d"),
        (3.2 * DAY_S, r"The plan is 3\.2 days old; plans are valid for 24 h"),
        (-301.0, r"The plan is dated .* in the future, so how old it is cannot be told\. Nothing was changed\."),
        (-30 * DAY_S, r"30 days in the future"),
    ],
)  # fmt: skip
def test_a_plan_that_is_too_old_or_of_the_future_is_not_begun(
    tmp_path: Path, text: str, later_s: float, words: str
) -> None:
    """It stays a plan, and when the clock is right again, it is carried out."""

    async def story() -> None:
        async with world(tmp_path, 21, 300) as here:
            here.read(text)
            await here.plan()
            here.clock_s += later_s
            with pytest.raises(GuardError, match=words):
                await here.live()
            assert (changed(here), state(here)) == (0, "planned")
            here.clock_s -= later_s
            assert await done(here)

    run(story)


@pytest.mark.parametrize("later_s", [DAY_S - 60, -240.0, 0.0])
def test_a_plan_of_today_is_begun(tmp_path: Path, later_s: float) -> None:
    """Two machines' clocks may be some minutes apart."""

    async def story() -> None:
        async with world(tmp_path, 22, 300) as here:
            here.read(DELETE)
            await here.plan()
            here.clock_s += later_s
            assert await done(here)

    run(story)


def test_whoever_means_it_begins_an_old_plan(tmp_path: Path) -> None:
    """--plan-ttl 7d."""

    async def story() -> None:
        async with world(tmp_path, 23, 300) as here:
            here.read(DELETE)
            await here.plan()
            here.clock_s += 6 * DAY_S
            here.plan_ttl_s = 7 * DAY_S
            assert await done(here)

    run(story)


def test_a_job_that_was_begun_is_finished_however_old_its_plan_is(tmp_path: Path) -> None:
    """A kill in the middle, and a week until somebody resumes."""

    async def story() -> None:
        async with world(tmp_path, 24, 900) as here:
            here.read(DELETE)
            await here.plan()
            here.sandbox.settings = replace(here.sandbox.settings, latency=0.5)
            assert await here.live(lambda: _until(here, posts=2)) is None
            assert state(here) == "working"
            here.clock_s += 7 * DAY_S
            assert await done(here)

    run(story)


async def _until(here: World, posts: int) -> None:
    while changed(here) < posts:  # noqa: ASYNC110 - time is virtual
        await anyio.sleep(0.05)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE item SET id = 999999 WHERE seq = 5",
        "INSERT INTO item (seq, id, grp, fingerprint) SELECT max(seq) + 1, 999999, max(grp), '[]' FROM item",
        "UPDATE item SET fingerprint = '[]' WHERE seq = 1",
        "UPDATE job SET value = replace(value, '11', '12') WHERE key = 'raw'",
        "DELETE FROM job WHERE key = 'plan_hash'",
    ],
)
def test_a_plan_that_is_not_the_one_that_was_made_is_not_begun(tmp_path: Path, statement: str) -> None:
    """Somebody, or a bad disk, has changed what is to be done since a person looked at it."""

    async def story() -> None:
        async with world(tmp_path, 25, 300) as here:
            here.read(EVALUATE)
            await here.plan()
            db = apsw.Connection(str(here.path))
            db.execute(statement)
            db.close()
            for _ in range(2):
                with pytest.raises(
                    GuardError, match=r"is not the one that was made\. Nothing was changed\. Plan again"
                ):
                    await here.live()
            assert (changed(here), state(here)) == (0, "planned")

    run(story)


def test_a_kill_before_the_first_write_does_not_spoil_the_plan(tmp_path: Path) -> None:
    """Whoever is killed while looking at the plan's items again can be resumed: the plan is still the one that was made."""

    async def story() -> None:
        async with world(tmp_path, 26, 600, latency=0.05) as here:
            here.read(EVALUATE)
            await here.plan()
            before = changed(here)
            for _ in range(5):
                await here.live(lambda: anyio.sleep(here.dice.uniform(0.0, 0.05)))
            assert changed(here) == before
            assert await done(here)
            assert here.kills == 5
            assert set(here.evaluated().values()) == {1}

    run(story)


def test_the_plan_goes_from_the_newest_to_the_oldest(tmp_path: Path) -> None:
    """Group by group, as the list itself does."""

    async def story() -> None:
        async with world(tmp_path, 27, 500) as here:
            here.read(DELETE)
            await here.plan()
            assert here.path is not None
            ledger = JobLedger.look(here.path)
            ids = [item["id"] for item in await ledger.items()]
            ledger.checkpoint.close()
            assert ids == sorted(ids, reverse=True)
            assert len(ids) > 100

    run(story)
