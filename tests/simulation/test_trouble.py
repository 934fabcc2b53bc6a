"""What goes wrong around schedules while jobs are at work: no job is lost for it, and whoever keeps them goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import apsw
import pytest

from engine.errors import CheckpointError, Exit, SignalledError
from engine.jobledger import JobLedger
from engine.notices.courier import Courier
from engine.notices.message import End, Notice, Signal
from engine.retention import prune
from engine.schedule.book import Book
from engine.schedule.delivery import Delivery
from engine.schedule.due import Decision, Verdict
from engine.schedule.entry import TickFate
from engine.schedule.keeper import Keeper
from engine.tasks import task_group
from jobs.carrier import Carrier
from jobs.cli.spec_files import SpecFiles
from jobs.credentials import given
from tests.simulation.nights import Machine
from tests.simulation.test_schedules import BEGIN, HOUR_S, events, spec, tell, ticks

TWO = spec() + spec(rate="6/h").partition("jobs:")[2].replace("name: nightly", "name: slow")


@asynccontextmanager
async def process(here: Machine, text: str = "") -> AsyncIterator[tuple[Keeper, Carrier]]:
    """A process that has the spec of this machine, and does nothing by itself."""
    book = Book.keep(here.state_dir)
    carrier = Carrier(given(here.sandbox.key, here.origin), here.state_dir)
    keeper = Keeper(book, carrier, tell=here._tell, wall=here.wall, look_every_s=60)
    path = here.folder / "spec.yaml"
    path.write_text(text or here.specs["spec.yaml"], encoding="utf-8")
    await keeper.take(str(path), carrier.load(path))
    try:
        yield keeper, carrier
    finally:
        book.close()


def takes_nothing(book: Book, *, on: bool) -> None:
    """Let the disk under the book take nothing, as a full one does."""
    book._connection.pragma("query_only", on)


def test_a_book_that_cannot_be_written_does_not_end_the_delivery_of_notices(in_memory: Path) -> None:
    """It is said once, and what is to be told is told as soon as it can be."""

    async def story(here: Machine) -> None:
        async with process(here) as (keeper, _carrier), task_group() as beside:
            delivery = Delivery(keeper.book, Courier({"RECEIVER": here.receiver}), here._tell, here.wall)
            body = {"spec": "nightly", "events": ["missed"], "text": "missed"}
            keeper.book.post([Notice("key", "nightly", "${RECEIVER}/hook", Signal.TELL, body)], here.wall())
            takes_nothing(keeper.book, on=True)
            beside.start_soon(delivery.go_on)
            await anyio.sleep(600)
            assert sum(line.startswith("! ") for line in here.said) == 1
            takes_nothing(keeper.book, on=False)
            await anyio.sleep(600)
            assert here.received.bodies
            beside.cancel_scope.cancel()

    tell(in_memory, spec(), story)


def test_a_book_that_cannot_be_written_after_a_single_pass_is_no_error_of_its_jobs(in_memory: Path) -> None:
    """What was to be told is told by whoever comes next."""

    async def story(here: Machine) -> None:
        async with process(here) as (keeper, _carrier):
            delivery = Delivery(keeper.book, Courier({"RECEIVER": here.receiver}), here._tell, here.wall)
            here.ahead_s = 14 * HOUR_S
            await keeper.once()
            takes_nothing(keeper.book, on=True)
            await delivery.see_through(keeper.stopped.wait)
            assert here.said[-1].startswith("! ")
            takes_nothing(keeper.book, on=False)
            await delivery.see_through(keeper.stopped.wait)
            assert events(here) == [["success"]]

    tell(in_memory, spec(), story)


def test_who_is_told_to_stop_does_not_wait_for_a_receiver_that_refuses(in_memory: Path) -> None:
    """What did not arrive stays in the book."""

    async def story(here: Machine) -> None:
        here.received.failing = 1.0
        async with process(here) as (keeper, _carrier), task_group() as beside:
            delivery = Delivery(keeper.book, Courier({"RECEIVER": here.receiver}), here._tell, here.wall)
            here.ahead_s = 14 * HOUR_S
            await keeper.once()

            async def stop() -> None:
                await anyio.sleep(10)
                keeper.stop(SignalledError(Exit.SIGTERM))

            beside.start_soon(stop)
            began = anyio.current_time()
            await delivery.see_through(keeper.stopped.wait)
            assert 10 <= anyio.current_time() - began < 20
            assert keeper.book.next_notice()

    tell(in_memory, spec(), story)


def test_a_book_that_cannot_be_written_when_a_spec_changes_is_asked_again(in_memory: Path) -> None:
    """Whoever looks at the specs goes on looking."""

    async def story(here: Machine) -> None:
        async with process(here) as (keeper, carrier), task_group() as beside:
            path = here.folder / "spec.yaml"
            files = SpecFiles([path], keeper, carrier, here._tell)
            await files.read_first()
            takes_nothing(keeper.book, on=True)
            path.write_text(spec("0 4 * * *"), encoding="utf-8")
            beside.start_soon(files.go_on)
            await anyio.sleep(60)
            takes_nothing(keeper.book, on=False)
            await anyio.sleep(60)
            assert keeper.book.entries()["nightly"].schedule.cron == "0 4 * * *"
            beside.cancel_scope.cancel()

    tell(in_memory, spec(), story)


def test_a_book_that_cannot_be_written_is_asked_again_at_each_look_and_no_sooner(in_memory: Path) -> None:
    """A tick is due all that time: it is not looked at a hundred times a second."""

    async def story(here: Machine) -> None:
        async with process(here) as (keeper, _carrier), task_group() as beside:
            takes_nothing(keeper.book, on=True)
            beside.start_soon(keeper.keep)
            await anyio.sleep(14 * HOUR_S + 600)
            assert 5 <= len(here.said) <= 15
            takes_nothing(keeper.book, on=False)
            await anyio.sleep(600)
            assert [tick.outcome for tick in ticks(here)] == ["success"]
            keeper.stop(SignalledError(Exit.SIGTERM))

    tell(in_memory, spec(), story)


def test_a_job_that_begins_while_the_process_is_told_to_stop_stops_too(in_memory: Path) -> None:
    """Between its claim and its first request."""

    async def story(here: Machine) -> None:
        here.ahead_s = 14 * HOUR_S - 1
        async with process(here) as (keeper, _carrier):
            here.ahead_s += 2
            stop = SignalledError(Exit.SIGTERM)

            def tell(text: str, *, wrong: bool = False) -> None:
                here._tell(text, wrong=wrong)
                if " begins, due " in text:  # its checkpoint is made, and it is not at work yet
                    keeper.stop(stop)

            keeper.hands._tell = tell
            with anyio.fail_after(60):
                await keeper.keep()
            assert [tick.fate for tick in ticks(here)] == [TickFate.RUNNING]

    tell(in_memory, spec(rate="2/h"), story)


def test_a_book_that_cannot_be_written_does_not_break_off_the_jobs_of_a_single_pass(in_memory: Path) -> None:
    """They come to their end; then it is said what went wrong."""

    async def story(here: Machine) -> None:
        async with process(here) as (keeper, _carrier):
            here.ahead_s = 14 * HOUR_S

            async def trouble() -> None:
                await anyio.sleep(1200)
                takes_nothing(keeper.book, on=True)

            async with task_group() as beside:
                beside.start_soon(trouble)
                with pytest.raises(CheckpointError):
                    await keeper.once()
            takes_nothing(keeper.book, on=False)
        await here.live(60, kill=False)
        (tick, *_) = ticks(here)
        assert tick.outcome == "success"
        assert not [line for line in here.said if "goes on" in line], "it was broken off"

    tell(in_memory, spec("0,40 2 * * *", rate="6/h"), story)


def test_what_cannot_be_begun_is_an_error_of_the_pass_that_should_have(in_memory: Path) -> None:
    """Of a single pass as of a job begun by hand; the claim stays."""

    async def story(here: Machine) -> None:
        async with process(here) as (keeper, carrier):
            here.ahead_s = 14 * HOUR_S
            carrier._state_dir = here.state_dir / "schedules.book"  # no folder
            with pytest.raises(CheckpointError):
                await keeper.once()
            assert [tick.fate for tick in ticks(here)] == [TickFate.RUNNING]

    tell(in_memory, spec(), story)


def test_a_single_pass_waits_for_what_another_process_has_made_way_for(in_memory: Path) -> None:
    """That one's job ended after this one had seen it at work: nobody else is there to begin what waits."""

    async def story(here: Machine) -> None:
        async with process(here) as (keeper, _carrier):
            at = int(BEGIN + 14 * HOUR_S)
            assert not await keeper._soon()
            keeper.book.record("nightly", Decision(at, [Verdict(at, TickFate.WAITING)]), {}, [], at)
            assert await keeper._soon()

    tell(in_memory, spec(more="overlap: queue"), story)


