"""The book of schedules: one job for each tick, whoever asks; nothing told twice, nothing forgotten that is not told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from engine.errors import CheckpointError, UsageError
from engine.lock import take
from engine.notices.message import End, Notice, Signal
from engine.orders import give
from engine.schedule.book import Book
from engine.schedule.bookfile import NAME
from engine.schedule.due import Decision, Verdict
from engine.schedule.entry import Tick, TickFate
from engine.schedule.pausing import pause, resume
from engine.schedule.standing import standings
from engine.schedule.turn import turn

NIGHT = 1_790_000_000
DAY = 86_400
NIGHTLY = {"cron": "0 2 * * *"}
DONE = End(0, None, {"job": "job", "counts": {"planned": 1, "held": 0}})
FAILED = End(6, "The service does not answer.", {"job": "job", "counts": {"planned": 1, "held": 0}})


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    """A book with a nightly schedule in it."""
    opened = Book.keep(tmp_path)
    opened.register("nightly", "/spec.yaml", NIGHTLY, [], NIGHT)
    yield opened
    opened.close()


def decided(*verdicts: tuple[int, TickFate], upto: float = 0) -> Decision:
    """A decision on these ticks."""
    made = [Verdict(at, fate, "because") for at, fate in verdicts]
    return Decision(upto or max(at for at, _ in verdicts), made)


def notice(key: str) -> Notice:
    """Something to be told."""
    return Notice(key, "nightly", "${HOOK}", Signal.TELL, {"spec": "nightly", "text": key})


def test_of_two_processes_that_claim_a_tick_one_has_it(book: Book, tmp_path: Path) -> None:
    """The second finds a job there, and leaves it."""
    other = Book.keep(tmp_path)
    for each, job in ((book, "first"), (other, "second")):
        each.record("nightly", decided((NIGHT, TickFate.RUNNING)), {NIGHT: job}, [], NIGHT)
    assert [tick.job for tick in other.open_ticks()] == ["first"]
    other.close()


def test_what_waits_can_begin_and_what_has_its_fate_keeps_it(book: Book) -> None:
    """Waiting becomes running; skipped stays."""
    book.record("nightly", decided((NIGHT, TickFate.WAITING), (NIGHT + DAY, TickFate.SKIPPED)), {}, [], NIGHT)
    again = decided((NIGHT, TickFate.RUNNING), (NIGHT + DAY, TickFate.RUNNING))
    book.record("nightly", again, {NIGHT: "job", NIGHT + DAY: "other"}, [], NIGHT)
    assert {tick.at: (tick.fate, tick.job) for tick in book.ticks("nightly", 9)} == {
        NIGHT: (TickFate.RUNNING, "job"),
        NIGHT + DAY: (TickFate.SKIPPED, None),
    }


def test_an_end_is_written_once_and_what_is_told_of_it_with_it(book: Book) -> None:
    """Whoever comes second writes nothing and tells nothing."""
    tick = Tick("nightly", NIGHT, TickFate.RUNNING, job="job")
    book.record("nightly", decided((NIGHT, TickFate.RUNNING)), {NIGHT: "job"}, [], NIGHT)
    assert book.end(tick, FAILED, [notice("failed")], NIGHT + 60, pause="it failed")
    assert not book.end(tick, DONE, [notice("done")], NIGHT + 70)
    assert [told.key for _, told, _ in book.take_notices(NIGHT + 80)] == ["failed"]
    assert book.entries()["nightly"].paused_because == "it failed"
    assert (book.outcome_before("nightly"), book.latest("nightly", outcome="success")) == ("failure", None)


def test_a_cancelled_job_is_no_outcome_to_compare_with(book: Book) -> None:
    """What came before it counts."""
    for night, end in ((0, DONE), (1, End(6, None, {"job": "x", "state": "cancelled", "counts": {}}))):
        at = NIGHT + night * DAY
        book.record("nightly", decided((at, TickFate.RUNNING)), {at: f"job{night}"}, [], at)
        book.end(Tick("nightly", at, TickFate.RUNNING), end, [], at + 60)
    assert book.outcome_before("nightly") == "success"
    assert book.ticks("nightly", 1)[0].outcome == "cancelled"


def test_a_notice_is_taken_by_one_and_comes_back_if_that_one_dies(book: Book, tmp_path: Path) -> None:
    """After two minutes."""
    other = Book.keep(tmp_path)
    book.post([notice("told"), notice("told")], NIGHT)
    assert len(book.take_notices(NIGHT)) == 1
    assert other.take_notices(NIGHT + 60) == []
    ((number, _, tries),) = other.take_notices(NIGHT + 121)
    assert tries == 0
    other.delivered(number, None, NIGHT + 122)
    assert (other.take_notices(NIGHT + DAY), other.next_notice()) == ([], None)
    other.close()


def test_what_does_not_arrive_is_tried_again_until_it_is_given_up(book: Book) -> None:
    """And can be seen as long as it has not arrived."""
    book.post([notice("told")], NIGHT)
    ((number, _, _),) = book.take_notices(NIGHT)
    book.delivered(number, "the receiver answered 500", NIGHT, 30)
    assert (book.take_notices(NIGHT + 29), book.next_notice()) == ([], NIGHT + 30)
    ((_, _, tries),) = book.take_notices(NIGHT + 30)
    book.delivered(number, "the receiver answered 500", NIGHT + 30, None)
    assert (tries, book.next_notice()) == (1, None)
    assert book.undelivered("nightly") == [("${HOOK}", "the receiver answered 500")]


def test_a_start_that_has_not_arrived_is_not_told_after_its_end(book: Book) -> None:
    """It would say that the job is at work; a start that comes after that end, and what is told elsewhere, stay."""

    def beat(key: str, signal: Signal, target: str = "${PING}") -> Notice:
        return Notice(key, "nightly", target, signal, {"spec": "nightly", "text": key})

    start, end, elsewhere = Signal.START, Signal.SUCCESS, beat("elsewhere", Signal.START, "${OTHER}")
    book.post([beat("start", start), elsewhere, beat("end", end), beat("next", start)], NIGHT)
    (first, *_), _, (last, *_), _ = book.take_notices(NIGHT)
    book.delivered(first, "refused", NIGHT, 30)
    book.delivered(last, None, NIGHT)
    assert [each.key for _, each, _ in book.take_notices(NIGHT + 300)] == ["elsewhere", "next"]
    assert book.undelivered("nightly") == [("${PING}", "refused")]


def test_what_was_to_be_tried_again_by_a_wrong_clock_is_tried_now(book: Book) -> None:
    """It does not wait for the clock to come round to it."""
    book.post([notice("told")], NIGHT + 40 * DAY)
    assert len(book.take_notices(NIGHT)) == 1
    assert book.take_notices(NIGHT + 1) == []


def test_a_clock_that_is_turned_back_withdraws_what_lies_ahead_but_not_what_ran(book: Book) -> None:
    """A tick that ran does not run again."""
    ticks = decided((NIGHT, TickFate.MISSED), (NIGHT + DAY, TickFate.RUNNING), (NIGHT + 2 * DAY, TickFate.MISSED))
    book.record("nightly", ticks, {NIGHT + DAY: "job"}, [], NIGHT + 2 * DAY)
    book.turn_back("nightly", NIGHT + 60)
    assert [tick.at for tick in book.ticks("nightly", 9)] == [NIGHT + DAY, NIGHT]
    assert book.state().entries["nightly"].decided == NIGHT + 60
    assert book.state().fated["nightly"] == {NIGHT + DAY}


def test_a_schedule_that_is_due_at_other_times_counts_from_now(book: Book) -> None:
    """One that only waits otherwise goes on where it was."""
    book.register("nightly", "/spec.yaml", {**NIGHTLY, "overlap": "queue"}, [], NIGHT + 5 * DAY)
    assert book.entries()["nightly"].decided == NIGHT
    book.register("nightly", "/spec.yaml", {"cron": "0 3 * * *"}, [], NIGHT + 5 * DAY)
    assert book.entries()["nightly"].decided == NIGHT + 5 * DAY


def test_a_schedule_that_left_its_spec_is_gone_and_counts_anew_when_it_comes_back(book: Book) -> None:
    """What it missed meanwhile was nobody's."""
    book.drop("/spec.yaml", [])
    assert book.entries()["nightly"].gone
    book.register("nightly", "/spec.yaml", NIGHTLY, [], NIGHT + 9 * DAY)
    assert (book.entries()["nightly"].gone, book.entries()["nightly"].decided) == (False, NIGHT + 9 * DAY)


