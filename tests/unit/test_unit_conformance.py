"""The suite that authors of kinds run: ours pass it, and each promise has a kind that breaks it and is found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from engine.conformance import check_kind
from engine.exchange import Request
from engine.fates import Evidence, ItemFate
from engine.kind import Kind, Page, Resource
from engine.where import Row
from jobs import kinds
from jobs.kinds.delete_results import DeleteResults
from jobs.kinds.evaluate_metrics import EvaluateMetrics
from jobs.kinds.export import ExportResults
from jobs.results import Results

RESULTS: list[Row] = [
    {
        "id": item, "agent": 101, "name": "Nightly", "status": "completed", "updated_at": "2026-01-01T00:00:00Z",
        "success_rate": 0.5, "completed_runs_count": "3", "failed_runs_count": "1",
    }
    for item in (7, 8)
]  # fmt: skip
RUNS: list[Row] = [{"id": item, "result": 7, "agent": 101, "status": "failed", "success": False} for item in (9, 10)]
ACTIONS: dict[str, dict[str, Any]] = {
    "evaluate_metrics": {"metrics": [11, 12]},
    "export_results": {"path": "out/results.csv", "partition_by": ["agent"]},
    "export_runs": {"path": "out/runs.jsonl"},
}


@pytest.mark.parametrize("name", sorted(kinds.find()))
def test_our_own_kinds_conform(name: str) -> None:
    """As anybody's must."""
    rows = RUNS if name.endswith("_runs") else RESULTS
    assert check_kind(kinds.find()[name], action=ACTIONS.get(name, {}), rows=rows) == []


class _NoKind:
    """Neither a change nor an export."""


class _BadName(DeleteResults):
    name = "Delete results"


class _NoResource(DeleteResults):
    resource: ClassVar[Any] = Results  # the class, not an instance


class _LooseAction(DeleteResults):
    Action: ClassVar[Any] = dict  # no model


class _Unsaid(DeleteResults):
    repeatable: ClassVar[Any] = None  # not said


class _OddVerdict(DeleteResults):
    unmoved = ItemFate.HELD


class _Stateful(DeleteResults):
    def __init__(self) -> None:
        self.count = 0


class _Silent(DeleteResults):
    def describe(self, action: Any) -> str:  # noqa: ARG002 - as declared
        return "deletes."


class _NoGroup(DeleteResults):
    def group(self, row: Row) -> Any:
        return str(row["id"])


class _Moving(Results):
    calls: ClassVar[list[int]] = []

    def fingerprint(self, row: Row) -> list[Any]:  # noqa: ARG002 - as declared
        self.calls.append(1)
        return [len(self.calls)]


class _NewEachTime(DeleteResults):
    resource: ClassVar[Resource] = _Moving()


class _TooGood(EvaluateMetrics):
    def measure(self, row: Row) -> float | None:  # noqa: ARG002 - as declared
        return 50.0


class _Paid(EvaluateMetrics):
    def cost(self, action: Any, row: Row) -> float | None:  # noqa: ARG002 - as declared
        return -1.0


class _ReadsMore(EvaluateMetrics):
    reads: ClassVar[Sequence[str]] = ("agent", "success_rate")


class _Brittle(DeleteResults):
    def group(self, row: Row) -> int:
        return len(row["name"].strip()) * 0


class _OnePage(Results):
    def page(self, scope: Any, number: int, size: int) -> Request:  # noqa: ARG002 - as declared
        return super().page(scope, 1, 100)


class _SamePage(DeleteResults):
    resource: ClassVar[Resource] = _OnePage()


class _Anything(Results):
    def read_page(self, body: bytes) -> Page:  # noqa: ARG002 - as declared
        return Page([], 0, more=False)


class _ReadsAnything(DeleteResults):
    resource: ClassVar[Resource] = _Anything()


class _OfNobody(Results):
    def by_id(self, ids: Sequence[int]) -> Request:  # noqa: ARG002 - as declared
        return Request("GET", "/results/1/")


class _AsksForNobody(DeleteResults):
    resource: ClassVar[Resource] = _OfNobody()


class _Elsewhere(DeleteResults):
    def request(self, action: Any, group: int, ids: Sequence[int]) -> Request:
        whole = super().request(action, group, ids)
        return Request("POST", "https://elsewhere.example/", body=whole.body)


class _Forgetful(DeleteResults):
    def request(self, action: Any, group: int, ids: Sequence[int]) -> Request:
        return super().request(action, group, ids[:50])


class _Credulous(DeleteResults):
    def evidence(self, before: list[Any], after: Row | None) -> Evidence:  # noqa: ARG002 - as declared
        return Evidence.APPLIED


class _Blind(DeleteResults):
    def evidence(self, before: list[Any], after: Row | None) -> Evidence:  # noqa: ARG002 - as declared
        return Evidence.UNMOVED


class _NoColumns(ExportResults):
    def columns(self) -> Sequence[Any]:
        return ()


class _Unpartitioned(ExportResults):
    def partition(self, action: Any, row: Row) -> tuple[Any, ...]:  # noqa: ARG002 - as declared
        return ()


class _Anonymous(ExportResults):
    def row(self, row: Row, parent: int | None) -> Row:  # noqa: ARG002 - as declared
        return {"name": row["name"]}


BROKEN: Mapping[type[Any], str] = {
    _NoKind: "neither a Change nor an Export",
    _BadName: "`name` must be",
    _NoResource: "`resource` must be an instance",
    _LooseAction: "`Action` must be a class derived from Strict",
    _Unsaid: "`repeatable` must be",
    _OddVerdict: "`unmoved` must be",
    _Stateful: "keeps state in count",
    _Silent: "`describe` must give",
    _NoGroup: "`group` must be a whole number",
    _NewEachTime: "`fingerprint` must be",
    _TooGood: "`measure` must be",
    _Paid: "`cost` must be",
    _ReadsMore: "`reads` leaves out a field",
    _Brittle: "bears_odd_rows: AttributeError",
    _SamePage: "`page` must ask for the page",
    _ReadsAnything: "`read_page` must raise ValueError",
    _AsksForNobody: "`by_id` must ask for every id",
    _Elsewhere: "a path that begins with “/”",
    _Forgetful: "`request` must hold every id",
    _Credulous: "must be UNMOVED, not",
    _Blind: "must not be UNMOVED",
    _NoColumns: "`columns` must have names",
    _Unpartitioned: "`partition` must give",
    _Anonymous: "`row` must keep the id",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda kind: kind.__name__.strip("_"))
def test_a_kind_that_breaks_a_promise_is_found_out(broken: type[Kind]) -> None:
    """By a sentence that says which."""
    kind = broken()
    told = check_kind(kind, action=ACTIONS.get(getattr(kind, "name", ""), {}), rows=RESULTS)
    assert any(BROKEN[broken] in fault for fault in told), told


def test_a_wrong_action_is_told_by_its_key() -> None:
    """As `rebatch check` would."""
    assert check_kind(EvaluateMetrics(), action={"metrics": []}, rows=RESULTS)[0].startswith(
        "the action is refused: action.metrics"
    )


def test_rows_to_try_it_on_are_needed() -> None:
    """One, or two of one id, show nothing."""
    assert "two rows or more" in check_kind(DeleteResults(), action={}, rows=RESULTS[:1])[0]
