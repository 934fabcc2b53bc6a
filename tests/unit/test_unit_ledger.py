"""The books of a job: chunks that cover the plan, compare-and-set, and counts that always add up."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backlog import Backlog
from engine.checkpoint import SUFFIX, Checkpoint
from engine.control import Control
from engine.errors import UsageError
from engine.fates import Fate, ItemFate, Outcome
from engine.jobledger import JobLedger
from engine.ledger import CHUNK, Chunk, Cut, Seen, StaleAttemptError, Tally
from engine.sql import as_json, rows

APPLIED = Outcome(Fate.APPLIED, 200)
REFUSED = Outcome(Fate.REJECTED, 400, "400 Bad Request: no")
LOST = Outcome(Fate.UNKNOWN, 504, "504 Gateway Timeout")


@contextmanager
def ledger() -> Iterator[JobLedger]:
    """A ledger of a new checkpoint. Hypothesis wants a new one for each example."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint.create(Path(folder) / f"a{SUFFIX}")
        try:
            yield JobLedger(checkpoint)
        finally:
            checkpoint.close()


def run(use: Callable[[JobLedger], Awaitable[None]]) -> None:
    """Run a test against a ledger of its own."""

    async def main() -> None:
        with ledger() as book:
            await use(book)

    anyio.run(main)


async def plan(book: JobLedger, groups: dict[int, int]) -> int:
    """Freeze a plan of so many items in each group; the answer is how many they are. Ids are 10, 20, 30, …."""
    numbers = (group for group, size in groups.items() for _ in range(size))
    rows = [Seen(10 * (index + 1), group, as_json(["completed", "t", 0.5])) for index, group in enumerate(numbers)]
    await book.begin_walk()
    await book.see(rows)
    await book.freeze(planned=len(rows), in_scope=len(rows))
    return len(rows)


async def chunks(book: JobLedger) -> list[Chunk]:
    """Everything that is to be sent."""
    return list(await book.pending(-1, 10**9, 10**9))


