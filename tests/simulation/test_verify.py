"""What is said to be done was done: before and after by the service's own books, and absence only where it is proof."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import anyio
import pytest

from engine.fates import ItemFate
from engine.jobledger import JobLedger
from engine.report import each_item, summarize
from engine.tasks import task_group
from engine.verify import HIDDEN_ITEM, UNCHANGED
from jobs.sandbox.sql import column, select
from tests.simulation.world import World, world
from tests.virtual_time import run

EVALUATE = "{type: evaluate_metrics, metrics: [11]}"
DELETE = "{type: delete_results}"


def spec(action: str, where: str = "{status: [completed, failed]}") -> str:
    """A spec of one job on results of agent 101."""
    return f"""
version: 1
jobs:
  - name: verified
    resource: results
    scope: {{agent_id: 101}}
    where: {where}
    action: {action}
    guards: {{require_complete: false}}
    limits: {{rate: 50/s, concurrency: 4}}
"""


def rates(here: World) -> dict[int, float]:
    """The success rate of every result of agent 101 by the service's own books."""
    share = "CASE WHEN completed_runs THEN 1.0 * success_runs / completed_runs ELSE 0.0 END"
    return dict(select(here.sandbox.store.db, f"SELECT id, {share} FROM result WHERE agent = 101"))


def gone(here: World) -> set[int]:
    """The results that were deleted, by the service's own books."""
    return {row[0] for row in select(here.sandbox.store.db, "SELECT id FROM result WHERE deleted_us IS NOT NULL")}


def keep(here: World, every: int, instead: str = "agent = agent") -> None:
    """Let the service answer 204 and yet not delete one result in so many."""
    here.sandbox.store.db.execute(f"""
        CREATE TRIGGER keep AFTER UPDATE OF deleted_us ON result WHEN new.deleted_us IS NOT NULL AND new.id % {every} = 0
        BEGIN UPDATE result SET deleted_us = NULL, {instead} WHERE id = new.id; END""")


async def reported(here: World) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """The report, and its items by id."""
    assert here.path is not None
    ledger = JobLedger.look(here.path)
    try:
        return await summarize(ledger), {item["id"]: item async for item in each_item(ledger)}
    finally:
        ledger.checkpoint.close()


async def verifying(here: World, counts: str = "accepted") -> None:
    """Until the job is verifying, and so far that some items are `counts`."""
    while True:
        await anyio.sleep(0.05)
        if here.path is not None and here.path.exists():
            ledger = JobLedger.look(here.path)
            done = (await ledger.counts())[counts]
            ledger.checkpoint.close()
            if ledger.job["state"] == "verifying" and done:
                return


@pytest.mark.parametrize("killed", [False, True])
def test_before_and_after_are_those_of_the_service(tmp_path: Path, killed: bool) -> None:  # noqa: FBT001 - parametrized
    """Item by item and in sum, also when the process was killed while some were confirmed and others under way."""

    async def story() -> None:
        async with world(tmp_path, 21, 2500, evaluation_time=8.0, latency=0.2) as here:
            here.read(spec(EVALUATE))
            before = rates(here)
            if killed:
                assert await here.live(lambda: verifying(here, "confirmed")) is None
            await here.live()
            after = rates(here)
            summary, items = await reported(here)
            done = {item for item, told in items.items() if told["fate"] == ItemFate.CONFIRMED}
            assert len(done) > 300
            for item, told in items.items():
                assert told["before"] == pytest.approx(before[item])
                assert told["after"] == (pytest.approx(after[item]) if item in done else None)
            _agrees(summary["change"], {item: (before[item], after[item]) for item in done})
            assert summary["accepted"]["unchanged"] == summary["counts"]["accepted"] == len(items) - len(done)

    run(story)


def _agrees(change: dict[str, Any], moved: dict[int, tuple[float, float]]) -> None:
    differences = {item: after - before for item, (before, after) in moved.items()}
    assert change["measure"] == "success rate"
    assert change["items"] == len(moved)
    assert change["before"] == pytest.approx(fmean(before for before, _ in moved.values()))
    assert change["after"] == pytest.approx(fmean(after for _, after in moved.values()))
    assert change["improved"] == sum(difference > 1e-9 for difference in differences.values()) > 0
    assert change["fell"] == sum(difference < -1e-9 for difference in differences.values()) > 0
    assert change["stayed"] == len(moved) - change["improved"] - change["fell"] > 0
    told = [mover["after"] - mover["before"] for mover in change["movers"]]
    ranked = sorted(differences.values())
    assert told == pytest.approx([*reversed(ranked[-5:]), *ranked[:5]])
    assert all((mover["before"], mover["after"]) == pytest.approx(moved[mover["id"]]) for mover in change["movers"])


def test_without_waiting_a_job_ends_and_can_be_looked_at_again(tmp_path: Path) -> None:
    """What the service is still at work on stays accepted and is told; resuming confirms it, and sends nothing again."""

    async def story() -> None:
        async with world(tmp_path, 22, 900, evaluation_time=120.0) as here:
            here.read(spec(EVALUATE, "{status: completed, completed_runs_count: {gt: 0}}"))
            here.wait = False
            await here.live()
            ended_s = anyio.current_time()
            summary, _ = await reported(here)
            assert (summary["state"], summary["change"]) == ("finished", None)
            assert summary["accepted"]["working"] == summary["counts"]["accepted"] == summary["counts"]["planned"] > 0
            assert ended_s < 60
            here.wait = True
            calls = here.audit()["evaluations"]["calls"]
            await here.live()
            assert anyio.current_time() > 120
            summary, _ = await reported(here)
            assert (summary["state"], summary["accepted"]["working"]) == ("finished", 0)
            assert summary["change"]["items"] == summary["counts"]["confirmed"] == summary["counts"]["planned"]
            assert here.audit()["evaluations"]["calls"] == calls
            requests = here.sandbox.arrivals.total
            await here.live()
            assert here.sandbox.arrivals.total == requests, "there is nothing left to look at"

    run(story)


