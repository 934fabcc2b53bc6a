"""Runs: every shape in which the service shows them, what a summary lacks, and the kinds that act on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import orjson
import pytest

from engine.fates import Evidence, ItemFate
from engine.ledger import CHUNK
from engine.where import Row
from jobs.kinds.delete_runs import DeleteRuns
from jobs.kinds.export import ExportResults, ExportRuns
from jobs.results import Results, Scope
from jobs.runs import FIELDS, Runs

DELETE, RUNS = DeleteRuns(), Runs()
SUMMARY: dict[str, Any] = {"id": 9, "status": "failed", "success": False, "timestamp": "2026-01-01T00:00:00Z"}
RESULT: dict[str, Any] = {"id": 7, "agent": 101, "name": "Nightly"}


@pytest.mark.parametrize("runs", [[SUMMARY], {"9": SUMMARY}, {"any key": SUMMARY}])
def test_runs_are_taken_from_arrays_and_from_mappings(runs: object) -> None:
    """With what their result knows of them."""
    assert RUNS.items({**RESULT, "runs": runs}) == [{**SUMMARY, "result": 7, "agent": 101, "result_name": "Nightly"}]


@pytest.mark.parametrize("runs", [None, "x", 5, [1, 2], {"9": 9}])
def test_where_a_result_does_not_show_its_runs_the_detail_is_asked_for(runs: object) -> None:
    """And a detail that does not either is no answer."""
    assert RUNS.items({**RESULT, "runs": runs}) is None
    assert RUNS.items(RESULT) is None
    assert RUNS.detail(7).path == "/test_framework/v1/results/7/"
    with pytest.raises(ValueError, match="without its runs"):
        RUNS.read_detail(orjson.dumps({**RESULT, "runs": runs}))


@pytest.mark.parametrize("runs", [[], {}])
def test_a_result_without_runs_has_none(runs: object) -> None:
    """It shows that it has none, so nothing is asked for."""
    assert RUNS.items({**RESULT, "runs": runs}) == []


def test_a_result_that_shows_fewer_runs_than_it_counts_does_not_show_them() -> None:
    """Its detail is asked for, and what that shows is all there is to see."""
    assert RUNS.items({**RESULT, "runs": {}, "total_runs_count": "5"}) is None
    assert RUNS.items({**RESULT, "runs": [SUMMARY], "total_runs_count": "2"}) is None
    detail = RUNS.read_detail(orjson.dumps({**RESULT, "runs": {"9": SUMMARY}, "total_runs_count": "2"}))
    assert [run["id"] for run in RUNS.items(detail) or ()] == [9]


def test_what_runs_in_bulk_says_of_a_run_does_not_move_it_to_another_result() -> None:
    """Nor does a missing agent take away what its result knows."""
    (run,) = RUNS.items({**RESULT, "runs": [{**SUMMARY, "agent": None}]}) or ()
    assert run["agent"] == 101
    assert RUNS.completed(run, {"id": 9, "result": 999, "feedback": "x"}) == {**run, "feedback": "x"}
    assert ExportRuns().row({"id": 9, "result": 999}, 7) == {"id": 9, "result": 7}


def test_a_run_without_an_id_is_no_run() -> None:
    """A ValueError, never a part taken for all."""
    with pytest.raises(ValueError, match="a run without an id"):
        RUNS.items({**RESULT, "runs": [{"status": "failed"}]})


def test_a_run_names_no_other_result_than_the_one_it_was_met_in() -> None:
    """Whatever a summary says: what is deleted is deleted there."""
    (run,) = RUNS.items({**RESULT, "runs": [{**SUMMARY, "result": 999}]}) or ()
    assert (run["result"], RUNS.parent(run), DELETE.group(run)) == (7, 7, 7)


def test_what_a_summary_lacks_is_told_by_field() -> None:
    """By the service's name of it; what the fingerprint is made of is always needed."""
    (run,) = RUNS.items({**RESULT, "runs": [SUMMARY]}) or ()
    assert not RUNS.lacks(run, {"created_at", "agent_id", "status", "result"})
    assert RUNS.lacks(run, {"error_message"})
    assert RUNS.lacks({key: value for key, value in run.items() if key != "success"}, ())


