"""Our two kinds and the list they act on: requests by the contract, evidence, and every shape the service sends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from engine.fates import Evidence, ItemFate
from engine.kind import LARGEST, Change, Page
from engine.ledger import CHUNK
from engine.where import OPERATORS, Row, parse_where
from jobs import kinds
from jobs.kinds.delete_results import DeleteResults
from jobs.kinds.evaluate_metrics import EvaluateMetrics
from jobs.results import BUSY, FIELDS, STATUSES, Results, Scope

CONTRACT = Path(__file__).parents[3] / "shared/contract/openapi.yaml"
DELETE, EVALUATE, RESULTS = DeleteResults(), EvaluateMetrics(), Results()


def test_a_deletion_asks_for_its_ids_and_nothing_else() -> None:
    """POST bulk_delete with result_ids."""
    request = DELETE.request(DELETE.Action(), 0, (3, 2, 1))
    assert (request.method, request.path, request.query) == ("POST", "/test_framework/v1/results/bulk_delete/", None)
    assert orjson.loads(request.body or b"") == {"result_ids": [3, 2, 1]}


def test_an_evaluation_asks_for_its_ids_and_metrics() -> None:
    """POST bulk_evaluate_metrics with result_ids and metric_ids."""
    request = EVALUATE.request(EVALUATE.Action.model_validate({"metrics": [12, 11]}), 101, (3, 2))
    assert (request.method, request.path) == ("POST", "/test_framework/v1/results/bulk_evaluate_metrics/")
    assert orjson.loads(request.body or b"") == {"result_ids": [3, 2], "metric_ids": [12, 11]}


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract is not on this machine")
@pytest.mark.parametrize(
    ("kind", "action", "path", "schema"),
    [
        (DELETE, {}, "/test_framework/v1/results/bulk_delete/", "SchemaPostBulkDeleteResults"),
        (EVALUATE, {"metrics": [11]}, "/test_framework/v1/results/bulk_evaluate_metrics/", "SchemaPostBulkEvaluateResultMetrics"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("items", [1, CHUNK])
def test_requests_keep_to_the_contract(
    kind: Change, action: dict[str, Any], path: str, schema: str, items: int
) -> None:
    """Path, method and body are those of the vendor's document, for the smallest and the largest chunk."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - only where the contract is

    contract = YAML(typ="safe", pure=True).load(CONTRACT.read_text(encoding="utf-8"))
    request = kind.request(kind.Action.model_validate(action), 1, tuple(range(1, items + 1)))
    assert request.path == path
    assert request.method.lower() in contract["paths"][path]
    body = contract["components"]["schemas"][schema]
    Draft202012Validator(body).validate(orjson.loads(request.body or b""))
    assert body["properties"]["result_ids"]["maxItems"] == CHUNK


ROW: Row = {"id": 1, "status": "completed", "updated_at": "2026-01-01T00:00:00Z", "success_rate": 0.5}
MARK = ["completed", "2026-01-01T00:00:00Z", 0.5]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (None, Evidence.UNCLEAR),
        (ROW, Evidence.UNMOVED),
        ({**ROW, "name": "renamed"}, Evidence.UNMOVED),
        ({**ROW, "updated_at": "2026-01-02T00:00:00Z"}, Evidence.APPLIED),
        ({**ROW, "success_rate": 0.6}, Evidence.APPLIED),
        ({**ROW, "status": "failed"}, Evidence.APPLIED),
        *(({**ROW, "status": status, "updated_at": "x"}, Evidence.WORKING) for status in sorted(BUSY)),
    ],
)
def test_an_evaluation_shows_in_status_and_time(after: Row | None, expected: Evidence) -> None:
    """Unmoved is only what is as it was; busy is under way; gone proves nothing."""
    assert EVALUATE.evidence(list(MARK), after) is expected


def test_a_result_that_was_busy_when_planned_and_still_is_has_not_moved() -> None:
    """Busy alone is no evidence."""
    assert EVALUATE.evidence(["running", "t", 0.5], {**ROW, "status": "running", "updated_at": "t"}) is Evidence.UNMOVED


@pytest.mark.parametrize(("after", "expected"), [(None, Evidence.APPLIED), (ROW, Evidence.UNMOVED)])
def test_a_deletion_shows_in_what_is_gone(after: Row | None, expected: Evidence) -> None:
    """There or not there."""
    assert DELETE.evidence([], after) is expected
    assert DELETE.evidence(list(MARK), after) is expected


@pytest.mark.parametrize(
    ("sent", "measured"),
    [
        (0.25, 0.25),
        (25, 0.25),
        (100, 1.0),
        (0, 0.0),
        (1, 1.0),
        (-1, None),
        (1e6, None),
        ("1", None),
        (None, None),
        (True, None),
    ],
)
def test_an_evaluation_measures_the_success_rate_as_a_share(sent: object, measured: float | None) -> None:
    """A percentage is divided by 100; what is no share of anything is unknown. A deletion measures nothing."""
    row: Row = {**ROW, "success_rate": sent}
    assert (EVALUATE.measured, EVALUATE.measure(row)) == ("success rate", measured)
    assert (DELETE.measured, DELETE.measure(row)) == ("", None)


