"""What really happened: of the arrivals from memory, of the effects from the database."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import apsw

from .listing import OURS
from .sql import column, select
from .world import ELIGIBLE

KEPT_ARRIVALS = 100_000
_OF_AGENT = (
    "results",
    "eligible_runs",
    "evaluated_runs",
    "evaluated_results",
    "active_sessions",
    "pending_demand",
)


@dataclass
class Arrival:
    """A request as it came; the status is None while it is unanswered, and stays so if it never is."""

    number: int
    at_s: float
    method: str
    path: str
    status: int | None = None


@dataclass
class Arrivals:
    """Every API request counted, the last ones kept."""

    total: int = 0
    throttled: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    last: deque[Arrival] = field(default_factory=lambda: deque(maxlen=KEPT_ARRIVALS))

    def note(self, at_s: float, method: str, path: str) -> Arrival:
        """Count a request as it arrives."""
        self.total += 1
        arrival = Arrival(self.total, at_s, method, path)
        self.last.append(arrival)
        return arrival

    def answered(self, arrival: Arrival, status: int | None) -> None:
        """Count its answer; None is a connection cut before one."""
        arrival.status = status
        self.by_status[str(status or "none")] += 1

    def listed(self) -> list[list[object]]:
        """[seconds since the start, method, path, status] of each kept."""
        return [[round(each.at_s, 6), each.method, each.path, each.status] for each in self.last]


def summary(db: apsw.Connection, arrivals: Arrivals, balance: float) -> dict[str, Any]:
    """The whole audit."""
    kinds: dict[str, int] = dict(select(db, "SELECT kind, count(*) FROM effect GROUP BY kind"))
    return {
        "totals": _totals(db, arrivals) | {"balance": balance},
        "evaluations": {"calls": kinds.get("evaluate_call", 0)} | _pairs(db),
        "deletions": {"results": kinds.get("delete_result", 0), "runs": kinds.get("delete_run", 0)},
        "churn": {"inserted": kinds.get("churn_insert", 0), "deleted": kinds.get("churn_result", 0)},
        "phone_numbers_released": kinds.get("release_number", 0),
        "slots_freed": kinds.get("free_slot", 0),
        "agents": _agents(db),
        "throttled": arrivals.throttled,
        "faults": dict(arrivals.faults),
    }


def evaluations(db: apsw.Connection, agent_id: int | None, metric_id: int | None) -> dict[str, int]:
    """How often each run was evaluated, by run id: of one agent, by one metric, or of all."""
    found = select(
        db,
        """SELECT CAST(run AS TEXT), count(*) FROM effect JOIN result ON result.id = effect.result
          WHERE kind = 'evaluate' AND (?1 IS NULL OR agent = ?1) AND (?2 IS NULL OR metric = ?2) GROUP BY run""",
        agent_id,
        metric_id,
    )
    return dict(found)


def _totals(db: apsw.Connection, arrivals: Arrivals) -> dict[str, Any]:
    names = ("results", "runs", "eligible_runs")
    sums = "ifnull(sum(total_runs), 0), ifnull(sum(completed_runs + failed_runs), 0)"
    counts = select(db, f"SELECT count(*), {sums} FROM result WHERE {OURS}")[0]
    evaluated = column(db, "SELECT count(DISTINCT run) FROM effect WHERE kind = 'evaluate'")[0]
    requests = {"requests": arrivals.total, "by_status": dict(arrivals.by_status)}
    return requests | dict(zip(names, counts, strict=True)) | {"evaluated_runs": evaluated}


def _pairs(db: apsw.Connection) -> dict[str, int]:
    found = select(
        db,
        """SELECT count(*), ifnull(sum(times > 1), 0), ifnull(max(times), 0)
          FROM (SELECT count(*) AS times FROM effect WHERE kind = 'evaluate' GROUP BY run, metric)""",
    )[0]
    return dict(zip(("run_metric_pairs", "evaluated_twice", "max_per_pair"), found, strict=True))


def _agents(db: apsw.Connection) -> dict[str, dict[str, int]]:
    found = select(
        db,
        f"""WITH alive AS (
            SELECT agent, count(*) AS results FROM result WHERE deleted_us IS NULL GROUP BY agent),
          eligible AS (
            SELECT agent, sum(run.status IN {ELIGIBLE}) AS runs FROM result JOIN run ON run.result = result.id
            WHERE result.deleted_us IS NULL AND run.deleted_us IS NULL GROUP BY agent),
          evaluated AS (
            SELECT agent, count(DISTINCT run) AS runs, count(DISTINCT result) AS results
            FROM effect JOIN result ON result.id = effect.result WHERE kind = 'evaluate' GROUP BY agent)
        SELECT agent.id, ifnull(alive.results, 0), ifnull(eligible.runs, 0), ifnull(evaluated.runs, 0),
          ifnull(evaluated.results, 0), active_sessions, pending_demand
        FROM agent LEFT JOIN alive ON alive.agent = agent.id LEFT JOIN eligible ON eligible.agent = agent.id
          LEFT JOIN evaluated ON evaluated.agent = agent.id ORDER BY agent.id""",
    )
    return {str(row[0]): dict(zip(_OF_AGENT, row[1:], strict=True)) for row in found}