WAYS = {  # how what was deleted is read back, by the settings and the spec that lead there
    "walk": (100, "{status: [completed, failed]}"),
    "unproven walk, then by id": (5, "{status: [completed, failed]}"),
    "by id": (12, "{status: failed}"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wait", [True, False])
def test_what_was_not_deleted_has_failed_with_words(tmp_path: Path, way: str, wait: bool) -> None:  # noqa: FBT001 - parametrized
    """The service says 204 and skips some in silence: exactly these have failed, all others are gone and confirmed."""

    async def story() -> None:
        size, where = WAYS[way]
        async with world(tmp_path, 23, 900, max_page_size=size) as here:
            here.read(spec(DELETE, where))
            keep(here, every=3)
            here.wait = wait
            await here.live()
            summary, items = await reported(here)
            failed = {item for item, told in items.items() if told["fate"] == ItemFate.FAILED}
            assert {item for item, told in items.items() if told["fate"] == ItemFate.CONFIRMED} == gone(here) != set()
            assert failed == items.keys() - gone(here) != set()
            assert {items[item]["error"] for item in failed} == {UNCHANGED}
            assert summary["change"] is None

    run(story)


@pytest.mark.parametrize("wait", [True, False])
def test_a_deletion_that_shows_a_little_later_has_not_failed(tmp_path: Path, wait: bool) -> None:  # noqa: FBT001 - parametrized
    """A verdict of failure is given some seconds, with --no-wait too."""

    async def story() -> None:
        async with world(tmp_path, 28, 900) as here:
            here.read(spec(DELETE))
            keep(here, every=3, instead="name = 'late'")
            here.wait = wait

            async def delete_late() -> None:
                await verifying(here)
                await anyio.sleep(2)
                here.sandbox.store.db.execute("DROP TRIGGER keep; UPDATE result SET deleted_us = 1 WHERE name = 'late'")
                late = column(here.sandbox.store.db, "SELECT id FROM result WHERE name = 'late'")
                here.sandbox.store.listing.gone(late)

            async with task_group() as service:
                service.start_soon(delete_late)
                counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) == len(gone(here)) > 100

    run(story)


def test_ten_thousand_deletions_are_verified_in_some_hundred_requests(tmp_path: Path) -> None:
    """By walking over what is left, not by a request for each."""

    async def story() -> None:
        async with world(tmp_path, 24, 16_000) as here:
            here.read(spec(DELETE, "{status: completed}").replace("scope: {agent_id: 101}", "scope: {}"))
            keep(here, every=1000)
            await here.plan()
            planned = here.sandbox.arrivals.total
            await here.live()
            summary, items = await reported(here)
            assert summary["counts"]["planned"] > 10_000
            assert {item for item, told in items.items() if told["fate"] == ItemFate.CONFIRMED} == gone(here)
            assert summary["counts"]["failed"] == len(items) - len(gone(here)) > 0
            reads = here.sandbox.arrivals.total - planned - len(items) // 100
            assert reads < 600  # a walk before they are sent, as far as the minute of the plan is over, and one after

    run(story)


def test_what_left_the_scope_is_not_taken_for_deleted(tmp_path: Path) -> None:
    """Where the list leaves out what is there, its silence proves nothing, and each item is asked for."""

    async def story() -> None:
        async with world(tmp_path, 25, 900) as here:
            here.read(spec(DELETE))
            keep(here, every=1, instead="agent = 102")
            await here.live()
            summary, items = await reported(here)
            assert summary["counts"]["failed"] == len(items) > 100
            assert gone(here) == set()

    run(story)


def test_what_an_unproven_walk_did_not_meet_is_asked_for_one_by_one(tmp_path: Path) -> None:
    """A few that the list leaves out would slip through a sample; a walk that is no proof confirms none at all."""

    async def story() -> None:
        async with world(tmp_path, 27, 900, max_page_size=5) as here:
            here.read(spec(DELETE))
            keep(here, every=30, instead="agent = 102")
            await here.live()
            _, items = await reported(here)
            assert {item for item, told in items.items() if told["fate"] == ItemFate.CONFIRMED} == gone(here)
            assert 0 < len(items) - len(gone(here)) < 15

    run(story)


@pytest.mark.parametrize("where", ["{status: [completed, failed]}", "{status: failed}"])
def test_another_accounts_key_confirms_no_deletion(tmp_path: Path, where: str) -> None:
    """Killed while verifying and resumed with a key that sees nothing: nothing is confirmed, and the right key can tell later."""

    async def story() -> None:
        async with (
            world(tmp_path, 26, 900, latency=0.5, max_page_size=12) as here,
            world(tmp_path / "other", 6, 0) as other,
        ):
            here.read(spec(DELETE, where))
            keep(here, every=3)
            assert await here.live(lambda: verifying(here)) is None
            own, here.origin, here.key = here.origin, other.origin, "another"
            counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.CONFIRMED] == counts[ItemFate.FAILED] == 0
            summary, items = await reported(here)
            assert summary["accepted"]["hidden"] == counts[ItemFate.ACCEPTED] == len(items)
            assert {told["error"] for told in items.values()} == {HIDDEN_ITEM}
            here.origin, here.key = own, "own"
            await here.live()
            summary, items = await reported(here)
            assert {item for item, told in items.items() if told["fate"] == ItemFate.CONFIRMED} == gone(here)
            assert summary["counts"]["failed"] == len(items) - len(gone(here)) > 0
            assert {told["error"] for told in items.values()} == {None, UNCHANGED}

    run(story)
