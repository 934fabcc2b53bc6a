"""One story for each way in which a promise was once broken."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from engine import held
from engine.errors import Exit, GuardError, ServiceError, SignalledError, UsageError
from engine.fates import ItemFate
from engine.jobledger import JobLedger
from engine.tasks import task_group
from engine.work import Work
from jobs.cli.how import How
from jobs.cli.options import Settings
from jobs.cli.runner import Runner
from jobs.credentials import Credentials
from jobs.sandbox.audit import evaluations
from jobs.sandbox.sql import select
from tests.simulation.world import World, world
from tests.virtual_time import run


def spec(action: str, **limits: object) -> str:
    """A spec of one job on all completed and failed results of agent 101."""
    given = "".join(f", {name}: {value}" for name, value in limits.items())
    return f"""
version: 1
jobs:
  - name: story
    resource: results
    scope: {{agent_id: 101}}
    where: {{status: [completed, failed]}}
    action: {action}
    limits: {{rate: 50/s, concurrency: 4{given}}}
"""


EVALUATE = "{type: evaluate_metrics, metrics: [%d]}"
DELETE = "{type: delete_results}"


def runs_of(here: World, metric: int) -> dict[str, int]:
    """How often each run was evaluated by a metric."""
    return evaluations(here.sandbox.store.db, 101, metric)


def test_what_moved_between_plan_and_run_is_left_out_and_not_taken_for_our_doing(tmp_path: Path) -> None:
    """Of a plan of yesterday, a third was evaluated by somebody else since, and answers are lost: the rest is done once."""

    async def story() -> None:
        async with world(tmp_path, 3, 900) as here:
            here.read(spec(EVALUATE % 12, settle="5s", timeout="2s"))
            await here.plan()
            planned, here.path = here.path, None
            here.read(spec(EVALUATE % 11).replace("where: {", "where: {is_cronjob: true, "))
            await here.live()
            moved = set(runs_of(here, 11))
            here.path = planned
            here.read(spec(EVALUATE % 12, settle="5s", timeout="2s"))
            here.sandbox.settings = replace(here.sandbox.settings, errors=0.6, only="writes")
            counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.SKIPPED] > 20
            done = runs_of(here, 12)
            assert not moved & set(done), "what is no longer as it was planned is not touched"
            assert max(done.values()) == 1
            everything = {run for run in here.eligible if run in done or run in moved}
            assert moved | set(done) == everything
            assert counts[ItemFate.ACCEPTED] + counts[ItemFate.CONFIRMED] + counts[ItemFate.SKIPPED] == sum(
                counts.values()
            )

    run(story)


async def _until_written(here: World) -> None:
    """Until the service has a request that changes something, and a little longer."""
    while not any(arrival.method == "POST" for arrival in here.sandbox.arrivals.last):  # noqa: ASYNC110 - time is virtual
        await anyio.sleep(1)
    await anyio.sleep(1)


@pytest.mark.parametrize("jump_s", [-86_400.0, 3_600.0])
def test_a_clock_that_jumps_makes_nothing_be_sent_twice(tmp_path: Path, jump_s: float) -> None:
    """Killed in flight, resumed at once with another clock: the service's work on the request is waited for all the same."""

    async def story() -> None:
        async with world(tmp_path, 4, 900) as here:
            here.read(spec(EVALUATE % 11, settle="60s", timeout="50s"))
            await here.plan()
            here.sandbox.settings = replace(here.sandbox.settings, latency=40.0, only="writes")
            assert await here.live(lambda: _until_written(here)) is None
            assert here.audit()["evaluations"]["calls"] == 0, "the service is at work on it"
            here.sandbox.settings = replace(here.sandbox.settings, latency=0.0)
            here.clock_s += jump_s
            await here.live()
            await anyio.sleep(60)  # by then the service has done all that it was ever asked
            assert here.audit()["evaluations"]["evaluated_twice"] == 0
            assert set(runs_of(here, 11)) <= here.eligible

    run(story)


@pytest.mark.parametrize("action", [DELETE, EVALUATE % 11])
def test_a_job_stops_when_nothing_of_its_plan_can_be_seen(tmp_path: Path, action: str) -> None:
    """The key of another account at the same address sees no item of the plan; a deletion would be confirmed by absence."""

    async def story() -> None:
        async with world(tmp_path, 5, 600) as here, world(tmp_path / "other", 6, 0) as other:
            here.read(spec(action))
            await here.plan()
            here.origin, here.key = other.origin, "another"
            with pytest.raises(GuardError, match="account"):
                await here.live()
            assert other.audit()["totals"]["by_status"].keys() == {"404"}

    run(story)


