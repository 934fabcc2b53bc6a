"""What can be read: listings of any length at any page, results, runs."""

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import neg
from typing import Any

import apsw

from . import rows
from .drf import Filters
from .population import ORGANIZATION
from .sql import IDS, as_json, select

OURS = f"""deleted_us IS NULL AND agent IN (SELECT agent.id FROM agent
  JOIN project ON project.id = agent.project WHERE organization = {ORGANIZATION})"""
"""Which results the key can see."""

MOST_CACHED = 16


class Listing:
    """Queries over one connection, with the ids of each filter kept.

    A million ids take a second to find, so whoever changes what is listed says so here: `came`, `gone`, `runs_gone`.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._cached: dict[Filters, array[int]] = {}
        agents = select(db, "SELECT id, name, inbound FROM agent")
        self._agents = {row[0]: rows.Agent(row[1], bool(row[2])) for row in agents}
        scenarios = select(db, "SELECT id, name FROM scenario")
        self._scenarios: dict[int, rows.Named] = {row[0]: {"id": row[0], "name": row[1]} for row in scenarios}
        self._scopes: dict[int, list[rows.Named]] = defaultdict(list)
        query = "SELECT agent, id, name FROM metric JOIN scope ON scope.metric = id ORDER BY id"
        for agent, metric, name in select(db, query):
            self._scopes[agent].append({"id": metric, "name": name})

    def forget(self) -> None:
        """The database was changed by other means: no kept id is good any more."""
        self._cached.clear()

    def came(self, result: int) -> None:
        """A result came, newer than all."""
        for filters, ids in self._cached.items():
            ids[:0] = self._search(filters, result)

    def gone(self, results: Iterable[int]) -> None:
        """Results went."""
        newest_first = sorted(set(results), reverse=True)
        for ids in self._cached.values():
            _cut(ids, [_span(ids, each) for each in newest_first])

    def runs_gone(self, result: int, scenarios: Sequence[int]) -> None:
        """Runs of these scenarios, one for each, went from a result: it is listed so many times less where they count."""
        for filters, ids in self._cached.items():
            start, stop = _span(ids, result)
            times = sum(each in filters.scenarios for each in scenarios)
            _cut(ids, [(start, min(stop, start + times))])

    def matching(self, filters: Filters) -> "array[int]":
        """The ids that match, newest first; by scenarios, once for each matching run (seed 004)."""
        if filters not in self._cached:
            if len(self._cached) >= MOST_CACHED:
                del self._cached[next(iter(self._cached))]
            self._cached[filters] = self._search(filters)
        return self._cached[filters]

    def _search(self, filters: Filters, result: int | None = None) -> "array[int]":
        """The ids that match, of all or of one result."""
        join, where = "", [OURS]
        values: list[str | int] = []
        if filters.scenarios:
            join = f"JOIN (SELECT result FROM run WHERE scenario IN {IDS} AND deleted_us IS NULL) ON result = id"
            values.append(as_json(filters.scenarios))
        for value, condition in (
            (filters.agent_id, "agent = ?"),
            (filters.project_id, "agent IN (SELECT id FROM agent WHERE project = ?)"),
            (filters.search or None, "instr(lower(name), lower(?)) > 0"),
            (result, "id = ?"),
        ):
            if value is not None:
                where.append(condition)
                values.append(value)
        query = f"SELECT id FROM result {join} WHERE {' AND '.join(where)} ORDER BY id DESC"
        return array("q", (row[0] for row in self._db.execute(query, values)))

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
        return self._shown(result, runs, "none") | {"runs": full}

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
        scenarios = [self._scenarios[each] for each in dict.fromkeys([run.scenario for run in runs])]
        return rows.result(result, scenarios, self._agents[result.agent]) | rows.listed(runs, runs_as)

    def _full(self, run: rows.Run, agent: int) -> dict[str, Any]:
        metrics = [metric | {"score": (run.id * 31 + metric["id"]) % 101} for metric in self._scopes[agent]]
        return rows.full(run, agent, self._scenarios[run.scenario]["name"], {"metrics": metrics})


def _span(ids: "array[int]", each: int) -> tuple[int, int]:
    """From where to where an id stands among descending ids: nowhere, once, or several times in a row."""
    return bisect_left(ids, -each, key=neg), bisect_right(ids, -each, key=neg)


def _cut(ids: "array[int]", spans: list[tuple[int, int]]) -> None:
    """Take ascending spans out, in place: what is left is moved once, whatever their number."""
    spans = [(start, stop) for start, stop in spans if start < stop]
    if not spans:
        return
    end = spans[0][0]
    starts = [*(start for start, _ in spans[1:]), len(ids)]
    with memoryview(ids) as view:
        for (_, kept), stop in zip(spans, starts, strict=True):
            view[end : end + stop - kept] = view[kept:stop]
            end += stop - kept
    del ids[end:]