@settings(max_examples=40)
@given(groups=st.dictionaries(st.integers(0, 9), st.integers(0, 350), max_size=5))
def test_a_plan_is_cut_into_chunks_that_hold_each_item_once(groups: dict[int, int]) -> None:
    """At most a hundred, of one group, newest first, none twice, none missing, none smaller than need be."""

    async def use(book: JobLedger) -> None:
        total = await plan(book, groups)
        cut = await chunks(book)
        assert sorted(item for chunk in cut for item in chunk.ids) == [10 * (n + 1) for n in range(total)]
        assert all(0 < len(chunk.ids) == chunk.last - chunk.first + 1 <= CHUNK for chunk in cut)
        assert all(list(chunk.ids) == sorted(chunk.ids, reverse=True) for chunk in cut)
        assert [chunk.group for chunk in cut] == sorted((chunk.group for chunk in cut), reverse=True)
        sizes: Counter[int] = Counter()
        for chunk in cut:
            sizes[chunk.group] += len(chunk.ids)
        assert sizes == Counter({group: size for group, size in groups.items() if size})
        assert len(cut) == await book.chunks() == sum(-(-size // CHUNK) for size in groups.values())
        assert (await book.counts())["not_attempted"] == total
        assert await book.span() == ((1, total) if total else (0, -1))

    run(use)


async def _sees_again(book: JobLedger) -> None:
    await book.begin_walk()
    await book.see([Seen(1, 0, '["old"]'), Seen(2, 0, None), Seen(3, 0, '["x"]')])
    await book.see([Seen(1, 0, '["new"]'), Seen(2, 0, '["now selected"]'), Seen(3, 0, None)])
    assert await book.tally() == Tally(3, 2)
    await book.freeze(planned=2)
    assert [item["id"] for item in await book.items()] == [2, 1]
    assert await book.accepted([1, 2]) == {}
    (chunk,) = await chunks(book)
    await book.begin(chunk, 1.0)
    (unsettled,) = await book.unsettled(0, 99)
    assert unsettled.fingerprints == {1: ["new"], 2: ["now selected"]}


def test_a_row_read_again_replaces_what_was_read_before() -> None:
    """A duplicate or moved row counts once, as it was last."""
    run(_sees_again)


def test_a_pending_chunk_is_found_from_where_one_is() -> None:
    """In order, beyond a position, up to another, so many at once."""

    async def use(book: JobLedger) -> None:
        await plan(book, {1: 450})
        firsts = [chunk.first for chunk in await chunks(book)]
        assert firsts == [1, 101, 201, 301, 401]
        assert [chunk.first for chunk in await book.pending(1, 301, 10)] == [101, 201, 301]
        assert [chunk.first for chunk in await book.pending(101, 450, 2)] == [201, 301]

    run(use)


def test_a_chunk_begins_once() -> None:
    """While an attempt is open, and after the chunk has a fate, nobody else begins it."""

    async def use(book: JobLedger) -> None:
        await plan(book, {1: 5})
        (chunk,) = await chunks(book)
        token = await book.begin(chunk, 1.0)
        with pytest.raises(StaleAttemptError):
            await book.begin(chunk, 2.0)
        await book.record(token, chunk, APPLIED, ItemFate.ACCEPTED, 3.0)
        with pytest.raises(StaleAttemptError):
            await book.begin(chunk, 4.0)
        assert (await book.items())[0]["attempts"] == 1

    run(use)


def test_a_slow_worker_cannot_overwrite_a_newer_attempt() -> None:
    """An outcome with a stale token is refused, and changes nothing."""

    async def use(book: JobLedger) -> None:
        await plan(book, {1: 5})
        (chunk,) = await chunks(book)
        slow = await book.begin(chunk, 1.0)
        await book.free_unsettled()
        newer = await book.begin(chunk, 2.0)
        with pytest.raises(StaleAttemptError):
            await book.record(slow, chunk, REFUSED, ItemFate.FAILED, 3.0)
        assert (await book.counts())["unsettled"] == 5
        await book.record(newer, chunk, APPLIED, ItemFate.ACCEPTED, 4.0)
        assert (await book.counts())["accepted"] == 5
        with pytest.raises(StaleAttemptError):
            await book.settle(chunk, ItemFate.HELD, "x", {})

    run(use)


def test_an_intent_without_an_outcome_is_unsettled() -> None:
    """After a kill its chunk is there, with the fingerprints to compare."""

    async def use(book: JobLedger) -> None:
        await plan(book, {4: 3})
        (chunk,) = await chunks(book)
        await book.begin(chunk, 12.5)
        assert await chunks(book) == []
        (unsettled,) = await book.unsettled(1, 3)
        assert (unsettled.chunk.first, unsettled.chunk.last, unsettled.chunk.ids) == (1, 3, (30, 20, 10))
        assert unsettled.fingerprints[20] == ["completed", "t", 0.5]
        assert await book.unsettled(2, 3) == []

    run(use)


def test_settling_gives_items_their_own_fates_and_sends_only_the_rest_again() -> None:
    """What moved or is unclear leaves the chunk; what did not move travels again without it."""

    async def use(book: JobLedger) -> None:
        await plan(book, {1: 4})
        (chunk,) = await chunks(book)
        await book.begin(chunk, 1.0)
        apart = {10: (ItemFate.ACCEPTED, None), 20: (ItemFate.HELD, "unclear")}
        await book.settle(chunk, ItemFate.NOT_ATTEMPTED, None, apart)
        (rest,) = await chunks(book)
        assert rest.ids == (40, 30)
        token = await book.begin(rest, 2.0)
        await book.record(token, rest, APPLIED, ItemFate.ACCEPTED, 3.0)
        assert [item["fate"] for item in await book.items()] == ["accepted", "accepted", "held", "accepted"]
        assert await book.reasons() == [("held", "unclear", 1)]
        counts = await book.counts()
        assert (counts["accepted"], counts["held"], sum(counts.values())) == (3, 1, 4)

    run(use)


def test_verifying_confirms_what_is_gone_and_folds_whole_chunks() -> None:
    """Items met unchanged stay apart; where all are confirmed the chunk says so for them."""

    async def use(book: JobLedger) -> None:
        await plan(book, {1: 150})
        for chunk in await chunks(book):
            await book.record(await book.begin(chunk, 1.0), chunk, APPLIED, ItemFate.ACCEPTED, 2.0)
        await book.meet({10: "unmoved", 20: "unmoved", 30: "working"}, look=7)
        await book.confirm_unmet(look=7)
        assert await book.shown() == {"unmoved": 2, "working": 1}
        await book.settle_shown(7, "unmoved", ItemFate.FAILED, "still there")
        await book.fold()
        counts = await book.counts()
        assert (counts["confirmed"], counts["failed"], counts["accepted"]) == (147, 2, 1)
        assert await book.reasons() == [("failed", "still there", 2)]
        assert [item for _, item, _ in await book.next_accepted(0, 999)] == [30]

    run(use)


def test_confirming_what_makes_a_chunk_whole_needs_no_fates_of_items() -> None:
    """Else each count would go through every item that was read back, and so would the end, in one transaction."""

    async def use(book: JobLedger) -> None:
        await plan(book, {1: 250})
        for chunk in await chunks(book):
            await book.record(await book.begin(chunk, 1.0), chunk, APPLIED, ItemFate.ACCEPTED, 2.0)
        ids = [item["id"] for item in await book.items()]
        for start in range(0, 240, 60):
            await book.confirm(dict.fromkeys(ids[start : start + 60], 0.5))
            apart = await book.checkpoint.read(
                lambda db: rows(db, "SELECT seq, fate FROM item WHERE fate IS NOT NULL ORDER BY seq")
            )
            assert (await book.counts())["confirmed"] == start + 60
        assert apart == [(seq, "confirmed") for seq in range(201, 241)]
        assert {item["after"] for item in (await book.items())[:240]} == {0.5}

    run(use)


def test_what_a_walk_has_seen_takes_no_room_in_the_checkpoint() -> None:
    """Nor is it there when the job is opened again: a walk that was cut short is worth nothing."""

    async def use(book: JobLedger) -> None:
        def pages() -> Any:
            return book.checkpoint.read_now(lambda db: db.pragma("page_count"))

        await book.begin_walk()
        before = pages()
        await book.see([Seen(number, 0, '["x"]') for number in range(1, 20_000)])
        assert await book.tally() == Tally(19_999, 19_999)
        assert pages() <= before + 1
        await book.begin_walk()
        assert await book.tally() == Tally(0, 0)

    run(use)


def test_marking_every_item_folds_its_chunk() -> None:
    """Confirmed one by one or all at once, the report is the same."""

    async def use(book: JobLedger) -> None:
        total = await plan(book, {1: 30})
        (chunk,) = await chunks(book)
        await book.record(await book.begin(chunk, 1.0), chunk, APPLIED, ItemFate.ACCEPTED, 2.0)
        assert len(await book.next_accepted(0, 99)) == 30
        assert set(await book.accepted([10, 20, 999])) == {10, 20}
        await book.mark({10 * (n + 1): (ItemFate.CONFIRMED, None) for n in range(total)})
        await book.fold()
        assert (await book.counts())["confirmed"] == 30
        assert {item["fate"] for item in await book.items()} == {"confirmed"}

    run(use)


def test_items_come_in_pages_with_what_was_said_of_them() -> None:
    """In the order of the plan, beyond a position, with status, error and attempts."""

    async def use(book: JobLedger) -> None:
        await plan(book, {1: 3, 2: 2})
        first, _ = await chunks(book)
        await book.record(await book.begin(first, 1.0), first, REFUSED, ItemFate.FAILED, 2.0)
        items = await book.items(limit=4)
        assert [item["seq"] for item in items] == [1, 2, 3, 4]
        assert items[0] == {
            "seq": 1, "id": 50, "fate": "failed", "http_status": 400, "error": "400 Bad Request: no", "attempts": 1,
            "before": None, "after": None,
        }  # fmt: skip
        assert (await book.items(after=4))[0]["fate"] == "not_attempted"
        assert await book.items(after=5) == []
        assert await book.groups() == [(1, 3, 1), (2, 2, 1)]

    run(use)


def test_reasons_name_only_items_that_there_are() -> None:
    """A chunk's error of which every item has become something else is nobody's reason."""

    async def use(book: JobLedger) -> None:
        await plan(book, {1: 2})
        (chunk,) = await chunks(book)
        await book.record(await book.begin(chunk, 1.0), chunk, REFUSED, ItemFate.FAILED, 2.0)
        assert await book.reasons() == [("failed", "400 Bad Request: no", 2)]
        await book.mark({10: (ItemFate.CONFIRMED, None), 20: (ItemFate.HELD, "look")})
        assert await book.reasons() == [("held", "look", 1)]

    run(use)


def test_facts_and_counters_survive_being_closed(tmp_path: Path) -> None:
    """What is noted is read back as it was, the counters with whatever was written last."""
    path = tmp_path / f"b{SUFFIX}"

    async def main() -> None:
        book = JobLedger(Checkpoint.create(path))
        await book.note(job="b", raw={"where": {"name": "“ü”"}}, nothing=None)
        book.progress.requests, book.progress.retries = 12, 3
        await book.note(state="working")
        book.checkpoint.close()
        again = JobLedger.resume(path)
        assert (again.job["raw"], again.job["nothing"], again.job["state"]) == (
            {"where": {"name": "“ü”"}},
            None,
            "working",
        )
        assert (again.progress.requests, again.progress.retries) == (12, 3)
        again.checkpoint.close()

    anyio.run(main)


def test_a_job_stopped_before_it_began_is_told_and_let_go(tmp_path: Path) -> None:
    """An empty checkpoint is no job; its lock is free again."""
    path = tmp_path / f"c{SUFFIX}"
    Checkpoint.create(path).close()
    for _ in range(2):
        with pytest.raises(UsageError, match="before it began"):
            JobLedger.resume(path)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "begin",
                "record",
                "stale",
                "settle",
                "mark",
                "look",
                "unmet",
                "unchanged",
                "hide",
                "confirm",
                "fold",
                "free",
            ]
        ),
        st.integers(0, 30),
        st.sampled_from(list(ItemFate)),
    ),
    max_size=30,
)


