"""Soft-delete results with their runs (“Bulk Delete Results”). Irreversible; harmless to repeat.

Already deleted or inaccessible ids are skipped in silence and the answer is 204 all the same, so only reading back
tells that something was deleted.
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
from ..results import Results
from .backup import Backup


class DeleteResults(Change):
    """`action: {type: delete_results}`."""

    name: ClassVar[str] = "delete_results"
    resource: ClassVar[Resource] = Results()
    Action: ClassVar[type[Strict]] = Backup
    irreversible: ClassVar[bool] = True
    repeatable: ClassVar[bool] = True
    reads: ClassVar[Collection[str]] = ()
    unmoved: ClassVar[ItemFate] = ItemFate.FAILED

    def describe(self, action: Any) -> str:  # noqa: ARG002 - the same for every action
        """What it does."""
        return "Delete"

    def backup(self, action: Any) -> str | None:
        """As the action says."""
        path: str | None = action.backup
        return path

    def request(self, action: Any, group: int, ids: Sequence[int]) -> Request:  # noqa: ARG002 - only the ids matter
        """POST bulk_delete."""
        return Request("POST", f"{RESULTS}bulk_delete/", body=orjson.dumps({"result_ids": ids}))

    def evidence(self, before: list[Any], after: Row | None) -> Evidence:  # noqa: ARG002 - it is there, or it is not
        """A deleted result is gone; one that is still there was not deleted."""
        return Evidence.APPLIED if after is None else Evidence.UNMOVED
