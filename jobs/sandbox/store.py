"""What the writing endpoints do to the world; each effect and its audit rows are one transaction."""

from collections.abc import Callable, Iterable

import apsw

from .drf import NO_RESULT, Refused
from .listing import OURS, Listing
from .population import ORGANIZATION
from .sql import IDS, as_json, column, select
from .world import ACTIVE, ELIGIBLE, QUEUED, RECOUNT

PRICE_MILLI = 200
"""Thousandths of a credit for one metric on one run (documented: 0.2 credits)."""

_ALIVE_RUNS = f"run.result IN {IDS} AND run.deleted_us IS NULL"
_ELIGIBLE_RUNS = f"{_ALIVE_RUNS} AND run.status IN {ELIGIBLE}"
_SET_DUE = "status = 'running', updated_us = max(updated_us + 1, ?), settles_us = ?"
_SET_SETTLED = "status = 'completed', updated_us = max(updated_us + 1, settles_us), settles_us = NULL"


class Store:
    """The effects, over one connection. `clock` gives microseconds since 1970.

    `request` is the place of the request among the arrivals, for the audit.
    """

    def __init__(self, db: apsw.Connection, clock: Callable[[], int]) -> None:
        self.db = db
        self.clock = clock
        self.listing = Listing(db)

    @property
    def balance(self) -> float:
        """Credits left."""
        query = "SELECT balance_milli FROM account WHERE organization = ?"
        return float(column(self.db, query, ORGANIZATION)[0]) / 1000

    @balance.setter
    def balance(self, credit: float) -> None:
        self._do("UPDATE account SET balance_milli = ? WHERE organization = ?", round(credit * 1000), ORGANIZATION)

    def settle(self) -> None:
        """Complete, as of the moment they were due, the results whose evaluation is over."""
        self._do(f"UPDATE result SET {_SET_SETTLED}, {RECOUNT} WHERE settles_us <= ?", self.clock())

    def delete_results(self, ids: Iterable[int], request: int, kind: str = "delete") -> None:
        """Soft-delete results with their runs; ids that are deleted, unknown or foreign are skipped in silence."""
        with self.db:
            found = column(self.db, f"SELECT id FROM result WHERE id IN {IDS} AND {OURS}", as_json(ids))
            results = as_json(found)
            runs = column(self.db, f"SELECT id FROM run WHERE {_ALIVE_RUNS}", results)
            self._drop_runs(as_json(runs), request, kind)
            self._do(
                f"UPDATE result SET deleted_us = ?, settles_us = NULL WHERE id IN {IDS}",
                self.clock(),
                results,
            )
            self._record(f"SELECT '{kind}_result', value, NULL, NULL, NULL FROM json_each(?)", request, results)
        # The database is asked: a trigger of a test may have kept some, as a service that lies would.
        gone = f"SELECT id FROM result WHERE id IN {IDS} AND deleted_us IS NOT NULL"
        self.listing.gone(column(self.db, gone, results))

    def delete_runs(self, result: int, run_ids: Iterable[int], request: int, evaluation_us: int) -> None:
        """Soft-delete those of the runs that are the result's, then re-evaluate it. Raises Refused, 404."""
        with self.db:
            if not column(self.db, f"SELECT 1 FROM result WHERE id = ? AND {OURS}", result):
                raise Refused(NO_RESULT, 404)
            self._record("SELECT 'delete_call', value, NULL, NULL, NULL FROM json_each(?)", request, as_json([result]))
            query = f"SELECT id, scenario FROM run WHERE result = ? AND id IN {IDS} AND deleted_us IS NULL"
            runs = select(self.db, query, result, as_json(run_ids))
            self._drop_runs(as_json(run for run, _ in runs), request, "delete")
            self._start_evaluation([result], evaluation_us)
        self.listing.runs_gone(result, [scenario for _, scenario in runs])

    def evaluate(self, results: Iterable[int], metrics: Iterable[int], request: int, evaluation_us: int) -> None:
        """Evaluate each metric once on every eligible run, or raise Refused and do nothing at all."""
        results, metrics = list(dict.fromkeys(results)), list(dict.fromkeys(metrics))
        ids = as_json(results)
        evaluated = (
            f"SELECT 'evaluate', run.result, run.id, value, NULL FROM run JOIN json_each(?) WHERE {_ELIGIBLE_RUNS}"
        )
        with self.db:
            self._check_results(results)
            self._check_scopes(ids, metrics)
            self._charge(ids, len(metrics))
            self._record("SELECT 'evaluate_call', NULL, NULL, NULL, NULL", request)
            self._record(evaluated, request, as_json(metrics), ids)
            self._judge_anew(ids, request)
            affected = column(self.db, f"SELECT DISTINCT run.result FROM run WHERE {_ELIGIBLE_RUNS}", ids)
            self._start_evaluation(affected, evaluation_us)

    def _check_results(self, asked: list[int]) -> None:
        found = set(column(self.db, f"SELECT id FROM result WHERE id IN {IDS} AND {OURS}", as_json(asked)))
        invalid = [each for each in asked if each not in found]
        if invalid:
            raise Refused({"result_ids": [f"Invalid result IDs: {invalid}"]})

    def _check_scopes(self, results: str, asked: list[int]) -> None:
        messages = []
        for agent in column(self.db, f"SELECT DISTINCT agent FROM result WHERE id IN {IDS} ORDER BY agent", results):
            scope = column(self.db, "SELECT metric FROM scope WHERE agent = ?", agent)
            beyond = [each for each in asked if each not in scope]
            if beyond:
                messages.append(f"Metrics {beyond} are not in the scope of agent {agent}.")
        if messages:
            raise Refused({"metric_ids": messages})

    def _charge(self, results: str, metrics: int) -> None:
        """Take the price of the whole batch. Raises Refused when the balance does not cover it."""
        runs = column(self.db, f"SELECT count(*) FROM run WHERE {_ELIGIBLE_RUNS}", results)[0]
        required, available = runs * metrics * PRICE_MILLI / 1000, self.balance
        if required > available:
            raise Refused({"detail": f"Insufficient balance. Required: {required}, available: {available}."})
        self.balance = available - required

    def _judge_anew(self, results: str, request: int) -> None:
        """One completed run in ten comes out differently."""
        changed = f"{_ALIVE_RUNS} AND status = 'completed' AND (id * 7 + ?) % 10 = 0"
        self._do(f"UPDATE run SET success = NOT success WHERE {changed}", results, request)

    def _start_evaluation(self, results: list[int], evaluation_us: int) -> None:
        now = self.clock()
        self._do(f"UPDATE result SET {_SET_DUE} WHERE id IN {IDS}", now, now + evaluation_us, as_json(results))

    def _drop_runs(self, runs: str, request: int, kind: str) -> None:
        """Soft-delete runs with the side-effects of seed 000, all of which are of runs that wait or work."""
        self._do(f"UPDATE run SET deleted_us = ? WHERE id IN {IDS}", self.clock(), runs)
        self._record(f"SELECT '{kind}_run', result, id, NULL, NULL FROM run WHERE id IN {IDS}", request, runs)
        busy = column(self.db, f"SELECT id FROM run WHERE id IN {IDS} AND status NOT IN {ELIGIBLE}", runs)
        if busy:
            self._let_go(as_json(busy), request)

    def _let_go(self, runs: str, request: int) -> None:
        """Give back what deleted runs hold."""
        self._count_down(runs)
        active = f"FROM run WHERE id IN {IDS} AND status IN {ACTIVE}"
        fewer = f"slots_in_use = max(0, slots_in_use - (SELECT count(*) {active}))"
        self._do(f"UPDATE account SET {fewer} WHERE organization = ?", runs, ORGANIZATION)
        self._record(f"SELECT 'free_slot', result, id, NULL, NULL {active}", request, runs)
        self._release_numbers(runs, request)

    def _count_down(self, runs: str) -> None:
        """Take the runs off their agents' counters, in aggregate and never below zero."""
        self._do(
            f"""WITH gone AS (
              SELECT agent, sum(run.status IN {ACTIVE}) AS active, sum(run.status IN {QUEUED}) AS queued
              FROM run JOIN result ON result.id = run.result WHERE run.id IN {IDS} GROUP BY agent)
            UPDATE agent SET active_sessions = max(0, active_sessions - active),
              pending_demand = max(0, pending_demand - queued) FROM gone WHERE gone.agent = agent.id""",
            runs,
        )

    def _release_numbers(self, runs: str, request: int) -> None:
        """Release the held numbers of deleted runs on which no queued run remains."""
        released = column(
            self.db,
            f"""UPDATE phone_number SET held = 0
              WHERE held AND id IN (SELECT phone_number FROM run WHERE id IN {IDS}) AND NOT EXISTS (
                SELECT 1 FROM run WHERE phone_number = phone_number.id AND status IN {QUEUED} AND deleted_us IS NULL)
              RETURNING id""",
            runs,
        )
        numbers = "SELECT 'release_number', NULL, NULL, NULL, value FROM json_each(?)"
        self._record(numbers, request, as_json(released))

    def _record(self, rows: str, request: int, *values: str) -> None:
        """Write rows of (kind, result, run, metric, phone_number) into the audit."""
        self._do(f"INSERT INTO effect SELECT ?, ?, * FROM ({rows})", self.clock(), request, *values)

    def _do(self, statement: str, *values: str | float) -> None:
        self.db.execute(statement, values)