@settings(max_examples=40)
@given(groups=st.dictionaries(st.integers(0, 3), st.integers(1, 120), min_size=1, max_size=3), steps=STEPS)
def test_counts_add_up_whatever_happens(groups: dict[int, int], steps: list[tuple[str, int, ItemFate]]) -> None:
    """After any sequence of what flows may write, every planned item has exactly one fate, in sum and one by one."""

    async def use(book: JobLedger) -> None:
        total = await plan(book, groups)
        tokens: dict[int, tuple[int, Chunk]] = {}
        for what, which, fate in steps:
            await _step(book, tokens, what, which, fate)
            counts = await book.counts()
            assert sum(counts.values()) == total
            assert min(counts.values()) >= 0
            each = Counter(item["fate"] for item in await book.items())
            assert {name: number for name, number in counts.items() if number} == each
            assert all(number >= 0 for _, _, number in await book.reasons())

    run(use)


async def _step(book: JobLedger, tokens: dict[int, tuple[int, Chunk]], what: str, which: int, fate: ItemFate) -> None:
    pending, items = await chunks(book), await book.items()
    chosen = items[which % len(items)]["id"]
    actions: dict[str, Callable[[], Awaitable[Any]]] = {
        "mark": lambda: book.mark({chosen: (fate, "said")}),
        "look": lambda: book.meet({chosen: "unmoved"}, 1),
        "unmet": lambda: book.confirm_unmet(1),
        "unchanged": lambda: book.settle_shown(1, "unmoved", fate, "said"),
        "hide": lambda: book.hide_unmet(1),
        "confirm": lambda: book.confirm({chosen: 0.5}),
        "fold": book.fold,
        "free": book.free_unsettled,
    }
    if what in actions:
        await actions[what]()
    elif what == "begin" and pending:
        chunk = pending[which % len(pending)]
        tokens[chunk.first] = (await book.begin(chunk, 1.0), chunk)
    elif tokens and what in {"record", "stale", "settle"}:
        first = sorted(tokens)[which % len(tokens)]
        token, chunk = tokens[first]
        with_token = token + 1000 if what == "stale" else token
        try:
            if what == "settle":
                await book.settle(chunk, fate, "said", {chunk.ids[0]: (ItemFate.HELD, None)} if chunk.ids else {})
            else:
                await book.record(with_token, chunk, LOST, fate, 2.0)
        except StaleAttemptError:
            assert what != "record" or first in tokens


