"""Orders given to a job at work, in virtual time: what is in flight finishes, what is said of each item is true."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import anyio
import pytest

from engine import job as stages
from engine import orders
from engine.control import Control
from engine.ear import LOOK_EVERY_S
from engine.errors import PausedError, StoppedError, UsageError
from engine.jobledger import JobLedger
from engine.ledger import ENDED
from engine.look import PROBES
from engine.orders import Orders
from engine.pace import Pacer
from engine.report import each_item, summarize
from engine.tasks import task_group
from engine.work import Work, working
from jobs.api import KEY_HEADER
from jobs.sandbox.audit import evaluations
from jobs.sandbox.sql import column
from tests.simulation.world import World, world
from tests.virtual_time import run

EVALUATE = "{type: evaluate_metrics, metrics: [11]}"
DELETE = "{type: delete_results}"
TROUBLE = {"errors": 0.1, "errors_after": 0.15, "reset_after": 0.1, "hang_after": 0.1, "reset_before": 0.05}
PAUSED, CANCELLED = Orders(paused=True), Orders(cancelled=True)


def spec(action: str = EVALUATE, **limits: object) -> str:
    """A spec of one job on all completed and failed results."""
    given = {"rate": "20/s", "concurrency": 4, "timeout": "5s", "settle": "10s", "verify": "1m", **limits}
    return f"""
version: 1
jobs:
  - name: story
    resource: results
    where: {{status: [completed, failed]}}
    action: {action}
    limits: {{{", ".join(f"{name}: {value}" for name, value in given.items())}}}
"""


class Process:
    """A process at work on the job of a world, as the command is: with a gate, and an ear for orders."""

    def __init__(self, here: World) -> None:
        """It begins with `live`."""
        self.here = here
        self.control = Control()
        self.pacer = Pacer(here.spec.limits.rate)
        self.stopped: StoppedError | None = None

    async def live(self, until: Callable[[], Awaitable[object]] | None = None) -> str:
        """Work on the job until it ends or stops, or kill the process when `until` is over; the state that is left."""
        async with task_group() as group:
            group.start_soon(self._work, group.cancel_scope)
            if until:
                await until()
                await self._die()
                group.cancel_scope.cancel()
        assert self.here.path
        if until:
            self.here.path = self.here.folder / str(self.here.kills) / self.here.path.name
        return str(books(self.here).job["state"])

    async def _work(self, whole: anyio.CancelScope) -> None:
        ledger = await self.here._open()
        try:
            secrets = {KEY_HEADER: self.here.sandbox.key}
            async with working(ledger, self.here.spec, secrets, self.pacer, self.control) as work:
                work.wall = lambda: self.here.clock_s + anyio.current_time()
                work.client.dice = self.here.dice
                await self._stages(work)
        except StoppedError as error:
            self.stopped = error
        ledger.checkpoint.close()
        whole.cancel()

    async def _stages(self, work: Work) -> None:
        await stages.plan(work)
        if work.ledger.job["state"] not in ENDED:
            await stages.carry_out(work)

    async def _die(self) -> None:
        """SIGKILL leaves what is on the disk, the orders among it."""
        self.here._remains()
        assert self.here.path
        if (file := orders.orders_path(self.here.path)).exists():
            shutil.copy(file, self.here.folder / str(self.here.kills) / file.name)


def books(here: World) -> JobLedger:
    """The job's books, to look at."""
    assert here.path
    return JobLedger.look(here.path)


def order(here: World, given: Orders) -> None:
    """Give orders, as a command in another process does."""
    assert here.path
    orders.give(here.path, lambda _before: given)


def writes(here: World) -> list[float]:
    """When requests that change something arrived."""
    return [arrival.at_s for arrival in here.sandbox.arrivals.last if arrival.method == "POST"]


async def until(fact: Callable[[], object], within_s: float = 600) -> None:
    """Let time pass until the fact holds."""
    with anyio.fail_after(within_s):
        while not fact():  # noqa: ASYNC110 - time is virtual
            await anyio.sleep(0.05)


async def items(here: World) -> dict[str, set[int]]:
    """The ids of the report, by fate."""
    found = defaultdict(set)
    async for item in each_item(books(here)):
        found[item["fate"]].add(item["id"])
    return found


def touched(here: World) -> set[int]:
    """Results on which anything was done, by the service's own account."""
    done = "SELECT DISTINCT result FROM effect WHERE kind IN ('evaluate', 'delete_result')"
    return set(column(here.sandbox.store.db, done))


