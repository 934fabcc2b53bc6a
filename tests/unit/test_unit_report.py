"""Reports: before and after add up whatever was measured, and every form says the same."""

from __future__ import annotations

import csv
import io
from statistics import fmean
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.fates import Fate, ItemFate, Outcome
from engine.jobledger import JobLedger
from engine.ledger import Seen
from engine.report import MOVERS, summarize
from engine.work import mark_of
from jobs.cli.show import COLUMNS, csv_lines, item_line, report_markdown, report_text
from tests.unit.test_unit_ledger import chunks, ledger

SHARE = st.one_of(st.sampled_from([0.0, 1 / 3, 0.3333333333, 0.5, 1.0]), st.floats(0, 1))
NOW = "2026-01-01T00:00:00+00:00"


async def _job(book: JobLedger, measures: list[tuple[float | None, float | None]], measured: str) -> None:
    """A job of which every item was taken; those with a measure after were confirmed with it."""
    await book.note(
        job="ab12cd34", spec="nightly", kind="evaluate_metrics", state="verifying",
        measured=measured, created_at=NOW, started_at=NOW, finished_at=None,
    )  # fmt: skip
    await book.see([Seen(index, 0, ["x"], measure=before) for index, (before, _) in enumerate(measures, 1)])
    await book.freeze(planned=len(measures), in_scope=len(measures))
    for chunk in await chunks(book):
        await book.record(await book.begin(chunk, 1.0), chunk, Outcome(Fate.APPLIED, 200), ItemFate.ACCEPTED, 2.0)
    await book.confirm({index: after for index, (_, after) in enumerate(measures, 1) if after is not None})
    await book.fold()
    await book.note(state="finished", finished_at=NOW)


def summary_of(measures: list[tuple[float | None, float | None]], measured: str = "success rate") -> dict[str, Any]:
    """The report of such a job."""

    async def main() -> dict[str, Any]:
        with ledger() as book:
            await _job(book, measures, measured)
            return await summarize(book)

    return anyio.run(main)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.none() | SHARE, st.none() | SHARE), max_size=30))
def test_before_and_after_add_up(measures: list[tuple[float | None, float | None]]) -> None:
    """Over the items that have both, as plain arithmetic has it; nothing where none has."""
    change = summary_of(measures)["change"]
    both = [(before, after) for before, after in measures if before is not None and after is not None]
    if not both:
        assert change is None
        return
    moves = [after - before for before, after in both]
    assert change["items"] == len(both) == change["improved"] + change["fell"] + change["stayed"]
    assert change["before"] == pytest.approx(fmean(before for before, _ in both))
    assert change["after"] == pytest.approx(fmean(after for _, after in both))
    assert change["improved"] == sum(move > 1e-9 for move in moves)
    assert change["fell"] == sum(move < -1e-9 for move in moves)
    told = [mover["after"] - mover["before"] for mover in change["movers"]]
    up, down = (sorted((m for m in moves if abs(m) > 1e-9 and (m > 0) is side), reverse=side) for side in (True, False))
    assert told == up[:MOVERS] + down[:MOVERS]
    assert all(measures[mover["id"] - 1] == (mover["before"], mover["after"]) for mover in change["movers"])


def test_a_kind_that_measures_nothing_tells_of_no_change() -> None:
    """As deletions do."""
    assert summary_of([(0.1, 0.2)], measured="")["change"] is None


MEASURES: list[tuple[float | None, float | None]] = [(0.25, 1.0), (0.5, 0.5), (1.0, 0.4), (0.5, None), (None, 0.5)]


def test_the_text_says_before_and_after() -> None:
    """The means, the numbers, and whom it moved most."""
    lines = report_text(summary_of(MEASURES)).splitlines()
    assert "  success rate  0.583 → 0.633 over 3 confirmed: 1 improved, 1 fell, 1 stayed" in lines
    assert "    most improved: 1 0.25 → 1.00" in lines
    assert "    most fallen:   3 1.00 → 0.40" in lines
    assert "success rate" not in report_text(summary_of([(0.5, None)]))
    stayed = report_text(summary_of([(0.5, 0.5)]))
    assert "0 improved, 0 fell, 1 stayed" in stayed
    assert "most " not in stayed


def test_markdown_says_before_and_after() -> None:
    """As two tables."""
    lines = report_markdown(summary_of(MEASURES)).splitlines()
    assert "| success rate | items | improved | fell | stayed |" in lines
    assert "| 0.583 → 0.633 | 3 | 1 | 1 | 1 |" in lines
    assert "| 1 | 0.25 | 1.00 |" in lines
    assert "| 3 | 1.00 | 0.40 |" in lines
    assert "movers" not in report_markdown(summary_of([(0.5, 0.5)]))


def test_items_have_their_own_before_and_after() -> None:
    """In CSV empty where there is none; in the table only where there are both."""
    item = {
        "id": 7,
        "fate": "confirmed",
        "http_status": 200,
        "error": None,
        "attempts": 1,
        "before": 0.25,
        "after": 1.0,
    }
    gone = {**item, "before": None, "after": None}
    rows = list(csv.DictReader(io.StringIO(csv_lines([item, gone], header=True))))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["before"], row["after"]) for row in rows] == [("0.25", "1.0"), ("", "")]
    assert item_line(item).endswith("0.25 → 1.00")
    assert "→" not in item_line(gone)
    assert item_line({**item, "error": "said"}).endswith("said")


def test_what_is_accepted_says_what_it_showed() -> None:
    """At work, unchanged, out of sight, or nothing known; and whether another look is worth it."""

    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        with ledger() as book:
            await _job(book, [(None, None)] * 9, "")
            never = await summarize(book)
            await book.meet({1: "working", 2: "working", 3: "unmoved", 4: "unclear"}, 7)
            await book.hide_unmet(7)
            await book.confirm({9: None})
            return never, await summarize(book)

    never, seen = anyio.run(main)
    assert never["accepted"] == {"working": 0, "unchanged": 0, "hidden": 0, "unknown": 9}
    assert "taken by the service, not (yet) seen to be done" in report_text(never)
    assert "look again" not in report_text(never)
    assert seen["accepted"] == {"working": 2, "unchanged": 1, "hidden": 4, "unknown": 1}
    words = "2 still at work when last looked at, 1 unchanged, 4 out of this key's sight"
    assert f"taken by the service; {words}" in report_text(seen)
    assert words in report_markdown(seen)
    assert "look again with: rebatch resume ab12cd34" in report_text(seen)


def test_the_mark_of_a_key_tells_it_from_another_and_nothing_else() -> None:
    """Eight characters, other ones for each job: no key can be found out from them."""
    key = {"X-Key": "secret-of-the-account"}
    mark = mark_of(key, "ab12cd34")
    assert (len(mark), mark) == (8, mark_of({"x-key": "secret-of-the-account"}, "ab12cd34"))
    assert mark not in {mark_of({"X-Key": "secret-of-another"}, "ab12cd34"), mark_of(key, "zz99zz99")}