def test_by_hand_an_interrupted_job_comes_to_its_end_before_the_new_one_begins(in_memory: Path) -> None:
    """It is not broken off once more."""

    async def story(here: Machine) -> None:
        await here.live(14.5 * HOUR_S, kill=True)
        async with process(here, spec()) as (keeper, _carrier):
            await keeper.by_hand("nightly")
        first, second = ticks(here)
        assert (first.outcome, second.outcome, second.by_hand) == ("success", "success", True)
        assert first.ended_at
        assert second.begun_at
        assert first.ended_at <= second.begun_at

    tell(in_memory, spec(rate="6/h"), story)


def test_by_hand_nothing_is_begun_for_another_schedule(in_memory: Path) -> None:
    """A claim of one that is gone, and never came to a job, is not this one's."""

    async def story(here: Machine) -> None:
        async with process(here, spec().replace("name: nightly", "name: other")) as (keeper, _carrier):
            keeper.book.by_hand("other", int(BEGIN), "0123456789")
        async with process(here) as (keeper, _carrier):
            await keeper.by_hand("nightly")
        made = [line for line in here.said if "begins" in line]
        assert len(made) == 1
        assert made[0].startswith("nightly: ")

    tell(in_memory, spec(), story)


def test_a_tick_that_waits_when_its_schedule_leaves_the_spec_is_skipped(in_memory: Path) -> None:
    """It has a fate like any other."""

    async def story(here: Machine) -> None:
        await here.live(15.5 * HOUR_S, kill=True)
        assert [tick.fate for tick in ticks(here)] == [TickFate.RUNNING, TickFate.WAITING]
        here.specs["spec.yaml"] = spec().replace("name: nightly", "name: other")
        await here.live(20 * HOUR_S, kill=False)
        assert [tick.fate for tick in ticks(here)] == [TickFate.RAN, TickFate.SKIPPED]

    tell(in_memory, spec("0 2,3 * * *", "overlap: queue", rate="2/h"), story)