async def assert_true(here: World) -> None:
    """The report agrees with what happened: nothing doubled, and nothing left out that was done."""
    said, done = await items(here), touched(here)
    assert here.audit()["evaluations"]["evaluated_twice"] == 0
    assert not said["skipped"] & done
    assert not said["failed"] & done
    assert said["confirmed"] <= done
    assert done <= said["confirmed"] | said["accepted"] | said["held"]
    assert not said["unsettled"]
    assert not said["not_attempted"]


def test_a_paused_job_finishes_what_is_in_flight_and_sends_nothing_until_it_goes_on(tmp_path: Path) -> None:
    """For hours, reads neither; then it comes to its end as if nothing had been."""

    async def story() -> None:
        async with world(tmp_path, 1, 900, latency=3.0) as here:
            here.read(spec())

            async def other() -> None:
                await until(lambda: len(writes(here)) >= 3)
                order(here, PAUSED)
                await anyio.sleep(LOOK_EVERY_S + 3.1)
                before = here.sandbox.arrivals.total
                ledger = books(here)
                assert (await ledger.counts())["unsettled"] == 0, "what was in flight has finished"
                assert (await summarize(ledger))["state"] == "paused"
                await anyio.sleep(4 * 3600)
                assert here.sandbox.arrivals.total == before
                assert here.audit()["evaluations"]["calls"] == len(writes(here))
                order(here, Orders())

            async with anyio.create_task_group() as group:
                group.start_soon(other)
                assert await Process(here).live() == "finished"
            assert set(evaluations(here.sandbox.store.db, None, 11)) == here.eligible
            await assert_true(here)

    run(story)


def test_a_cancelled_job_sends_nothing_more_and_tells_what_it_did(tmp_path: Path) -> None:
    """What was in flight finishes and is verified; what was never sent is skipped with words, for good."""

    async def story() -> None:
        async with world(tmp_path, 2, 2000, latency=1.0) as here:
            here.read(spec())
            sent = 0

            async def other() -> None:
                nonlocal sent
                await until(lambda: len(writes(here)) >= 5)
                order(here, CANCELLED)
                await anyio.sleep(LOOK_EVERY_S + 0.1)
                sent = len(writes(here))

            async with anyio.create_task_group() as group:
                group.start_soon(other)
                assert await Process(here).live() == "cancelled"
            assert len(writes(here)) == sent < 18
            await assert_true(here)
            said = await items(here)
            assert len(said["skipped"]) > 0
            assert len(said["confirmed"]) > 300
            assert (await books(here).reasons())[0][:2] == ("skipped", "cancelled before it was sent")
            assert here.path
            assert not orders.orders_path(here.path).exists()
            with pytest.raises(UsageError, match="for good"):
                await Process(here).live()
            assert len(writes(here)) == sent

    run(story)


@pytest.mark.parametrize("action", [EVALUATE, DELETE])
@pytest.mark.parametrize("seed", range(8))
def test_a_job_cancelled_in_trouble_finds_out_what_became_of_what_was_sent(
    tmp_path: Path, seed: int, action: str
) -> None:
    """Answers are lost before and after the effect: what is said to be left out was not done, what was done is said."""

    async def story() -> None:
        async with world(tmp_path, seed, 1500, latency=0.2, only="writes", **TROUBLE) as here:
            here.read(spec(action))

            async def other() -> None:
                await until(lambda: len(writes(here)) >= 4 + seed)
                order(here, CANCELLED)
                await anyio.sleep(LOOK_EVERY_S + 0.3)
                sent.append(len(writes(here)))

            sent: list[int] = []
            async with anyio.create_task_group() as group:
                group.start_soon(other)
                assert await Process(here).live() == "cancelled"
            assert sent == [len(writes(here))]
            await assert_true(here)

    run(story)


@pytest.mark.parametrize("action", [EVALUATE, DELETE])
@pytest.mark.parametrize("seed", range(8))
def test_orders_kills_and_trouble_together_double_and_lose_nothing(tmp_path: Path, seed: int, action: str) -> None:
    """Any orders at any time, processes killed in between, orders kept: the report is true in the end."""

    async def story() -> None:
        async with world(tmp_path, seed, 900, latency=0.2, only="writes", **TROUBLE) as here:
            here.read(spec(action))
            dice = Random(seed)
            last = CANCELLED if seed % 2 else Orders()

            async def orders_at_random() -> None:
                for _ in range(dice.randint(1, 4)):
                    await anyio.sleep(dice.uniform(0, 3))
                    if here.path and here.path.exists():
                        order(here, Orders(paused=dice.random() < 0.5, rate=dice.choice([None, "2/s", "40/s"])))

            for _ in range(3):
                process = Process(here)
                state = await process.live(orders_at_random)
                if state in ENDED:
                    break
                order(here, replace(orders.known(here.path), paused=False) if here.path else Orders())
            if state not in ENDED:
                order(here, last)
                state = await Process(here).live()
                assert state == ("cancelled" if last.cancelled else "finished")
            await assert_true(here)
            if action == EVALUATE and state == "finished":
                assert set(evaluations(here.sandbox.store.db, None, 11)) == here.eligible

    run(story)


