"""Text from elsewhere, in a terminal, a table, a spreadsheet, a Markdown file and a log."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from engine import log
from engine.exchange import Reply
from engine.fates import ItemFate, explain
from engine.spec import parse_spec
from engine.text import harmless, spreadsheet
from jobs import kinds
from jobs.cli.show import COLUMNS, csv_lines, item_line, jobs_table, report_markdown, report_text
from jobs.cli.show_plan import plan_text

HOSTILE = "\x1b[2J\x07\r\n\u202egnp.exe\u2066\u200b\x9b31m\x00=1+1|`a`<script>"
CANARY = "ck_canary_9f8e7d6c5b4a"


@given(text=st.text())
def test_nothing_harmful_survives(text: str) -> None:
    """No control character, no format character, no surrogate: one line that stays where it is printed."""
    clean = harmless(text)
    assert not [char for char in clean if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}]
    assert len(clean.splitlines()) <= 1


@given(text=st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_printable_text_stays_as_it_is(text: str) -> None:
    """Every script is welcome."""
    assert harmless(text) == text


def test_what_was_there_can_still_be_told() -> None:
    """A dangerous character shows as its code."""
    assert harmless("a\x1b[1mb\u202ec") == "a<001b>[1mb<202e>c"
    assert harmless(harmless(HOSTILE)) == harmless(HOSTILE)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_is_no_formula_in_a_spreadsheet(text: str) -> None:
    """An apostrophe stands before it (OWASP, CSV injection)."""
    assert spreadsheet(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "400 Bad Request: =1", "a=b", "1-2", "'=1"])
def test_other_text_is_left_alone(text: str) -> None:
    """Only the first character makes a formula."""
    assert spreadsheet(text) == text


def item(error: str | None = None, **more: Any) -> dict[str, Any]:
    """An item of a report."""
    return {
        "id": 7,
        "fate": "failed",
        "http_status": 400,
        "error": error,
        "attempts": 1,
        "before": None,
        "after": None,
        **more,
    }


@given(error=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_csv_reads_back_as_it_was(error: str) -> None:
    """Quotes, commas and line breaks do not break a row, and no cell of text is a formula."""
    error = harmless(error)  # as everything that the service says
    rows = list(csv.reader(io.StringIO(csv_lines([item(error)], header=True), newline="")))
    assert rows[0] == list(COLUMNS)
    assert rows[1][:3] == ["7", "failed", "400"]
    assert rows[1][3] in {error, f"'{error}"}
    assert not rows[1][3].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert len(rows) == 2


def test_csv_comes_in_pieces() -> None:
    """The header once, then items; nothing is an empty cell."""
    assert csv_lines([], header=True) == "id,fate,http_status,error,attempts,before,after\n"
    assert csv_lines([item(None, http_status=None)], header=False) == "7,failed,,,1,,\n"


def summary(error: str = "no", **more: Any) -> dict[str, Any]:
    """A report of one failed item out of three."""
    counts = {fate.value: 0 for fate in ItemFate} | {"planned": 3, "confirmed": 2, "failed": 1}
    return {
        "job": "k3w9q2fd", "spec": "a", "kind": "delete_results", "state": "finished", "completeness": "complete",
        "unproven_because": None, "refused_because": None, "in_scope": 9, "counts": counts, "requests": 1, "retries": 0,
        "created_at": "2026-01-31T12:00:00+00:00", "started_at": "2026-01-31T12:00:00+00:00",
        "finished_at": "2026-01-31T12:01:05+00:00", "held": [], "reasons": [{"fate": "failed", "error": error, "items": 1}],
        "accepted": {"working": 0, "unchanged": 0, "hidden": 0, "unknown": 0}, "change": None,
        "archive": None, "files": [], **more,
    }  # fmt: skip


def test_a_report_tells_fates_totals_and_reasons() -> None:
    """As a person reads it."""
    assert report_text(summary("400 Bad Request: no")).splitlines() == [
        "Job k3w9q2fd · a · finished in 1m 05s",
        "  confirmed              2   done, and seen to be done",
        "  failed                 1   not done",
        "  planned                3",
        "  1 request, 0 retries",
        "  1 failed: 400 Bad Request: no",
    ]


def test_a_hostile_answer_cannot_break_a_report() -> None:
    """What the service said, all the way to the terminal: one line, no escape, no cell of its own in Markdown."""
    said = explain(Reply(400, body=json.dumps({"detail": HOSTILE}).encode()))
    for shown in (report_text(summary(said)), report_markdown(summary(said)), item_line(item(said))):
        assert not [char for char in shown if unicodedata.category(char) in {"Cc", "Cf"} and char != "\n"]
    plain = report_text(summary("x")).count("\n"), report_markdown(summary("x")).count("\n")
    assert (report_text(summary(said)).count("\n"), report_markdown(summary(said)).count("\n")) == plain
    row = report_markdown(summary(said)).splitlines()[-1]
    assert row.count("|") == 4
    assert row.count("`") == 2
    assert item_line(item(said)).count("\n") == 0


def test_a_report_of_what_a_guard_refused_says_why() -> None:
    """In the guard's words."""
    assert "refused: Too many." in report_text(summary(refused_because="Too many.", state="refused", started_at=None))


