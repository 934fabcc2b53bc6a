"""Re-evaluate metrics on every completed or failed run of results (“Bulk Evaluate Results Metrics”).

It costs money and has no idempotency key: never repeated on a guess. The answer is 200 without a body, so there is no
job id to ask for; that a result was taken shows in its `status` and `updated_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import orjson
from annotated_types import Len
from pydantic import AfterValidator
from pydantic import Field as Option

from engine.exchange import Request
from engine.fates import ItemFate, Outcome
from engine.kind import Evidence, Kind, Resource, Strict
from engine.spec import LARGEST
from engine.where import Row

from ..api import RESULTS
from ..results import FIELDS, Id, Results, is_busy

REFUSED = 400


def _once_each(metrics: list[int]) -> list[int]:
    if len(set(metrics)) < len(metrics):
        raise ValueError("a metric is named twice: it would be evaluated, and paid for, twice")
    return metrics


class Action(Strict):
    """Which metrics to evaluate anew."""

    metrics: Annotated[list[Id], Len(min_length=1), AfterValidator(_once_each)] = Option(description="Ids of metrics.")


class EvaluateMetrics(Kind):
    """`action: {type: evaluate_metrics, metrics: [11, 12]}`."""

    name: ClassVar[str] = "evaluate_metrics"
    resource: ClassVar[Resource] = Results()
    Action: ClassVar[type[Strict]] = Action
    irreversible: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    grouped_by: ClassVar[str] = "agent"
    measured: ClassVar[str] = "success rate"
    unmoved: ClassVar[ItemFate] = (
        ItemFate.ACCEPTED
    )  # a result without a completed or failed run has nothing to evaluate

    def describe(self, action: Any) -> str:
        """What it does."""
        metrics = ", ".join(map(str, action.metrics))
        return f"Re-evaluate metric{'s' * (len(action.metrics) > 1)} {metrics} on"

    def group(self, row: Row) -> int:
        """By agent: metrics are validated against each agent's scope, and one that does not fit spoils the request."""
        agent = row.get("agent")
        return agent if type(agent) is int and 0 < agent < LARGEST else 0

    def request(self, action: Any, group: int, ids: Sequence[int]) -> Request:  # noqa: ARG002 - the service knows the agent
        """POST bulk_evaluate_metrics."""
        body = orjson.dumps({"result_ids": ids, "metric_ids": action.metrics})
        return Request("POST", f"{RESULTS}bulk_evaluate_metrics/", body=body)

    def stops_all(self, outcome: Outcome) -> bool:
        """The balance is checked for the whole batch first: what it does not cover now, it may after a payment."""
        return outcome.status == REFUSED and "balance" in (outcome.error or "").lower()

    def measure(self, row: Row) -> float | None:
        """The success rate; None for what is no share of anything."""
        rate = FIELDS["success_rate"].read(row)
        return rate if rate is not None and 0 <= rate <= 1 else None

    def evidence(self, before: list[Any], after: Row | None) -> Evidence:
        """A result that was taken flips to *running* and later leaves it; `updated_at` moves both times."""
        if after is None:
            return Evidence.UNCLEAR
        now = self.resource.fingerprint(after)
        if now == before:
            return Evidence.UNMOVED
        if is_busy(before[0]):
            return Evidence.UNCLEAR  # it may have moved by what it was busy with
        return Evidence.WORKING if is_busy(now[0]) else Evidence.APPLIED