def test_a_deletion_is_confirmed_only_where_the_result_is_gone(tmp_path: Path) -> None:
    """What the service took and did not delete has failed, with words; the rest is confirmed."""

    async def story() -> None:
        async with world(tmp_path, 7, 600) as here:
            here.read(spec(DELETE))
            here.sandbox.settings = replace(here.sandbox.settings, churn=0.0)
            await here.plan()
            counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) == here.audit()["deletions"]["results"]

    run(story)


def test_a_signal_that_came_while_planning_ended_begins_nothing(tmp_path: Path) -> None:
    """Draining that began too late to cut the plan short still keeps the first write from being sent."""

    async def story() -> None:
        async with world(tmp_path, 8, 600) as here:
            here.read(spec(DELETE))
            settings = Settings(quiet=True, state_dir=tmp_path / "state")
            runner = Runner(settings, Credentials(here.sandbox.key, here.origin, "test"), How(yes=True))
            ledger = await runner.begin(here.spec, "test")
            await runner.plan(ledger, here.spec)
            runner._control.drain(SignalledError(Exit.SIGINT))
            with pytest.raises(SignalledError) as stopped:
                await runner.carry_on(ledger, here.spec)
            assert stopped.value.exit_code == Exit.SIGINT
            assert ledger.job["job"] in stopped.value.remedy
            assert here.audit()["deletions"]["results"] == 0

    run(story)


def test_one_gate_serves_all_stages_and_jobs_of_a_command(tmp_path: Path) -> None:
    """At one request a second, the last read of the plan and the first write are a second apart."""

    async def story() -> None:
        async with world(tmp_path, 9, 300) as here:
            here.read(spec(EVALUATE % 11, verify="0s").replace("50/s", "1/s"))
            settings = Settings(quiet=True, state_dir=tmp_path / "state")
            runner = Runner(settings, Credentials(here.sandbox.key, here.origin, "test"), How(yes=True))
            ledger = await runner.begin(here.spec, "test")
            await runner.carry_on(ledger, here.spec)
            at = [arrival.at_s for arrival in here.sandbox.arrivals.last]
            assert len(at) > 2
            assert min(later - earlier for earlier, later in pairwise(at)) > 0.99

    run(story)


def test_an_outage_holds_a_bounded_number_of_chunks(tmp_path: Path) -> None:
    """When nothing is answered, what waits for its fate is bounded; the rest waits in the checkpoint, not in memory."""

    async def story() -> None:
        async with world(tmp_path, 10, 40_000) as here:
            here.read(
                spec(EVALUATE % 11, settle="10m", timeout="2s").replace("agent_id: 101", "").replace("50/s", "1000/s")
            )
            await here.plan()
            here.sandbox.settings = replace(here.sandbox.settings, errors=1.0, only="writes")
            assert await here.live(lambda: anyio.sleep(60)) is None
            assert here.path is not None
            ledger = JobLedger.look(here.path)
            counts = await ledger.counts()
            assert 0 < counts[ItemFate.UNSETTLED] <= 256 * 100
            assert counts[ItemFate.NOT_ATTEMPTED] > 0
            ledger.checkpoint.close()

    run(story)


def test_a_plan_fails_when_a_page_cannot_be_had(tmp_path: Path) -> None:
    """A part of a list is never taken for the whole."""

    async def story() -> None:
        async with world(tmp_path, 11, 3000) as here:
            here.read(spec(DELETE).replace("agent_id: 101", ""))
            here.sandbox.settings = replace(here.sandbox.settings, truncate=1.0)
            with pytest.raises(ServiceError, match="broke off"):
                await here.plan()
            assert here.path is not None
            assert JobLedger.look(here.path).job["state"] == "planning"
            assert anyio.current_time() > 1

    run(story)