def test_a_clock_that_is_not_set_yet_is_not_believed(in_memory: Path) -> None:
    """A machine without one begins in 1970 or so, until it has asked: nothing was missed in between."""

    async def story(here: Machine) -> None:
        await here.live(3 * HOUR_S, kill=False)
        decades_s = 26 * 366 * 24 * HOUR_S

        async def sets() -> None:
            await anyio.sleep(60)
            here.ahead_s += decades_s

        here.ahead_s -= decades_s
        await here.live(14 * HOUR_S, kill=False, meanwhile=sets)
        assert [tick.outcome for tick in ticks(here)] == ["success"]
        assert [event for told in events(here) for event in told] == ["success"]

    tell(in_memory, spec(), story)


def test_a_report_that_nobody_reads_breaks_off_no_job(in_memory: Path) -> None:
    """Neither its own, nor another that is at work."""

    async def nobody(_ledger: JobLedger, _end: End) -> None:
        raise BrokenPipeError

    async def story(here: Machine) -> None:
        async with process(here, TWO) as (keeper, carrier):
            carrier._show = nobody
            here.ahead_s = 14 * HOUR_S
            await keeper.once()
            assert [tick.outcome for tick in keeper.book.ticks("slow", 9)] == ["success"]
            assert [tick.outcome for tick in keeper.book.ticks("nightly", 9)] == ["success"]

    tell(in_memory, spec(), story)


def test_a_damaged_checkpoint_is_left_where_it_is_and_troubles_nobody(in_memory: Path) -> None:
    """Only what is known to be over goes."""

    async def story(here: Machine) -> None:
        await here.live(15 * HOUR_S, kill=False)
        (path,) = here.state_dir.glob("*.rebatch")
        damage(path)
        assert await prune(here.state_dir, "nightly", here.wall() * 2) == []
        assert path.exists()

    tell(in_memory, spec(), story)


def damage(path: Path) -> None:
    """Let everything of a checkpoint be unreadable but what it says of its job."""
    connection = apsw.Connection(str(path))
    (page,) = (row[0] for row in connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'chunk'"))
    size = connection.pragma("page_size")
    connection.pragma("journal_mode", "DELETE")
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
