"""Reports: before and after add up whatever was measured, and every form says the same."""

from __future__ import annotations

import csv
import io
from functools import cache
from statistics import fmean
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

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
    await book.begin_walk()
    await book.see([Seen(index, 0, '["x"]', measure=before) for index, (before, _) in enumerate(measures, 1)])
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
@given(st.lists(st.tuples(st.none() | SHARE, st.none() | SHARE), min_size=1, max_size=30))
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


MANY = [{"path": f"out/part-{number}.csv", "rows": 1000, "bytes": 12_345, "sha256": "x"} for number in range(7)]


@cache
def finished() -> dict[str, Any]:
    """The report of a job of three items, made once."""
    return summary_of([(None, None)] * 3, "")


def markdown_of(stopped: str | None = None, **facts: Any) -> list[str]:
    """The lines of the Markdown of a job of which these facts are known."""
    return report_markdown({**finished(), **facts}, stopped).splitlines()


def test_markdown_says_where_files_and_archive_are() -> None:
    """The first few, and how to list the others; nothing where there are none."""
    lines = markdown_of(files=MANY, archive={"path": "kept.jsonl.zst", "rows": 1})
    assert "Archive `kept.jsonl.zst`, 1 row." in lines
    assert "| `out/part-4.csv` | 1,000 | 12,345 |" in lines
    assert not [line for line in lines if "part-5" in line]
    assert "And 2 more files: `rebatch report ab12cd34 --format json`" in lines
    assert "| wrote | rows | bytes |" in lines
    bare = "\n".join(markdown_of())
    assert "wrote" not in bare
    assert "rchive" not in bare
    assert "And 1 more file:" in "\n".join(markdown_of(files=MANY[:6]))


def test_markdown_says_what_to_do_about_held_items() -> None:
    """Their ids and both ways on; a cancelled job has neither."""
    counts = {**finished()["counts"], "held": 3}
    lines = markdown_of(held=[7, 8], counts=counts)
    assert "Held: 7, 8, and 1 more: `rebatch report ab12cd34 --items`." in lines
    (ways,) = [line for line in lines if "`rebatch resume ab12cd34 --release-held`" in line]
    assert "if they were not: `rebatch resume ab12cd34 --retry-held`" in ways
    cancelled = "\n".join(markdown_of(held=[7, 8, 9], counts=counts, state="cancelled"))
    assert "Held: 7, 8, 9." in cancelled
    assert "--release-held" not in cancelled
    assert "Held" not in "\n".join(markdown_of())


def test_markdown_says_why_it_went_no_further() -> None:
    """The guard, the error that stopped it, and what makes the plan unproven."""
    assert "Refused: `Too many.`" in markdown_of(refused_because="Too many.", state="refused")
    stopped = markdown_of("Too many. Select less.", refused_because="Too many.", state="refused")
    assert "Stopped: `Too many. Select less.`" in stopped
    assert "Refused" not in "\n".join(stopped)
    assert "completeness unproven: `gaps stayed open`." in markdown_of(
        completeness="unproven", unproven_because="gaps stayed open"
    )[2]  # fmt: skip


def test_markdown_says_how_long_it_took_and_what_it_cost() -> None:
    """And that another look is worth it, as the text does."""
    later = "2026-01-01T00:01:05+00:00"
    accepted = {"working": 2, "unchanged": 0, "hidden": 0, "unknown": 1}
    lines = markdown_of(finished_at=later, credits_estimated=1055.6, accepted=accepted)
    assert lines[2].startswith("Job `ab12cd34` (`evaluate_metrics`) in 1m 05s, 3 planned")
    assert "0 requests, 0 retries, about 1,055.6 credits by its plan." in lines
    assert "Look again with `rebatch resume ab12cd34`." in lines
    assert "Look again" not in "\n".join(markdown_of())
    assert "credits" not in "\n".join(markdown_of())


@given(st.text(st.sampled_from("`|<>*_[]()!\\\n\r#~&;@a 1-\u202e"), min_size=1, max_size=30))
def test_nothing_from_elsewhere_is_markup(hostile: str) -> None:
    """A checkpoint may come from another machine: whatever it says shows as code, in the table that it belongs to."""
    facts: dict[str, Any] = dict.fromkeys(
        ("job", "spec", "kind", "state", "completeness", "unproven_because", "refused_because"), hostile
    )
    facts |= {"archive": {"path": hostile, "rows": 1}, "files": [{"path": hostile, "rows": 1, "bytes": 1}] * 7}
    facts |= {"held": [hostile], "reasons": [{"fate": hostile, "error": hostile, "items": 1}]}
    facts["counts"] = {**finished()["counts"], "held": 3}
    facts["change"] = {
        **dict.fromkeys(("items", "improved", "fell", "stayed"), 1),
        "measure": hostile,
        "before": 0.1,
        "after": 0.2,
        "movers": [{"id": hostile, "before": 0.1, "after": 0.2}],
    }
    plain = shape({name: _plain(value) for name, value in facts.items()})
    assert shape(facts) == plain
    assert shape({**facts, "refused_because": None}, hostile) == plain


def test_an_empty_text_is_code_too() -> None:
    """Two backticks would begin a span that takes in whatever comes after."""
    (row,) = [line for line in markdown_of(reasons=[{"fate": "failed", "error": "", "items": 1}]) if "failed" in line]
    assert row == "| 1 | failed | ` ` |"


def _plain(value: Any) -> Any:
    """The same facts in the words of somebody who means well."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else "-" if isinstance(value, str) else value


def shape(facts: dict[str, Any], stopped: str | None = None) -> list[str]:
    """The elements that a Markdown renderer makes of a report, but for texts and code."""
    rendered = (
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse("\n".join(markdown_of(stopped, **facts)))
    )
    inner = [child for token in rendered for child in token.children or [] if child.type not in {"text", "code_inline"}]
    return [token.type for token in [*rendered, *inner]]


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