def test_what_is_gone_since_the_plan_is_left_out_and_spoils_nothing(tmp_path: Path) -> None:
    """Results deleted between plan and run are skipped with words; all others are evaluated."""

    async def story() -> None:
        async with world(tmp_path, 12, 900) as here:
            here.read(spec(EVALUATE % 11))
            await here.plan()
            here.sandbox.settings = replace(here.sandbox.settings, churn=20.0)
            await anyio.sleep(10)
            here.sandbox.advance()
            here.sandbox.settings = replace(here.sandbox.settings, churn=0.0)
            counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.SKIPPED] > 0
            assert counts[ItemFate.FAILED] == 0
            assert counts[ItemFate.ACCEPTED] + counts[ItemFate.CONFIRMED] + counts[ItemFate.SKIPPED] == sum(
                counts.values()
            )
            assert set(runs_of(here, 11).values()) == {1}

    run(story)


def test_a_checkpoint_without_its_wal_is_refused_after_a_kill(tmp_path: Path) -> None:
    """The main file alone would begin again with what was done and paid for; with the WAL the job is finished."""

    async def story() -> None:
        async with world(tmp_path, 13, 900) as here:
            here.read(spec(EVALUATE % 11))
            await here.plan()
            assert await here.live(lambda: _until_written(here)) is None
            assert here.path is not None
            alone = tmp_path / "alone" / here.path.name
            alone.parent.mkdir()
            shutil.copy(here.path, alone)
            with pytest.raises(UsageError, match="-wal"):
                JobLedger.resume(alone)
            counts = await here.live()
            assert counts is not None
            assert here.audit()["evaluations"]["evaluated_twice"] == 0

    run(story)


@pytest.mark.parametrize("said", ["by-id", "by-place", "not"])
@pytest.mark.parametrize("action", [DELETE, EVALUATE % 11])
def test_the_innocent_go_through_although_some_are_refused(tmp_path: Path, action: str, said: str) -> None:
    """Some results spoil every request they are in: they fail with the service's words, all others are done once."""

    async def story() -> None:
        async with world(tmp_path, 14, 900, poison=0.01, poison_said=said, errors_after=0.05, latency=0.7) as here:
            here.read(spec(action, settle="20s").replace("scope: {agent_id: 101}", ""))
            await here.plan()
            assert await here.live(lambda: _until_written(here)) is None
            counts = await here.live()
            assert counts is not None
            assert 3 < counts[ItemFate.FAILED] < 20
            assert counts[ItemFate.ACCEPTED] + counts[ItemFate.CONFIRMED] + counts[ItemFate.FAILED] == sum(
                counts.values()
            )
            assert here.path is not None
            ledger = JobLedger.look(here.path)
            failed = [item for item in await ledger.items(limit=2000) if item["fate"] == ItemFate.FAILED]
            assert all("can not be processed" in item["error"] for item in failed)
            ledger.checkpoint.close()
            if action == DELETE:
                assert here.audit()["deletions"]["results"] == counts[ItemFate.CONFIRMED]
            else:
                assert here.audit()["evaluations"]["evaluated_twice"] == 0

    run(story)


def test_what_never_moved_is_held_when_nothing_was_seen_to_move(tmp_path: Path) -> None:
    """Every answer is lost and nothing is ever done: whether it would show if it were, this job cannot know."""

    async def story() -> None:
        async with world(tmp_path, 15, 300) as here:
            here.read(spec(EVALUATE % 11, settle="5s"))
            await here.plan()
            here.sandbox.settings = replace(here.sandbox.settings, reset_before=1.0, only="writes")
            counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.HELD] == sum(counts.values()) > 0

    run(story)


@pytest.mark.parametrize("decision", [held.release, held.retry])
def test_a_person_decides_about_what_is_held(tmp_path: Path, decision: Callable[[Work], Awaitable[None]]) -> None:
    """Released, it counts as done and is read back; retried, it is sent again, once."""

    async def story() -> None:
        async with world(tmp_path, 15, 300) as here:
            here.read(spec(EVALUATE % 11, settle="5s"))
            await here.plan()
            here.sandbox.settings = replace(here.sandbox.settings, reset_before=1.0, only="writes")
            await here.live()
            here.sandbox.settings = replace(here.sandbox.settings, reset_before=0.0)
            counts = await here.live(first=decision)
            assert counts is not None
            assert counts[ItemFate.HELD] == 0
            evaluated = here.audit()["evaluations"]
            assert evaluated["evaluated_twice"] == 0
            if decision is held.retry:
                assert counts[ItemFate.CONFIRMED] > 0
                assert set(runs_of(here, 11).values()) == {1}
            else:
                assert counts[ItemFate.ACCEPTED] == sum(counts.values())
                assert evaluated["calls"] == 0

    run(story)