class _Summaries(Results):
    """A list of another package, whose rows tell too little."""

    def lacks(self, row: Row, fields: Collection[str]) -> bool:
        return "name" not in row and "name" in fields


class _Folders(Results):
    """And one whose rows hold the items."""

    def items(self, listed: Row) -> Sequence[Row] | None:
        return listed.get("inside")


def test_only_where_every_row_is_an_item_and_tells_all_is_nothing_asked_for() -> None:
    """Whoever says where items lie, or what a row lacks, is asked for each row."""
    assert [each.tells_items for each in (Results(), RUNS, _Summaries(), _Folders())] == [True, False, False, False]


def test_runs_are_asked_for_by_a_hundred_as_plain_text() -> None:
    """Not a JSON array, which is a 400."""
    request = RUNS.by_id(tuple(range(1, CHUNK + 1)))
    assert (request.method, request.path) == ("GET", "/test_framework/v1/runs/bulk/")
    assert request.query == {"run_ids": ",".join(map(str, range(1, CHUNK + 1)))}
    assert RUNS.at_once == CHUNK


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"results": []}', b"[{}]", b'[{"id": "9"}]', b"[null]"])
def test_what_is_no_list_of_runs_is_refused(body: bytes) -> None:
    """A ValueError."""
    with pytest.raises(ValueError):  # noqa: PT011 - one error for whatever is no answer
        RUNS.read_by_id(body)


def test_being_evaluated_makes_no_other_run_of_it() -> None:
    """Deleting runs of a result makes the service evaluate those that are left."""
    mark = RUNS.fingerprint({"id": 1, "status": "completed", "success": True})
    assert mark == RUNS.fingerprint({"id": 1, "status": "evaluating", "success": True})
    assert mark != RUNS.fingerprint({"id": 1, "status": "completed", "success": False})
    assert mark != RUNS.fingerprint({"id": 1, "status": "running", "success": True})


def test_a_deletion_of_runs_asks_for_those_of_one_result() -> None:
    """POST delete_runs, below the result."""
    request = DELETE.request(DELETE.Action(), 7, (9, 8))
    assert (request.method, request.path) == ("POST", "/test_framework/v1/results/7/delete_runs/")
    assert orjson.loads(request.body or b"") == {"run_ids": [9, 8]}


@pytest.mark.parametrize(("after", "expected"), [(None, Evidence.APPLIED), (SUMMARY, Evidence.UNMOVED)])
def test_a_deleted_run_is_gone(after: Row | None, expected: Evidence) -> None:
    """There or not there."""
    assert DELETE.evidence(["failed", False], after) is expected


def test_the_kind_knows_what_it_is() -> None:
    """Irreversible, never twice on a guess, one request of each result at a time."""
    assert (DELETE.irreversible, DELETE.repeatable, DELETE.one_at_a_time) == (True, False, True)
    assert (DELETE.unmoved, DELETE.grouped_by) == (ItemFate.FAILED, "result")


def test_a_scope_that_names_ids_sends_none_of_them() -> None:
    """They are no filters of the service."""
    query = RUNS.page(Scope(agent_id=101, ids=[5, 6]), 1, 100).query
    assert query == {"agent_id": "101", "page": "1", "page_size": "100"}


def test_an_exported_run_says_which_result_it_lies_in() -> None:
    """Which runs/bulk does not tell."""
    assert ExportRuns().row({"id": 9, "status": "failed"}, 7) == {"id": 9, "result": 7, "status": "failed"}
    assert ExportResults().row({"id": 7}, None) == {"id": 7}


def test_columns_have_the_names_that_the_service_gives() -> None:
    """No field twice, and nothing that a run in full does not have."""
    names = [column.name for column in ExportRuns().columns()]
    assert len(names) == len(set(names))
    assert set(names) >= {"id", "result", "agent", "status", "timestamp", "transcript", "evaluation"}
    assert not {"agent_id", "created_at", "result_name"} & set(names)
    results = {column.name for column in ExportResults().columns()}
    assert "created_at" in results
    assert "agent_id" not in results
    assert set(FIELDS) >= {"agent_id", "created_at"}
