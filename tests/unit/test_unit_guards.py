"""Guards: what trips and what does not, told in sentences; and the hash that a plan is held to."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.checkpoint import SUFFIX, Checkpoint
from engine.guards import check_guards, show_credits
from engine.jobledger import JobLedger
from engine.ledger import CHUNK, Chunk, Seen, Tally
from engine.spec import Guards
from engine.sql import rows

PLAN = Tally(in_scope=40, selected=10, credits=5.4, untold=0)


def names(guards: Guards, found: Tally = PLAN, unproven: str | None = None, *, irreversible: bool = False) -> list[str]:
    """The guards that trip, by the name in backticks in their sentences."""
    tripped = check_guards(guards, found, unproven, irreversible=irreversible)
    return [one.sentence.split("`guards: ")[1].split("`")[0] for one in tripped]


@pytest.mark.parametrize(
    ("just_kept", "just_not"),
    [
        ({"max_items": 10}, {"max_items": 9}),
        ({"max_percent": 25}, {"max_percent": 24.9}),
        ({"min_remaining": 30}, {"min_remaining": 31}),
        ({"max_credits": 5.4}, {"max_credits": 5.39}),
    ],
)
def test_the_limit_itself_is_kept_and_the_next_value_trips(just_kept: dict[str, Any], just_not: dict[str, Any]) -> None:
    """Each guard alone, at its edge."""
    assert names(Guards(**just_kept)) == []
    assert names(Guards(**just_not)) == list(just_not)


def test_every_guard_that_trips_is_told() -> None:
    """A sentence for each, with the numbers; and what can be done about each."""
    guards = Guards(max_items=9, max_percent=20, min_remaining=35, max_credits=5)
    found = Tally(in_scope=40, selected=10, credits=5.4, untold=3)
    tripped = check_guards(guards, found, "ids do not descend", irreversible=True)
    assert [one.sentence for one in tripped] == [
        "The plan has 10 items; `guards: max_items` allows 9.",
        "The plan has 10 of the 40 items in scope, 25.0 %; `guards: max_percent` allows 20.",
        "The plan leaves 30 of the 40 items in scope alone; `guards: min_remaining` asks for 35.",
        "The plan costs at least 5.4 credits; `guards: max_credits` allows 5.",
        "Of the 10 items of the plan, 3 do not tell what they cost; `guards: max_credits` allows 5.",
        "It is not proven that the list was read completely (ids do not descend); `guards: require_complete` asks for that.",
    ]
    assert all(one.remedy for one in tripped)
    assert "`guards: {require_complete: false}`" in tripped[-1].remedy


@pytest.mark.parametrize(
    ("said", "irreversible", "trips"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_an_unproven_list_is_refused_where_it_matters(said: bool | None, irreversible: bool, trips: bool) -> None:  # noqa: FBT001 - a table
    """By itself where nothing can be undone, else when it is asked for; a proven list never."""
    guards = Guards(require_complete=said)
    assert names(guards, PLAN, "why", irreversible=irreversible) == ["require_complete"] * trips
    assert names(guards, PLAN, None, irreversible=irreversible) == []


def test_an_unknown_cost_cannot_keep_within_a_limit() -> None:
    """However high the limit is; without a limit nobody minds."""
    assert names(Guards(max_credits=10**9), Tally(40, 10, 0.0, 1)) == ["max_credits"]
    assert names(Guards(), Tally(40, 10, 0.0, 10)) == []


@given(prices=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.7]), min_size=1, max_size=300))
def test_credits_are_compared_as_by_hand(prices: list[float]) -> None:
    """The sum itself is allowed, whatever floats make of it: 0.1 + 0.2 is not more than 0.3."""
    tenths = sum(round(price * 10) for price in prices)
    found = Tally(1, 1, sum(prices), 0)
    assert names(Guards(max_credits=tenths / 10), found) == []
    assert names(Guards(max_credits=(tenths - 1) / 10), found) == ["max_credits"]


@given(selected=st.integers(0, 200), rest=st.integers(0, 200), most=st.integers(0, 200), percent=st.integers(0, 100),
       least=st.integers(0, 200))  # fmt: skip
def test_guards_trip_exactly_when_they_are_exceeded(
    selected: int, rest: int, most: int, percent: int, least: int
) -> None:
    """For every plan that does something; one that does nothing exceeds nothing."""
    expected = {
        "max_items": selected > most,
        "max_percent": 100 * selected > percent * (selected + rest),
        "min_remaining": rest < least,
    }
    guards = Guards(max_items=most, max_percent=percent, min_remaining=least)
    found = names(guards, Tally(selected + rest, selected))
    assert found == [name for name, trips in expected.items() if trips and selected]


def test_an_estimate_says_whether_it_is_whole() -> None:
    """Millions are written out."""
    assert show_credits(Tally(1, 1, 1_234_567.800000001)) == "about 1,234,567.8"
    assert show_credits(Tally(1, 1, 0.30000000000000004, 1)) == "at least 0.3"


# -- the books


def run(use: Callable[[JobLedger], Awaitable[None]]) -> None:
    """Run a test against a ledger of its own."""

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            book = JobLedger(Checkpoint.create(Path(folder) / f"a{SUFFIX}"))
            try:
                await book.note(origin="https://a", raw={"name": "a", "guards": {"max_items": 5}})
                await use(book)
            finally:
                book.checkpoint.close()

    anyio.run(main)


async def chunks(book: JobLedger) -> list[Chunk]:
    """Everything that is to be sent."""
    return list(await book.pending(-1, 10**9, 10**9))


@settings(max_examples=40)
@given(
    groups=st.dictionaries(st.integers(0, 9), st.integers(1, 250), min_size=1, max_size=4), canary=st.integers(0, 500)
)
def test_the_canary_travels_in_chunks_of_its_own(groups: dict[int, int], canary: int) -> None:
    """No chunk holds one of the first so many items and one of the rest; nothing is lost or small for no reason."""

    async def use(book: JobLedger) -> None:
        ids = iter(range(1, 10_000))
        seen = [Seen(next(ids), group, '["x"]') for group, size in groups.items() for _ in range(size)]
        await book.begin_walk()
        await book.see(seen)
        await book.freeze(planned=len(seen), canary=canary)
        cut = await chunks(book)
        assert not any(chunk.first <= canary < chunk.last for chunk in cut)
        assert [chunk.first for chunk in cut] == [1, *(chunk.last + 1 for chunk in cut[:-1])]
        assert cut[-1].last == len(seen) == sum(len(chunk.ids) for chunk in cut)
        assert len(cut) <= sum(-(-size // CHUNK) for size in groups.values()) + 1
        assert all(len(chunk.ids) <= CHUNK for chunk in cut)

    run(use)


def test_costs_are_added_up_over_what_is_selected() -> None:
    """A row read again counts once, as it was last; what is not selected costs nothing."""

    async def use(book: JobLedger) -> None:
        await book.begin_walk()
        await book.see(
            [Seen(1, 0, '["x"]', 0.4), Seen(2, 0, '["x"]', None), Seen(3, 0, None, 9.0), Seen(4, 0, '["x"]', 5.0)]
        )
        await book.see([Seen(1, 0, '["x"]', 0.6), Seen(4, 0, None)])
        assert await book.tally() == Tally(in_scope=4, selected=2, credits=0.6, untold=1)

    run(use)


CHANGES = (
    "UPDATE item SET fingerprint = '[\"y\"]' WHERE id = 7",
    "UPDATE item SET id = 999 WHERE id = 7",
    "UPDATE item SET grp = 5 WHERE id = 7",
    "DELETE FROM item WHERE id = 7",
    "INSERT INTO item (seq, id, grp, fingerprint) VALUES (99, 99, 0, '[\"x\"]')",
    "UPDATE item SET seq = 999 WHERE id = 7",
    "UPDATE job SET value = '\"https://b\"' WHERE key = 'origin'",
    """UPDATE job SET value = '{"name": "a", "guards": {"max_items": 50}}' WHERE key = 'raw'""",
    "DELETE FROM job WHERE key = 'raw'",
)


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_in_a_plan_changes_its_hash(change: str) -> None:
    """Items, their order, groups and fingerprints, the spec, the origin; and only these."""

    async def use(book: JobLedger) -> None:
        await book.begin_walk()
        await book.see([Seen(number, 0, '["x"]') for number in range(1, 20)])
        await book.freeze(planned=19)
        made = book.job["plan_hash"]
        await book.note(approved_at="now", state="planned", raw={"guards": {"max_items": 5}, "name": "a"})
        assert await book.plan_hash() == made
        assert len(made) == 64
        await book.checkpoint.write(lambda db: rows(db, change))
        assert await book.plan_hash() != made

    run(use)