def test_held_items_are_sent_again_as_they_are_now_and_nothing_else_is() -> None:
    """The chunk is pending anew with the held items alone; the fates of the others stay what they were."""

    async def use(book: JobLedger) -> None:
        await plan(book, {7: 4})
        (chunk,) = await chunks(book)
        await book.begin(chunk, 1.0)
        first, second, *_ = chunk.ids
        await book.settle(
            chunk, ItemFate.ACCEPTED, None, {first: (ItemFate.HELD, "look"), second: (ItemFate.FAILED, "no")}
        )
        assert set(await book.held()) == {first}
        await book.note(state="finished")
        await book.retry_held({first: ["as it is now"]}, {})
        assert book.job["state"] == "working"
        (again,) = await book.pending(-1, 1000, 9)
        assert (again.ids, again.sent) == ((first,), True)
        assert (await book.fingerprints(again))[first] == ["as it is now"]
        counts = await book.counts()
        assert (counts["accepted"], counts["failed"], counts["not_attempted"], counts["held"]) == (2, 1, 1, 0)

    run(use)


def test_the_parts_of_a_refused_chunk_come_once() -> None:
    """They are handed back by whoever cut it, and not found a second time among what is pending."""

    async def use(book: JobLedger) -> None:
        await plan(book, {7: 150})

        async def as_planned(found: Sequence[Chunk]) -> Sequence[Chunk]:
            return found

        backlog = Backlog(book, Control(), as_planned, *await book.span())
        first, last = await backlog.take(), await backlog.take()
        assert first
        assert last
        token = await book.begin(last, 1.0)
        refused = Outcome(Fate.REJECTED, 400, "no")
        backlog.split(await book.narrow(token, last, refused, Cut(parts=(last.ids[:25], last.ids[25:])), 2.0))
        backlog.over(first)
        taken: list[int] = []
        parts: list[Chunk] = []
        for _ in range(2):
            part = await backlog.take()
            assert part
            taken += part.ids
            parts.append(part)
        assert sorted(taken) == sorted(last.ids)
        for part in parts:
            backlog.over(part)
        assert await backlog.take() is None
        assert [chunk.root for chunk in await book.pending(-1, 1000, 9)] == [first.first, last.first, last.first]

    run(use)
