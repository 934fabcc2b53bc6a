"""Runs: the calls of a test, found in the results that hold them. What a run means is told by the vendor's “Retrieve runs in bulk”.

The list of results shows runs as summaries, in an array or in a mapping by run id; a result's detail as a mapping. Where
the list has none the detail is asked for, and what a summary lacks is completed by `runs/bulk`, a hundred at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

import orjson

from engine.exchange import Request
from engine.kind import Page, Resource, Strict
from engine.ledger import CHUNK
from engine.where import Field, Row, Type

from .api import RUNS_IN_BULK
from .results import Results, Scope, checked, plain, skimming, text, time, truth, whole

STATUSES = ("running", "completed", "failed", "pending", "in_progress", "evaluating", "in_queue", "timeout")
ALIASES = {"agent_id": "agent", "created_at": "timestamp"}  # fields that the service calls otherwise
NESTED = ("expected_outcome", "evaluation", "transcript_object", "metadata")
NOT_IN_FULL = {*ALIASES, "result_name"}  # fields that a run in full does not have by this name
_MARK = ("status", "success")

FIELDS: Mapping[str, Field] = {
    "id": Field(Type.WHOLE, whole("id")),
    "result": Field(Type.WHOLE, whole("result")),
    "result_name": Field(Type.TEXT, text("result_name")),
    "agent": Field(Type.WHOLE, whole("agent")),
    "agent_id": Field(Type.WHOLE, whole("agent")),  # as the scope calls it
    "status": Field(Type.TEXT, text("status"), STATUSES),
    "success": Field(Type.TRUTH, truth("success")),
    "scenario": Field(Type.WHOLE, whole("scenario")),
    "scenario_name": Field(Type.TEXT, text("scenario_name")),
    "personality": Field(Type.WHOLE, whole("personality")),
    "personality_name": Field(Type.TEXT, text("personality_name")),
    "provider_call_id": Field(Type.TEXT, text("provider_call_id")),
    "expected_outcome_prompt": Field(Type.TEXT, text("expected_outcome_prompt")),
    "duration": Field(Type.TEXT, text("duration")),
    "transcript": Field(Type.TEXT, text("transcript")),
    "feedback": Field(Type.TEXT, text("feedback")),
    "critical_categories": Field(Type.TEXT, text("critical_categories")),
    "error_message": Field(Type.TEXT, text("error_message")),
    "scenario_instructions": Field(Type.TEXT, text("scenario_instructions")),
    "voice_recording_url": Field(Type.TEXT, text("voice_recording_url")),
    "created_at": Field(Type.TIME, time("timestamp")),
    "timestamp": Field(Type.TIME, time("timestamp")),
    "executed_at": Field(Type.TIME, time("executed_at")),
}
_RESULTS = Results()
_skim = skimming(("id", "name", "agent", "total_runs_count", "runs"))
_counted = whole("total_runs_count")


class Runs(Resource):
    """Cekura's runs, of the results in scope."""

    name: ClassVar[str] = "runs"
    fields: ClassVar[Mapping[str, Field]] = FIELDS
    Scope: ClassVar[type[Strict]] = Scope
    at_once: ClassVar[int] = CHUNK

    def page(self, scope: Any, number: int, size: int) -> Request:
        """A page of results."""
        return _RESULTS.page(scope, number, size)

    def read_page(self, body: bytes) -> Page:
        """A page of results."""
        return _RESULTS.read_page(body)

    def reader(self, fields: Collection[str]) -> Callable[[bytes], Page]:  # noqa: ARG002 - a run has few, and is kept whole
        """The runs of each result, and what they take over from it."""
        return _skim

    def items(self, listed: Row) -> Sequence[Row] | None:
        """The runs of a result, with what it knows of them; None when it does not show them, or fewer than it counts."""
        runs = listed.get("runs")
        if isinstance(runs, Mapping):
            runs = list(runs.values())
        if not isinstance(runs, list) or not all(isinstance(run, Mapping) for run in runs):
            return None
        if len(runs) < (_counted(listed) or 0):
            return None
        return [checked(_of(listed, run), "run") for run in runs]

    def detail(self, listed_id: int) -> Request:
        """The result detail."""
        return _RESULTS.by_id([listed_id])

    def read_detail(self, body: bytes) -> Row:
        """A result whose `runs` are a mapping by run id. Raises ValueError when they are not."""
        (row,) = _RESULTS.read_by_id(body)
        told = {**row, "total_runs_count": None}  # what the detail shows is all there is to see
        if self.items(told) is None:
            raise ValueError("a result without its runs")
        return told

    def by_id(self, ids: Sequence[int]) -> Request:
        """GET runs/bulk: “a plain string, not a JSON array”."""
        return Request("GET", RUNS_IN_BULK, {"run_ids": ",".join(map(str, ids))})

    def read_by_id(self, body: bytes) -> Sequence[Row]:
        """A list of runs in full; in which result each lies it does not tell."""
        runs = orjson.loads(body)
        if not isinstance(runs, list):
            raise ValueError("no list of runs")  # noqa: TRY004 - one error for whatever is not an answer
        return [checked(run, "run") for run in runs]

    def is_own_404(self, body: bytes) -> bool:
        """As of a result."""
        return _RESULTS.is_own_404(body)

    def lasting(self, scope: Any) -> Any:
        """As of results."""
        return _RESULTS.lasting(scope)

    def lacks(self, row: Row, fields: Collection[str]) -> bool:
        """Whether a summary leaves out a field, or what the fingerprint is made of."""
        return any(ALIASES.get(field, field) not in row for field in (*_MARK, *fields))

    def completed(self, row: Row, full: Row) -> Row:
        """Which result it lies in is what the list has shown, whatever else is said."""
        return {**row, **full, "result": row["result"]}

    def parent(self, row: Row) -> int | None:
        """Its result."""
        result = row["result"]
        return result if type(result) is int else None

    def fingerprint(self, row: Row) -> list[Any]:
        """What tells that it is another run than was agreed to; that it is being evaluated does not.

        Deleting runs makes the service evaluate their result anew, with the runs that are left in it.
        """
        status = row.get("status")
        return ["completed" if status == "evaluating" else plain(status), plain(row.get("success"))]


def _of(result: Row, run: Row) -> dict[str, Any]:
    """A run with what its result tells of it, where it does not tell that itself."""
    told = {"agent": result.get("agent"), "result_name": result.get("name")}
    own = {**run, "result": result["id"]}
    return own | {key: value for key, value in told.items() if value is not None and own.get(key) is None}