def test_a_job_cancelled_while_it_is_planned_stops_reading(tmp_path: Path) -> None:
    """At once; it is cancelled and nothing was changed."""

    async def story() -> None:
        async with world(tmp_path, 3, 5000, latency=1.0) as here:
            here.read(spec(concurrency=1))

            async def other() -> None:
                await until(lambda: here.sandbox.arrivals.total >= 4)
                order(here, CANCELLED)

            async with anyio.create_task_group() as group:
                group.start_soon(other)
                assert await Process(here).live() == "cancelled"
            assert here.sandbox.arrivals.total <= 6
            assert (await summarize(books(here)))["counts"]["planned"] == 0

    run(story)


def test_a_throttled_job_keeps_to_the_new_rate_and_to_its_own_again(tmp_path: Path) -> None:
    """No second after the order carries more; lifted, it is as fast as before; the next process obeys as well."""

    async def story() -> None:
        async with world(tmp_path, 4, 9000) as here:
            here.read(spec())
            marks: list[float] = []

            async def other() -> None:
                for rate in ("2/s", None, "1/s"):
                    await until(lambda: not marks or len(writes(here)) >= 3)
                    await anyio.sleep(2)
                    order(here, Orders(rate=rate))
                    await anyio.sleep(LOOK_EVERY_S + 0.01)
                    marks.append(anyio.current_time())
                    await anyio.sleep(5)

            await Process(here).live(other)
            at = [arrival.at_s for arrival in here.sandbox.arrivals.last]
            slow, fast, slower = ([moment for moment in at if mark < moment < mark + 5] for mark in marks)
            assert _busiest(slow) <= 2
            assert len(fast) > 30
            assert _busiest(fast) <= 20
            assert _busiest(slower) <= 1
            began = here.sandbox.arrivals.total
            await Process(here).live(lambda: anyio.sleep(10))
            assert 5 < here.sandbox.arrivals.total - began <= 11

    run(story)


def _busiest(times: list[float]) -> int:
    return max(len([at for at in times if start <= at < start + 1]) for start in times)


def test_a_job_that_is_to_pause_is_not_begun_and_one_that_was_killed_paused_obeys(tmp_path: Path) -> None:
    """Not a request is sent by whoever resumes it; unpaused, it comes to its end."""

    async def story() -> None:
        async with world(tmp_path, 5, 900, latency=0.5) as here:
            here.read(spec())

            async def other() -> None:
                await until(lambda: len(writes(here)) >= 3)
                order(here, PAUSED)
                await anyio.sleep(60)

            assert await Process(here).live(other) == "working"
            sent = here.sandbox.arrivals.total
            process = Process(here)
            assert await process.live() == "working"
            assert isinstance(process.stopped, PausedError)
            assert here.sandbox.arrivals.total == sent
            order(here, Orders())
            assert await Process(here).live() == "finished"
            assert set(evaluations(here.sandbox.store.db, None, 11)) == here.eligible
            await assert_true(here)

    run(story)


@pytest.mark.parametrize("backup", [False, True])
def test_a_job_cancelled_while_it_looks_before_sending_stops_reading(tmp_path: Path, *, backup: bool) -> None:
    """At one request in a minute, the next item would be looked at hours later, only to be left out."""

    async def story() -> None:
        async with world(tmp_path, 6, 3000) as here:
            kept = f"{{type: delete_results, backup: '{tmp_path}/kept-{{job}}.jsonl'}}"
            here.read(spec(kept if backup else DELETE))
            await here.plan()
            await anyio.sleep(100)
            planned = here.sandbox.arrivals.total
            order(here, Orders(rate="1/m"))
            cancelled: list[float] = []

            async def other() -> None:
                await until(lambda: here.sandbox.arrivals.total > planned + PROBES, within_s=3600)
                await anyio.sleep(5)
                order(here, Orders(rate="1/m", cancelled=True))
                cancelled.append(anyio.current_time())

            async with anyio.create_task_group() as group:
                group.start_soon(other)
                assert await Process(here).live() == "cancelled"
            assert anyio.current_time() - cancelled[0] < 2 * LOOK_EVERY_S
            assert writes(here) == []
            assert set(await items(here)) == {"skipped"}

    run(story)


