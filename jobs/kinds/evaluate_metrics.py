"""Re-evaluate metrics on every completed or failed run of results (“Bulk Evaluate Results Metrics”).

It costs money and has no idempotency key: never repeated on a guess. The answer is 200 without a body, so there is no
job id to ask for; that a result was taken shows in its `status` and `updated_at`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar

import orjson
from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema
from pydantic import Field as Option

from engine.exchange import Request
from engine.fates import Evidence, ItemFate, Outcome
from engine.kind import LARGEST, Change, Id, Resource, Strict
from engine.where import Row

from ..api import RESULTS
from ..results import FIELDS, Results, is_busy

REFUSED = 400
DEFAULT_PRICE = 0.2  # credits for a metric and a run (the vendor's pricing); some metrics differ
DEAREST = 1_000_000
_METRIC = r"^[1-9][0-9]{0,18}$"
_COMPLETED, _FAILED = FIELDS["completed_runs_count"].read, FIELDS["failed_runs_count"].read
_SUCCESS = FIELDS["success_rate"].read


def _once_each(metrics: list[int]) -> list[int]:
    if len(set(metrics)) < len(metrics):
        raise ValueError("a metric is named twice: it would be evaluated, and paid for, twice")
    return metrics


def _metric(key: object) -> str:
    """Keys are text in JSON, so in a checkpoint."""
    if isinstance(key, bool) or not re.match(_METRIC, str(key)):
        raise ValueError(f"“{key}” is not the id of a metric")
    return str(key)


def _of_metrics(prices: dict[str, float], info: ValidationInfo) -> dict[str, float]:
    metrics = info.data.get("metrics")  # missing when they have a mistake of their own
    foreign = [key for key in prices if metrics is not None and int(key) not in metrics]
    if foreign:
        raise ValueError(f"there is a price for {', '.join(foreign)}, which is not among the metrics")
    return prices


Prices = Annotated[
    dict[Annotated[str, BeforeValidator(_metric)], Annotated[float, Ge(0), Le(DEAREST)]],
    AfterValidator(_of_metrics),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": False,
            "patternProperties": {_METRIC: {"type": "number", "minimum": 0, "maximum": DEAREST}},
        }
    ),
]


class Action(Strict):
    """Which metrics to evaluate anew."""

    metrics: Annotated[list[Id], Len(min_length=1), AfterValidator(_once_each)] = Option(description="Ids of metrics.")
    prices: Prices = Option(
        {}, description=f"Credits that one run costs by a metric, where it is not {DEFAULT_PRICE}: {{12: 0.5}}."
    )

    @cached_property
    def price(self) -> float:
        """Credits that one run costs by all the metrics."""
        return sum(self.prices.get(str(metric), DEFAULT_PRICE) for metric in self.metrics)


class EvaluateMetrics(Change):
    """`action: {type: evaluate_metrics, metrics: [11, 12]}`."""

    name: ClassVar[str] = "evaluate_metrics"
    resource: ClassVar[Resource] = Results()
    Action: ClassVar[type[Strict]] = Action
    irreversible: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    grouped_by: ClassVar[str] = "agent"
    measured: ClassVar[str] = "success rate"
    reads: ClassVar[Collection[str]] = ("agent", "completed_runs_count", "failed_runs_count", "success_rate")
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

    def priced(self, action: Any) -> str:
        """By the run: each is evaluated by every metric."""
        return f"{action.price:,.10g} for each completed or failed run"

    def cost(self, action: Any, row: Row) -> float | None:
        """Every completed or failed run, by every metric."""
        completed, failed = _COMPLETED(row), _FAILED(row)
        if completed is None or failed is None or completed < 0 or failed < 0:
            return None
        return float((completed + failed) * action.price)

    def stops_all(self, outcome: Outcome) -> bool:
        """The balance is checked for the whole batch first: what it does not cover now, it may after a payment."""
        return outcome.status == REFUSED and "balance" in (outcome.error or "").lower()

    def about_items(self, outcome: Outcome) -> bool:
        """What is wrong with the metrics or the balance is wrong with half the results, too."""
        said = (outcome.error or "").lower()
        return super().about_items(outcome) and "metric" not in said and "balance" not in said

    def narrow(self, scope: Any, group: int) -> Any:
        """The list of the agent."""
        return scope.model_copy(update={"agent_id": group}) if group else scope

    def measure(self, row: Row) -> float | None:
        """The success rate; None for what is no share of anything."""
        rate = _SUCCESS(row)
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
