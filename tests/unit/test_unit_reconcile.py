"""What reading back decides about an attempt of unknown fate."""

from __future__ import annotations

from typing import Any

import pytest

from engine.fates import ItemFate
from engine.kind import Change
from engine.ledger import Chunk, Unsettled
from engine.reconcile import Settlement, judge
from engine.where import Row
from jobs.kinds.delete_results import DeleteResults
from jobs.kinds.evaluate_metrics import EvaluateMetrics

MARK = ["completed", "2026-01-01T00:00:00Z", 0.5]
SAME: Row = {"id": 0, "status": "completed", "updated_at": "2026-01-01T00:00:00Z", "success_rate": 0.5}
DONE: Row = {**SAME, "updated_at": "2026-01-02T00:00:00Z"}
BUSY: Row = {**SAME, "status": "running"}
A, H, F, N = ItemFate.ACCEPTED, ItemFate.HELD, ItemFate.FAILED, ItemFate.NOT_ATTEMPTED


def settled(
    rows: dict[int, Row | None], *, items: int = 3, may_resend: bool = True, kind: Change | None = None
) -> dict[int, ItemFate]:
    """What each of the items 1, 2, 3, … becomes."""
    judged = settlement(rows, items=items, may_resend=may_resend, kind=kind)
    assert judged.fate not in {fate for fate, _ in judged.apart.values()}
    return {item: judged.apart.get(item, (judged.fate, None))[0] for item in range(1, items + 1)}


def settlement(
    rows: dict[int, Row | None], *, items: int = 3, may_resend: bool = True, kind: Change | None = None
) -> Settlement:
    """The decision about a chunk that was sent twice."""
    ids = tuple(range(1, items + 1))
    unsettled = Unsettled(Chunk(1, items, 7, 2, ids), {item: list(MARK) for item in ids})
    return judge(kind or EvaluateMetrics(), unsettled, [rows, rows], may_resend=may_resend)


CASES: list[tuple[dict[int, Any], bool, dict[int, ItemFate]]] = [
    ({1: DONE, 2: BUSY, 3: DONE}, True, {1: A, 2: A, 3: A}),
    ({1: SAME, 2: SAME, 3: SAME}, True, {1: N, 2: N, 3: N}),
    ({1: SAME, 2: DONE, 3: BUSY}, True, {1: N, 2: A, 3: A}),
    ({1: None, 2: None, 3: None}, True, {1: H, 2: H, 3: H}),
    ({}, True, {1: H, 2: H, 3: H}),
    ({1: DONE, 2: None}, True, {1: A, 2: H, 3: H}),
    ({1: SAME, 2: None, 3: DONE}, True, {1: N, 2: H, 3: A}),
    ({1: SAME, 2: SAME, 3: SAME}, False, {1: F, 2: F, 3: F}),
    ({1: SAME, 2: DONE, 3: None}, False, {1: F, 2: A, 3: H}),
    ({1: DONE, 2: DONE, 3: DONE}, False, {1: A, 2: A, 3: A}),
    ({2: SAME}, False, {1: H, 2: F, 3: H}),
]


@pytest.mark.parametrize(("rows", "may_resend", "expected"), CASES)
def test_only_what_did_not_move_is_sent_again(
    rows: dict[int, Row | None],
    may_resend: bool,  # noqa: FBT001 - a table
    expected: dict[int, ItemFate],
) -> None:
    """Moved is accepted, unmoved is sent again while there are attempts and has failed after them, unclear is held."""
    assert settled(rows, may_resend=may_resend) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({1: DONE, 2: DONE, 3: BUSY}, {1: A, 2: A, 3: A}),
        ({1: SAME, 2: DONE, 3: SAME}, {1: N, 2: N, 3: N}),
        ({2: DONE}, {1: H, 2: H, 3: H}),
    ],
)
def test_what_was_busy_before_takes_the_fate_of_its_request(
    rows: dict[int, Row | None], expected: dict[int, ItemFate]
) -> None:
    """A result that was running may have moved by itself; those beside it in the request tell whether that was carried out."""
    marks = {1: list(MARK), 2: ["running", *MARK[1:]], 3: list(MARK)}
    judged = judge(EvaluateMetrics(), Unsettled(Chunk(1, 3, 7, 2, (1, 2, 3)), marks), [rows, rows], may_resend=True)
    assert {item: judged.apart.get(item, (judged.fate, None))[0] for item in (1, 2, 3)} == expected


def test_what_is_held_says_why() -> None:
    """A person has to decide, so the report tells about what."""
    apart = settlement({1: SAME, 2: None, 3: DONE}).apart
    assert apart[2] == (H, "may have been carried out; reading back does not tell")
    assert apart[3] == (A, None)


def test_what_has_failed_says_how_often_it_was_sent() -> None:
    """The number of attempts is the reason."""
    judged = settlement({1: SAME, 2: SAME, 3: SAME}, may_resend=False)
    assert (judged.fate, judged.error, judged.apart) == (F, "sent 2 times without effect", {})


def test_a_deletion_is_read_from_what_is_gone() -> None:
    """Gone was deleted; what is there was not."""
    assert settled({1: None, 2: SAME, 3: DONE}, kind=DeleteResults()) == {1: A, 2: N, 3: N}