def test_junk_in_place_of_orders_neither_stops_nor_cancels_a_job(tmp_path: Path) -> None:
    """Half a cancellation, written by hand, before it begins and while it works."""

    async def story() -> None:
        async with world(tmp_path, 6, 900, latency=0.5) as here:
            here.read(spec())

            async def other() -> None:
                await until(lambda: len(writes(here)) >= 2)
                assert here.path
                orders.orders_path(here.path).write_bytes(b'{"cancelled": tru')

            await Process(here).live(other)
            assert here.path
            orders.orders_path(here.path).write_bytes(b'{"cancelled": "true", "paused": 1}')
            assert await Process(here).live() == "finished"
            assert set(evaluations(here.sandbox.store.db, None, 11)) == here.eligible

    run(story)


def test_a_job_in_this_process_can_be_told_directly(tmp_path: Path) -> None:
    """`Control.pause`, `unpause`, `cancel` and `Pacer.change` do what the commands do."""

    async def story() -> None:
        async with world(tmp_path, 7, 3000, latency=0.2) as here:
            here.read(spec(rate="5/s"))
            process = Process(here)
            found = SimpleNamespace(before=0, after=0, fast=0, sent=0)

            async def other() -> None:
                await until(lambda: len(writes(here)) >= 2)
                process.control.pause()
                await anyio.sleep(1)
                found.before = here.sandbox.arrivals.total
                await anyio.sleep(1000)
                found.after = here.sandbox.arrivals.total
                process.pacer.change(10)
                process.control.unpause()
                await anyio.sleep(2)
                found.fast = here.sandbox.arrivals.total - found.after
                process.control.cancel()
                await anyio.sleep(0.1)
                found.sent = len(writes(here))

            async with anyio.create_task_group() as group:
                group.start_soon(other)
                assert await process.live() == "cancelled"
            assert found.before == found.after
            assert 7 <= found.fast <= 21
            assert len(writes(here)) == found.sent
            await assert_true(here)

    run(story)


def test_a_job_that_nobody_works_on_is_ended_at_once_only_if_nothing_is_in_doubt(tmp_path: Path) -> None:
    """A deletion would be sent again without asking; cancelled, it must be asked what became of the first try."""

    async def story() -> None:
        async with world(tmp_path, 9, 900, errors_after=1.0, only="writes") as here:
            here.read(spec(DELETE))

            async def other() -> None:
                await until(lambda: len(writes(here)) >= 3)
                assert here.path
                await until(lambda: here.path and _fates(here.path) == {"not_attempted"})

            assert await Process(here).live(other) == "working"
            assert not await _cancel_idle(here)
            here.sandbox.settings = replace(here.sandbox.settings, errors_after=0.0)
            order(here, CANCELLED)
            sent = len(writes(here))
            assert await Process(here).live() == "cancelled"
            assert len(writes(here)) == sent
            await assert_true(here)
            assert len((await items(here))["confirmed"]) >= 3
            here.path = None
            await here.plan()
            assert await _cancel_idle(here)
            assert (await items(here)).keys() == {"skipped"}

    run(story)


def _fates(path: Path) -> set[str]:
    looked = JobLedger.look(path)
    found = looked.checkpoint.read_now(lambda db: {str(row[0]) for row in db.execute("SELECT fate FROM chunk")})
    looked.checkpoint.close()
    return found


async def _cancel_idle(here: World) -> bool:
    assert here.path
    ledger = JobLedger.resume(here.path)
    ended = await stages.cancel_idle(ledger)
    ledger.checkpoint.close()
    return ended


def test_a_drain_ends_a_pause(tmp_path: Path) -> None:
    """Ctrl-C need not wait for whoever paused the job."""

    async def story() -> None:
        async with world(tmp_path, 8, 3000, latency=0.2) as here:
            here.read(spec())
            process = Process(here)

            async def other() -> None:
                await until(lambda: len(writes(here)) >= 2)
                order(here, PAUSED)
                await anyio.sleep(100)
                process.control.drain(StoppedError("Ctrl-C"))

            async with anyio.create_task_group() as group:
                group.start_soon(other)
                assert await process.live() == "working"
            assert str(process.stopped) == "Ctrl-C"
            assert anyio.current_time() < 120

    run(story)
