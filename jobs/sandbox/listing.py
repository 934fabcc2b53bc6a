"""What can be read: listings of any length at any page, results, runs."""

from array import array
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import apsw

from . import rows
from .drf import Filters
from .population import ORGANIZATION
from .sql import IDS, as_json, column, select

OURS = f"""deleted_us IS NULL AND agent IN (SELECT agent.id FROM agent
  JOIN project ON project.id = agent.project WHERE organization = {ORGANIZATION})"""
"""Which results the key can see."""

MOST_CACHED = 16


class Listing:
    """Queries over one connection, with the ids of each filter kept until results come or go."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._cached: dict[Filters, array[int]] = {}
        agents = select(db, "SELECT id, name, inbound FROM agent")
        self._agents = {row[0]: rows.Agent(row[1], bool(row[2])) for row in agents}
        self._scenarios: dict[int, str] = dict(select(db, "SELECT id, name FROM scenario"))

    def forget(self) -> None:
        """Results came or went: no kept id is good any more."""
        self._cached.clear()

    def matching(self, filters: Filters) -> "array[int]":
        """The ids that match, newest first; by scenarios, once for each matching run (seed 004)."""
        if filters not in self._cached:
            if len(self._cached) >= MOST_CACHED:
                self._cached.clear()
            self._cached[filters] = self._search(filters)
        return self._cached[filters]

    def _search(self, filters: Filters) -> "array[int]":
        join, where = "", [OURS]
        values: list[str | int] = []
        if filters.scenarios:
            join = f"JOIN (SELECT result FROM run WHERE scenario IN {IDS} AND deleted_us IS NULL) ON result = id"
            values.append(as_json(filters.scenarios))
        for value, condition in (
            (filters.agent_id, "agent = ?"),
            (filters.project_id, "agent IN (SELECT id FROM agent WHERE project = ?)"),
            (filters.search or None, "instr(lower(name), lower(?)) > 0"),
        ):
            if value is not None:
                where.append(condition)
                values.append(value)
        query = f"SELECT id FROM result {join} WHERE {' AND '.join(where)} ORDER BY id DESC"
        return array("q", column(self._db, query, *values))

    def page(self, ids: Sequence[int], *, runs_as: str) -> list[dict[str, Any]]:
        """The results of these ids with run summaries, in this order, duplicates and all."""
        wanted = as_json(set(ids))
        found = select(self._db, f"SELECT {rows.RESULT_COLUMNS} FROM result WHERE id IN {IDS}", wanted)
        runs = self._runs_of(wanted)
        shown = {row[0]: self._shown(rows.Result(*row), runs[row[0]], runs_as) for row in found}
        return [shown[each] for each in ids]

    def detail(self, result_id: int) -> dict[str, Any] | None:
        """One result, its `runs` a dict of full runs keyed by run id; None if there is none to see."""
        found = select(self._db, f"SELECT {rows.RESULT_COLUMNS} FROM result WHERE id = ? AND {OURS}", result_id)
        if not found:
            return None
        result = rows.Result(*found[0])
        runs = self._runs_of(as_json([result_id]))[result_id]
        full = {str(run.id): self._full(run, result.agent) for run in runs}
        return self._shown(result, runs, "object") | {"runs": full}

    def runs(self, run_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Full runs, the newest first; unknown, deleted and foreign ids are left out."""
        found = select(
            self._db,
            f"""SELECT {rows.RUN_COLUMNS}, agent FROM run JOIN (SELECT id AS result_id, agent FROM result WHERE {OURS})
              ON result_id = run.result WHERE run.id IN {IDS} AND run.deleted_us IS NULL ORDER BY run.id DESC""",
            as_json(run_ids),
        )
        return [self._full(rows.Run(*row[:-1]), row[-1]) for row in found]

    def _runs_of(self, wanted: str) -> dict[int, list[rows.Run]]:
        query = f"SELECT {rows.RUN_COLUMNS} FROM run WHERE result IN {IDS} AND deleted_us IS NULL ORDER BY id"
        runs: dict[int, list[rows.Run]] = defaultdict(list)
        for row in select(self._db, query, wanted):
            runs[row[1]].append(rows.Run(*row))
        return runs

    def _shown(self, result: rows.Result, runs: list[rows.Run], runs_as: str) -> dict[str, Any]:
        summaries = [rows.summary(run) for run in runs]
        scenarios: list[dict[str, object]] = [
            {"id": each, "name": self._scenarios[each]} for each in dict.fromkeys(run.scenario for run in runs)
        ]
        shown = summaries if runs_as == "array" else {str(each["id"]): each for each in summaries}
        return rows.result(result, shown, scenarios, self._agents[result.agent])

    def _full(self, run: rows.Run, agent: int) -> dict[str, Any]:
        query = "SELECT id, name FROM metric JOIN scope ON scope.metric = id WHERE agent = ? ORDER BY id"
        scores = select(self._db, query, agent)
        evaluation = {"metrics": [{"id": m, "name": name, "score": (run.id * 31 + m) % 101} for m, name in scores]}
        return rows.full(run, agent, self._scenarios[run.scenario], evaluation)
