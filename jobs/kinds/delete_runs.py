"""Soft-delete runs of results (“Delete runs from result”). Irreversible, and not to be repeated on a guess.

Each request is for runs of one result and makes the service evaluate that result anew, so of each result one request is
under way at a time, and one whose answer was lost is read back before it is sent again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, ClassVar

import orjson

from engine.exchange import Request
from engine.fates import Evidence, ItemFate
from engine.kind import Change, Resource, Strict
from engine.where import Row

from ..api import RESULTS
from ..runs import Runs
from .backup import Backup


class DeleteRuns(Change):
    """`action: {type: delete_runs}`."""

    name: ClassVar[str] = "delete_runs"
    resource: ClassVar[Resource] = Runs()
    Action: ClassVar[type[Strict]] = Backup
    irreversible: ClassVar[bool] = True
    repeatable: ClassVar[bool] = False
    reads: ClassVar[Collection[str]] = ("result",)
    one_at_a_time: ClassVar[bool] = True
    grouped_by: ClassVar[str] = "result"
    unmoved: ClassVar[ItemFate] = ItemFate.FAILED

    def describe(self, action: Any) -> str:  # noqa: ARG002 - the same for every action
        """What it does."""
        return "Delete"

    def group(self, row: Row) -> int:
        """By result."""
        return int(row["result"])

    def request(self, action: Any, group: int, ids: Sequence[int]) -> Request:  # noqa: ARG002 - result and runs tell all
        """POST delete_runs."""
        return Request("POST", f"{RESULTS}{group}/delete_runs/", body=orjson.dumps({"run_ids": ids}))

    def backup(self, action: Any) -> str | None:
        """As the action says."""
        path: str | None = action.backup
        return path

    def evidence(self, before: list[Any], after: Row | None) -> Evidence:  # noqa: ARG002 - it is there, or it is not
        """A deleted run is gone; one that is still there was not deleted."""
        return Evidence.APPLIED if after is None else Evidence.UNMOVED