def test_the_first_items_go_alone_and_the_rest_follows(tmp_path: Path) -> None:
    """The canary is read back before anything else is sent."""

    async def story() -> None:
        async with world(tmp_path, 16, 900) as here:
            here.read(spec(DELETE).replace("limits:", "guards: {canary: 7}\n    limits:"))
            counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) == here.audit()["deletions"]["results"] > 100
            methods = [arrival.method for arrival in here.sandbox.arrivals.last]
            first = methods.index("POST")
            assert methods[first + 1] == "GET", "after the canary, a look"
            effects = select(
                here.sandbox.store.db, "SELECT request FROM effect WHERE kind = 'delete_result' ORDER BY rowid"
            )
            assert effects.count(effects[0]) == 7

    run(story)


def test_a_canary_that_dies_stops_everything_else(tmp_path: Path) -> None:
    """The service takes the first items and does nothing with them: a guard trips, and the rest is left alone for good."""

    async def story() -> None:
        async with world(tmp_path, 16, 900) as here:
            here.read(spec(DELETE).replace("limits:", "guards: {canary: 7}\n    limits:"))
            here.sandbox.store.db.execute("""
                CREATE TRIGGER keep AFTER UPDATE OF deleted_us ON result WHEN new.deleted_us IS NOT NULL
                BEGIN UPDATE result SET deleted_us = NULL WHERE id = new.id; END""")
            for _ in range(2):
                with pytest.raises(GuardError, match="Of the 7 items of `guards: canary`, 7 failed"):
                    await here.live()
                assert sum(arrival.method == "POST" for arrival in here.sandbox.arrivals.last) == 1

    run(story)


def test_a_job_stops_when_more_fails_than_it_may(tmp_path: Path) -> None:
    """Beyond the share of the plan nothing more is sent; whoever resumes brings new patience."""

    async def story() -> None:
        async with world(tmp_path, 17, 3000, poison=0.03) as here:
            guarded = spec(EVALUATE % 11).replace("scope: {agent_id: 101}", "").replace("4}", "1}")
            here.read(guarded.replace("limits:", "guards: {stop_on_failures: 10}\n    limits:"))
            with pytest.raises(
                GuardError, match=r"1\d of [\d,]+ items have failed; `guards: stop_on_failures` allows 10"
            ):
                await here.live()
            assert here.path is not None
            ledger = JobLedger.look(here.path)
            counts = await ledger.counts()
            assert 10 < counts[ItemFate.FAILED] < 20
            assert counts[ItemFate.NOT_ATTEMPTED] > 1000
            ledger.checkpoint.close()

    run(story)


def test_what_shows_only_at_the_second_reading_counts_as_done(tmp_path: Path) -> None:
    """The service takes longer than it was given: the first reading finds nothing moved, the second does."""

    async def story() -> None:
        async with world(tmp_path, 18, 900) as here:
            here.read(spec(EVALUATE % 11, settle="5s", timeout="2s"))
            counts: list[dict[str, int] | None] = []

            async def live() -> None:
                counts.append(await here.live())

            async def slow_writes() -> None:
                """Each write takes effect nine seconds after it came; reads are answered at once."""
                here.sandbox.settings = replace(here.sandbox.settings, latency=18.0)
                while sum(arrival.method == "POST" for arrival in here.sandbox.arrivals.last) < 2:  # noqa: ASYNC110 - virtual
                    await anyio.sleep(0.001)
                here.sandbox.settings = replace(here.sandbox.settings, latency=0.0)

            async with task_group() as group:
                group.start_soon(live)
                await _until_planned(here)
                await slow_writes()
            assert counts[0] is not None
            assert counts[0][ItemFate.HELD] == 0
            assert counts[0][ItemFate.CONFIRMED] + counts[0][ItemFate.ACCEPTED] == sum(counts[0].values())
            assert here.audit()["evaluations"]["evaluated_twice"] == 0

    run(story)


async def _until_planned(here: World) -> None:
    """Until the plan is frozen; what follows at once is the first write."""
    while True:
        await anyio.sleep(0.001)
        if here.path is None:
            continue
        ledger = JobLedger.look(here.path)
        state = ledger.job["state"]
        ledger.checkpoint.close()
        if state in {"planned", "working"}:
            return