def test_the_kinds_know_what_they_are() -> None:
    """What may be repeated, what cannot be undone, and what becomes of what stayed as it was."""
    assert (DELETE.irreversible, DELETE.repeatable, DELETE.unmoved) == (True, True, ItemFate.FAILED)
    assert (EVALUATE.irreversible, EVALUATE.repeatable, EVALUATE.unmoved) == (False, False, ItemFate.ACCEPTED)
    ours = {"delete_results", "delete_runs", "evaluate_metrics", "export_results", "export_runs"}
    assert kinds.find().keys() == ours


def test_evaluations_travel_by_agent() -> None:
    """A metric out of one agent's scope would spoil a mixed request; deletions may be mixed."""
    assert [EVALUATE.group(row) for row in ({"id": 1, "agent": 101}, {"id": 1, "agent": None}, {"id": 1})] == [
        101,
        0,
        0,
    ]
    assert DELETE.group({"id": 1, "agent": 101}) == 0


def test_an_action_is_told_in_words() -> None:
    """As the beginning of a sentence."""
    metrics = EVALUATE.Action.model_validate
    assert EVALUATE.describe(metrics({"metrics": [11]})) == "Re-evaluate metric 11 on"
    assert EVALUATE.describe(metrics({"metrics": [11, 12]})) == "Re-evaluate metrics 11, 12 on"
    assert DELETE.describe(DELETE.Action()) == "Delete"


@pytest.mark.parametrize(
    ("completed", "failed", "expected"),
    [
        ("10", "2", 8.4), ("0", "0", 0.0), (3, "1", 2.8), ("10", None, None), (None, "2", None), ("ten", "2", None),
        (-1, 2, None), (2**63, 0, None), (1.5, 2, None), (True, 2, None), ("9" * 18, "0", 0.7 * (10**18 - 1)),
    ],
)  # fmt: skip
def test_an_evaluation_costs_by_run_and_metric(completed: Any, failed: Any, expected: float | None) -> None:
    """Counts come as text; a row whose counts are nonsense does not tell what it costs, and never lowers a sum."""
    action = EVALUATE.Action.model_validate({"metrics": [11, 12], "prices": {"12": 0.5}})
    row = {"id": 1, "completed_runs_count": completed, "failed_runs_count": failed}
    assert EVALUATE.cost(action, row) == (None if expected is None else pytest.approx(expected))
    assert EVALUATE.priced(action) == "0.7 for each completed or failed run"


def test_a_deletion_costs_nothing() -> None:
    """And has no price."""
    assert (DELETE.cost(DELETE.Action(), {"id": 1}), DELETE.priced(DELETE.Action())) == (0.0, "")


def test_a_page_is_asked_for_as_the_service_wants_it() -> None:
    """Filters as text, scenarios joined by commas, the trailing slash kept."""
    scope = Scope(agent_id=101, project_id=42, search="a&b", scenarios=[1, 2])
    request = RESULTS.page(scope, 3, 57)
    assert (request.method, request.path, request.body) == ("GET", "/test_framework/v1/results/", None)
    assert request.query == {
        "agent_id": "101", "project_id": "42", "search": "a&b", "scenarios": "1,2", "page": "3", "page_size": "57",
    }  # fmt: skip
    assert RESULTS.page(Scope(), 1, 100).query == {"page": "1", "page_size": "100"}
    assert RESULTS.by_id([7]).path == "/test_framework/v1/results/7/"


@pytest.mark.parametrize("runs", [[{"id": 1}], {"1": {"id": 1}}, {}, [], None])
@pytest.mark.parametrize("more", ["http://evil.example/?page=2", None])
def test_a_page_is_read_whatever_form_its_runs_have(runs: Any, more: str | None) -> None:
    """Runs are a list or a mapping; `next` is a yes or no."""
    page = RESULTS.read_page(
        orjson.dumps({"count": 3, "next": more, "previous": None, "results": [{"id": 5, "runs": runs}]})
    )
    assert ([row["id"] for row in page.rows], page.count, page.more) == ([5], 3, more is not None)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b"5", b'"x"', b"{}", b'{"count": 1}', b'{"results": []}', b'{"count": "3", "results": []}',
        b'{"count": null, "results": []}', b'{"count": 1.5, "results": []}', b'{"count": 1, "results": {}}',
        b'{"count": 1, "results": [{}]}', b'{"count": 1, "results": [null]}', b'{"count": 1, "results": [{"id": "1"}]}',
        b'{"count": 1, "results": [{"id": true}]}', b'{"count": 1, "results": [{"id": 1.0}]}', b"\xff",
        b'{"count": 1, "results": [{"id": 0}]}', b'{"count": 1, "results": [{"id": -1}]}', b'{"count": 1, "results": [{"id": 1e3}]}',
        b'{"count": 1, "results": [{"id": 9223372036854775808}]}', b'{"count": 1, "results": [{"id": null}]}',
        b'{"count": -1, "results": []}', b'{"count": 9223372036854775808, "results": []}',
        b'{"count": 1%s, "results": []}' % (b"0" * 400), b'{"count": 1, "results": [{"id": 1%s}]}' % (b"0" * 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", [RESULTS.read_page, RESULTS.reader(FIELDS)])
def test_what_is_no_page_is_refused(read: Callable[[bytes], Page], body: bytes) -> None:
    """A ValueError, never a part taken for all. Whoever skims meets whole numbers of any size."""
    with pytest.raises(ValueError):  # noqa: PT011 - one error for whatever is not a page
        read(body)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"id": "1"}', b'{"id": null}'])