def test_late_is_what_should_have_begun_and_nobody_decided_on(book: Book) -> None:
    """By ten minutes, and not if it is paused or gone."""
    (first,) = standings(book, NIGHT, ahead=1)
    due = first.next[0]
    assert [standings(book, due + late)[0].late for late in (-1, 0, 600, 601)] == [False, False, False, True]
    book.pause("nightly", "by hand")
    assert (standings(book, due + DAY)[0].late, standings(book, due + DAY)[0].alarming) == (False, False)
    book.pause("nightly", "job x ended with failure")
    assert standings(book, due + DAY)[0].alarming
    book.drop("/spec.yaml", [])
    assert not standings(book, due + DAY)[0].alarming


def test_a_job_that_nobody_works_on_is_seen(book: Book, tmp_path: Path) -> None:
    """Whoever watches is woken, unless it was paused on purpose."""
    book.record("nightly", decided((NIGHT, TickFate.RUNNING)), {NIGHT: "job"}, [], NIGHT)
    tick = book.open_ticks()[0]
    assert not standings(book, NIGHT)[0].interrupted, "it has not begun"
    book.begun(tick, NIGHT, [])
    checkpoint = tmp_path / "job.rebatch"
    checkpoint.touch()
    taken = take(checkpoint)
    assert not standings(book, NIGHT)[0].alarming, "somebody works on it"
    os.close(taken)
    assert standings(book, NIGHT)[0].interrupted
    assert standings(book, NIGHT)[0].alarming
    give(checkpoint, lambda orders: replace(orders, paused=True))
    assert not standings(book, NIGHT)[0].interrupted