def test_the_list_of_jobs_is_a_table() -> None:
    """One line each, columns aligned."""
    job = {"job": "k3w9q2fd", "state": "finished", "kind": "delete_results", "planned": 12345, "spec": "a"}
    lines = jobs_table([{**job, "created_at": "2026-01-31T12:00:00+00:00"}] * 2).splitlines()
    assert len(lines) == 3
    assert lines[1].index("12,345") == lines[0].index("ITEMS")


# -- the log


class Sly(Exception):  # noqa: N818 - any exception
    """An exception whose text holds the key, as aiohttp's do."""


def fail(text: str) -> None:
    """Raise it."""
    raise Sly(text)


EVENTS: dict[str, dict[str, Any]] = {
    "text": {"value": f"key={CANARY}&x"},
    "mapping": {"headers": {"X-CEKURA-API-KEY": CANARY}},
    "nested": {"value": [{"a": (CANARY,)}]},
    "bytes": {"value": CANARY.encode()},
    "exception": {"error": Sly(CANARY)},
    "name": {CANARY: 1},
    "traceback": {"exc_info": True},
}


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("event", EVENTS)
def test_the_key_is_not_in_the_log(style: str, event: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In whatever value of an event it stands, it is not printed."""
    before = structlog.get_config()
    log.configure(2, style, [CANARY], color=False)
    try:
        secret = CANARY  # a local that a traceback might show
        try:
            fail(secret)
        except Sly:
            structlog.get_logger("x").info(f"sent {CANARY}", **EVENTS[event])
    finally:
        structlog.configure(**before)
    err = capsys.readouterr().err
    assert "sent" in err
    assert CANARY not in err


def test_without_a_secret_nothing_is_replaced() -> None:
    """An empty key would match everywhere."""
    assert log.redactor([""])(None, "info", {"event": "abc"}) == {"event": "abc"}


def test_foreign_text_in_the_log_is_harmless() -> None:
    """An answer cannot write to the terminal by way of the log."""
    assert log.redactor(["k"])(None, "info", {"event": "a\x1b[2Jk"}) == {"event": "a<001b>[2J(secret)"}


@pytest.mark.parametrize(
    ("verbosity", "shown"), [(0, ["w"]), (1, ["w", "i"]), (2, ["w", "i", "d"]), (9, ["w", "i", "d"])]
)
def test_verbosity_chooses_what_is_logged(verbosity: int, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings, then what the job does, then every exchange; in JSON, a line each."""
    before = structlog.get_config()
    log.configure(verbosity, "json", [], color=False)
    try:
        logger = structlog.get_logger("x")
        logger.warning("w")
        logger.info("i")
        logger.debug("d")
    finally:
        structlog.configure(**before)
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == shown


def plan_of(spec: str, **facts: Any) -> str:
    """The text of a plan of 10 out of 40 results, with further facts."""
    (job,) = parse_spec(f"version: 1\njobs: [{{name: a, resource: results, action: {spec}}}]", kinds.find())
    known = {
        "job": "k3w9q2fd", "planned": 10, "in_scope": 40, "completeness": "complete", "unproven_because": None, "pages": 13,
        "page_size": 100, "credits_estimated": 5.4, "credits_untold": 0, "origin": "https://a", "plan_hash": "1a2b3c4d" * 8,
        "planned_at": "2026-11-23T11:20:00+00:00", "certificate": None,
    }  # fmt: skip
    return plan_text(job, {**known, **facts}, [], 1)


CERTIFICATE = {
    "intervals": 41, "pages": 13, "again": 1, "width": 100, "clamped": False, "count_before": 992, "count_after": 1992, "passes": 1,
}  # fmt: skip


def test_a_plan_shows_the_certificate_of_its_walk_in_one_line() -> None:
    """What was read, how often again, and that no gap is left; where nothing is proven, why, and how it was tried."""
    shown = plan_of("{type: delete_results}", certificate=CERTIFICATE)
    walked = "13 pages read (1 again), at most 100 rows each"
    counted = "the list had 992 rows before and 1,992 after"
    assert f"\n  complete  yes; {walked}, 41 intervals without a gap; {counted}\n" in shown
    unproven = {"completeness": "unproven", "unproven_because": "ids do not descend"}
    shown = plan_of("{type: delete_results}", certificate={**CERTIFICATE, "passes": 3}, **unproven)
    assert f"\n  complete  unproven: ids do not descend; {walked} in 3 passes; {counted}\n" in shown


def test_a_plan_that_costs_says_what_and_whether_that_is_all() -> None:
    """A deletion costs nothing and does not speak of it."""
    evaluate = "{type: evaluate_metrics, metrics: [11, 12]}"
    assert "\n  credits   about 5.4; 0.4 for each completed or failed run\n" in plan_of(evaluate)
    untold = plan_of(evaluate, credits_untold=2)
    assert "\n  credits   at least 5.4; 0.4 for each completed or failed run; unknown for 2 items\n" in untold
    assert "credits" not in plan_of("{type: delete_results}")