def test_what_is_no_result_is_refused(body: bytes) -> None:
    """A ValueError as well."""
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        RESULTS.read_by_id(body)


@pytest.mark.parametrize("read", [RESULTS.read_page, RESULTS.reader(FIELDS)])
def test_the_largest_id_that_a_checkpoint_can_hold_is_one(read: Callable[[bytes], Page]) -> None:
    """Whether a page is read whole or skimmed."""
    assert read(b'{"count": 1, "results": [{"id": 9223372036854775807}]}').rows[0]["id"] == LARGEST - 1


def test_a_fingerprint_is_made_of_plain_values() -> None:
    """What is nested, or larger than JSON's numbers may be, is known by its type."""
    odd = {"id": 1, "status": {"a": [1]}, "updated_at": 10**30, "success_rate": True}
    assert RESULTS.fingerprint(odd) == ["dict", "int", True]
    assert RESULTS.fingerprint({"id": 1, "status": None, "success_rate": 7}) == [None, None, 7]


def test_a_detail_reads_as_a_row_of_the_list() -> None:
    """So that fingerprints of both can be compared."""
    (row,) = RESULTS.read_by_id(orjson.dumps({**ROW, "runs": {"9": {"id": 9}}}))
    assert RESULTS.fingerprint(row) == RESULTS.fingerprint(ROW) == MARK


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("total_runs_count", "10", 10), ("total_runs_count", 10, 10), ("total_runs_count", "", None),
        ("total_runs_count", "ten", None), ("total_runs_count", None, None), ("total_runs_count", 1.5, None),
        ("success_rate", 0.5, 0.5), ("success_rate", 50, 0.5), ("success_rate", 87.5, 0.875), ("success_rate", "0.5", None),
        ("success_rate", None, None), ("is_cronjob", "true", True), ("is_cronjob", "False", False), ("is_cronjob", True, True),
        ("is_cronjob", "maybe", None), ("is_cronjob", None, None), ("agent_inbound", False, False), ("name", "a", "a"),
        ("status", "failed", "failed"), ("created_at", "soon", None), ("created_at", None, None), ("created_at", 5, None),
        ("scenarios", [{"id": 1, "name": "A"}], ["A"]), ("scenarios", {"1": {"id": 1, "name": "A"}}, ["A"]),
        ("scenarios", [], []), ("scenarios", ["x", {"name": "B"}], ["B"]),
    ],
)  # fmt: skip
def test_fields_are_read_as_the_service_sends_them(field: str, value: Any, expected: Any) -> None:
    """Counts and truths come as text, scenarios as a list or a mapping; nonsense counts as missing."""
    assert FIELDS[field].read({"id": 1, field: value}) == expected


FOREIGN: tuple[Any, ...] = (None, 5, 1.5, "x", "9" * 5000, True, [], {}, [1], {"a": 1}, 10**400)
OPERANDS: dict[str, Any] = {
    "eq": "x", "ne": "x", "in": ["x"], "not_in": ["x"], "contains": "x", "matches": "x", "older_than": "1d", "newer_than": "1d",
}  # fmt: skip


def test_no_value_of_the_service_breaks_a_condition() -> None:
    """A field that holds something unheard of is a row like any other, not the end of the plan."""
    broken = []
    for name, field in FIELDS.items():
        for operator in set(OPERATORS[field.type]) & set(OPERANDS):
            raw = OPERANDS[operator]
            if field.values:
                raw = field.values[0] if isinstance(raw, str) else [field.values[0]]
            predicate, _ = parse_where({name: {operator: raw}}, FIELDS, datetime.now(UTC))
            for value in FOREIGN:
                try:
                    predicate({"id": 1, name: value})
                except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                    broken.append(f"{name}: {operator} on {type(value).__name__}: {type(error).__name__}")
    assert broken == []


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract is not on this machine")
def test_the_fields_and_statuses_are_those_of_the_contract() -> None:
    """`where` knows every field of a result but its runs."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - only where the contract is

    contract = YAML(typ="safe", pure=True).load(CONTRACT.read_text(encoding="utf-8"))
    properties = contract["components"]["schemas"]["Result"]["properties"]
    assert set(FIELDS) == set(properties) - {"runs"} | {"agent_id"}
    assert set(STATUSES) == set(properties["status"]["enum"])
    parameters = {each["name"] for each in contract["paths"]["/test_framework/v1/results/"]["get"]["parameters"]}
    assert set(Scope.model_fields) == parameters - {"page", "page_size"} | {"ids", "ids_from"}