def test_a_schedule_can_be_struck_out(book: Book) -> None:
    """With all that became of it; another stays."""
    book.register("other", "/other.yaml", NIGHTLY, [], NIGHT)
    for name in ("nightly", "other"):
        book.record(name, decided((NIGHT, TickFate.MISSED)), {}, [replace(notice(name), spec=name)], NIGHT)
    book.strike_out("nightly")
    assert list(book.entries()) == ["other"]
    assert (book.ticks("nightly", 9), len(book.ticks("other", 9))) == ([], 1)
    assert [told.spec for _, told, _ in book.take_notices(NIGHT)] == ["other"]


async def test_what_fell_into_a_pause_is_skipped_when_it_is_over_whoever_was_there(book: Book) -> None:
    """What was stopped on purpose is not caught up."""
    await pause(book, "nightly")
    (begin,) = standings(book, NIGHT, ahead=1)[0].next
    await resume(book, "nightly", begin + 2 * DAY + 60)
    assert [tick.fate for tick in book.ticks("nightly", 9)] == [TickFate.SKIPPED] * 3
    entry = book.entries()["nightly"]
    assert (entry.paused_because, entry.decided) == (None, begin + 2 * DAY)
    await resume(book, "nightly", begin + 9 * DAY)
    assert len(book.ticks("nightly", 9)) == 3, "it was not paused"


def test_old_ticks_and_notices_are_forgotten_but_nothing_that_is_open(book: Book) -> None:
    """What waits, runs, or has not been given up stays."""
    book.record("nightly", decided((NIGHT, TickFate.MISSED), (NIGHT + 60, TickFate.RUNNING)), {}, [notice("a")], NIGHT)
    book.forget(NIGHT + DAY)
    assert [tick.at for tick in book.ticks("nightly", 9)] == [NIGHT + 60]
    assert len(book.take_notices(NIGHT)) == 1


def test_many_threads_lose_nothing(book: Book) -> None:
    """One connection, one transaction at a time."""

    def one(number: int) -> None:
        at = NIGHT + number * 60
        book.record("nightly", decided((at, TickFate.RUNNING)), {at: f"job{number}"}, [notice(str(number))], at)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(100)))
    assert len(book.open_ticks()) == len(book.take_notices(NIGHT + DAY, 1000)) == 100


async def test_one_process_at_a_time_has_the_turn_and_a_killed_one_loses_it(tmp_path: Path) -> None:
    """A process that has it is killed, and whoever waited has it at once."""
    code = (
        "import anyio, pathlib, sys\nfrom engine.schedule.turn import turn\n"
        "async def main():\n    async with turn(pathlib.Path(sys.argv[1])):\n        print('mine', flush=True)\n"
        "        await anyio.sleep_forever()\nanyio.run(main)"
    )
    with subprocess.Popen(  # noqa: ASYNC220 - it says one word
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"mine\n"
        had = anyio.Event()

        async def take() -> None:
            async with turn(tmp_path):
                had.set()

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(take)
                await anyio.wait_all_tasks_blocked()
                assert not had.is_set()
                other.kill()
                with anyio.fail_after(30):
                    await had.wait()
        finally:
            other.kill()


def test_a_book_that_is_none_is_left_alone(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / NAME).write_text("Dear diary, " * 100)
    with pytest.raises(UsageError, match="not the book of schedules"):
        Book.keep(tmp_path)
    assert (tmp_path / NAME).read_text().startswith("Dear diary")


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    """As what it is."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made"):
        Book.keep(tmp_path / "file")
    assert Book.look(tmp_path) is None
