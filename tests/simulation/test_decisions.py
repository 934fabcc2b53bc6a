"""What a person decides about held items, at any stage of a job and with any key; and looks that take their time."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from engine import held
from engine.errors import GuardError
from engine.fates import ItemFate
from engine.jobledger import JobLedger
from jobs.sandbox.sql import column
from tests.simulation.test_promises import DELETE, EVALUATE, spec
from tests.simulation.world import World, world
from tests.virtual_time import run

A, H, U = ItemFate.ACCEPTED, ItemFate.HELD, ItemFate.UNSETTLED


async def books(here: World) -> tuple[str, dict[str, int]]:
    """The state of the job and how many items have which fate."""
    assert here.path is not None
    ledger = JobLedger.look(here.path)
    counts = await ledger.counts()
    ledger.checkpoint.close()
    return ledger.job["state"], {fate: items for fate, items in counts.items() if items}


async def held_midway(here: World, state: str) -> None:
    """A job of which the first chunk is held, whatever else has become of it."""
    await here.plan()
    assert here.path is not None
    ledger = JobLedger.resume(here.path)
    first = (await ledger.pending(-1, 10**9, 1))[0]
    await ledger.begin(first, 1.0)
    await ledger.settle(first, A, None, dict.fromkeys(first.ids, (H, "look")))
    await ledger.note(state=state)
    ledger.checkpoint.close()


@pytest.mark.parametrize("decision", [held.release, held.retry])
def test_a_decision_about_some_items_leaves_none_of_the_others_behind(tmp_path: Path, decision: held.Decision) -> None:
    """Decided while the job is in the middle of its work: what was not sent yet is sent as if nothing had been decided."""

    async def story() -> None:
        async with world(tmp_path, 15, 2000) as here:
            here.read(spec(EVALUATE % 11, settle="5s"))
            await held_midway(here, "working")
            counts = await here.live(first=decision)
            assert counts is not None
            assert counts[ItemFate.ACCEPTED] + counts[ItemFate.CONFIRMED] == sum(counts.values()) > 200
            assert here.audit()["evaluations"]["evaluated_twice"] == 0
            assert counts[ItemFate.CONFIRMED] > (200 if decision is held.retry else 100)

    run(story)


@pytest.mark.parametrize(("decision", "state"), [(held.release, "verifying"), (held.retry, "working")])
def test_a_decision_and_what_follows_from_it_are_one_transaction(
    tmp_path: Path, decision: held.Decision, state: str
) -> None:
    """A kill behind it finds the items let go and the job on its way to them."""

    async def story() -> None:
        async with world(tmp_path, 15, 300) as here:
            here.read(spec(EVALUATE % 11))
            await held_midway(here, "finished")
            assert here.path is not None
            ledger = JobLedger.resume(here.path)
            items = {key: ["as", "it", "is"] for key in await ledger.held()}
            await (ledger.release_held() if decision is held.release else ledger.retry_held(items, {}))
            assert ledger.job["state"] == state
            ledger.checkpoint.close()
            found, counts = await books(here)
            assert found == state
            assert H not in counts

    run(story)


def test_another_account_decides_nothing(tmp_path: Path) -> None:
    """With a key that sees none of what is held, nothing is taken for gone."""

    async def story() -> None:
        async with world(tmp_path, 5, 600) as here, world(tmp_path / "other", 6, 0) as other:
            here.read(spec(EVALUATE % 11))
            await held_midway(here, "finished")
            before = await books(here)
            here.origin, here.key = other.origin, "another"
            with pytest.raises(GuardError, match="not the key"):
                await here.live(first=held.retry)
            assert await books(here) == before

    run(story)


@pytest.mark.parametrize("action", [DELETE, EVALUATE % 11])
def test_one_item_that_is_gone_does_not_stop_the_others(tmp_path: Path, action: str) -> None:
    """A small plan whose first item somebody else has deleted."""

    async def story() -> None:
        async with world(tmp_path, 12, 60) as here:
            here.read(spec(action))
            await here.plan()
            assert here.path is not None
            ledger = JobLedger.look(here.path)
            first = (await ledger.items(limit=1))[0]["id"]
            ledger.checkpoint.close()
            await anyio.sleep(100)
            column(here.sandbox.store.db, "UPDATE result SET deleted_us = 1 WHERE id = ? RETURNING id", first)
            here.sandbox.store.listing.gone([first])
            counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.SKIPPED] == 1
            assert counts[ItemFate.ACCEPTED] + counts[ItemFate.CONFIRMED] == sum(counts.values()) - 1 > 5

    run(story)


def test_looks_that_take_longer_than_they_count_for_come_to_an_end(tmp_path: Path) -> None:
    """Eight agents at one request in two seconds: each is looked at and sent, and no look is wasted on the next."""

    async def story() -> None:
        async with world(tmp_path, 13, 3000) as here:
            slow = spec(EVALUATE % 11, verify="0s").replace("scope: {agent_id: 101}", "").replace("50/s", "30/m")
            here.read(slow)
            await here.plan()
            planned = here.sandbox.arrivals.total
            counts = await here.live()
            assert counts is not None
            assert counts[ItemFate.ACCEPTED] == sum(counts.values())
            writes = sum(arrival.method == "POST" for arrival in here.sandbox.arrivals.last)
            assert here.sandbox.arrivals.total - planned - writes < 3 * planned

    run(story)
