"""The world the sandbox opens with, made by SQL alone: a million results with their runs take some seconds.

Chance is the "minimal standard" generator of Park and Miller (h · 48271 mod 2³¹-1), carried along a recursive
query for results and squared for runs. Everything follows from the number of results, the seed and `now`.
"""

import random

import apsw
import orjson

from .population import FOREIGN_AGENT, HOSTILE, PLEASANT, populate
from .sql import column

PRIME = 2**31 - 1
DAYS_120_US = 120 * 86_400 * 1_000_000
APPLICATION_ID = 0x72654261

ELIGIBLE = "('completed', 'failed')"
"""What a re-evaluation takes: "every completed/failed, non-deleted run" (seed 002)."""
QUEUED = "('pending', 'in_queue')"
ACTIVE = "('running', 'in_progress')"

SCHEMA = """
CREATE TABLE about(results INTEGER, seed INTEGER, now_us INTEGER) STRICT;
CREATE TABLE account(organization INTEGER PRIMARY KEY, balance_milli INTEGER, slots_in_use INTEGER) STRICT;
CREATE TABLE project(id INTEGER PRIMARY KEY, organization INTEGER, name TEXT) STRICT;
CREATE TABLE agent(id INTEGER PRIMARY KEY, project INTEGER, name TEXT, inbound INTEGER,
  active_sessions INTEGER DEFAULT 0, pending_demand INTEGER DEFAULT 0) STRICT;
CREATE TABLE metric(id INTEGER PRIMARY KEY, name TEXT) STRICT;
CREATE TABLE scope(agent INTEGER, metric INTEGER, PRIMARY KEY (agent, metric)) STRICT, WITHOUT ROWID;
CREATE TABLE scenario(id INTEGER PRIMARY KEY, name TEXT) STRICT;
CREATE TABLE phone_number(id INTEGER PRIMARY KEY, held INTEGER) STRICT;
CREATE TABLE result(id INTEGER PRIMARY KEY, agent INTEGER, name TEXT, status TEXT, run_type TEXT, run_as_text INTEGER,
  is_cronjob INTEGER, created_us INTEGER, updated_us INTEGER, total_runs INTEGER, completed_runs INTEGER,
  failed_runs INTEGER, success_runs INTEGER, settles_us INTEGER, deleted_us INTEGER) STRICT;
CREATE TABLE run(id INTEGER PRIMARY KEY, result INTEGER, scenario INTEGER, status TEXT, success INTEGER,
  at_us INTEGER, phone_number INTEGER, deleted_us INTEGER) STRICT;
-- What was done, and by which request (its place among the arrivals): the audit on disk.
CREATE TABLE effect(at_us INTEGER, request INTEGER, kind TEXT, result INTEGER, run INTEGER, metric INTEGER,
  phone_number INTEGER) STRICT;
CREATE INDEX settling ON result(settles_us) WHERE settles_us IS NOT NULL;
"""

# Built when the rows are there: thrice as quick as keeping them up meanwhile.
INDEXES = f"""
CREATE INDEX run_of_result ON run(result);
CREATE INDEX queued ON run(phone_number) WHERE status IN {QUEUED} AND deleted_us IS NULL;
"""

# Ids leave gaps of at least one, where foreign results can sit; a later result has the greater id.
_RESULTS = f"""
WITH RECURSIVE draw(n, id, h) AS (
  SELECT 1, 20011, :start
  UNION ALL SELECT n + 1, id + 2 + h % 3, h * 48271 % {PRIME} FROM draw LIMIT :results
)
INSERT INTO result SELECT
  id,
  CASE WHEN h / 100 % 10 < 2 THEN 101 ELSE 102 + h / 1000 % 7 END,
  CASE WHEN h / 70 % 200 = 0 THEN (:hostile ->> (h / 14000 % :hostile_names)) || ' ' || n
       ELSE printf('%s %04d', :pleasant ->> (h / 14000 % :pleasant_names), n) END,
  :statuses ->> (h % 100),
  CASE h / 7 % 10 WHEN 0 THEN NULL WHEN 1 THEN 'text' ELSE 'voice' END,
  h / 7 % 10 = 1,
  h / 11 % 3 = 0,
  :now_us - (:results - n + 1) * :step_us + h % :step_us,
  min(:now_us, :now_us - (:results - n + 1) * :step_us + h % :step_us + 60000000 + h),
  1 + h / 10000000 % 5, 0, 0, 0, NULL, NULL
FROM draw
"""

_FOREIGN = f"""
INSERT INTO result SELECT id + 1, {FOREIGN_AGENT}, 'Foreign ' || id, status, run_type, run_as_text, is_cronjob,
  created_us, updated_us, total_runs, 0, 0, 0, NULL, NULL FROM result WHERE id % 40 = 11
"""

# `LIMIT -1` beside a WHERE keeps SQLite from flattening the subquery, so that each h is computed once.
_RUNS = f"""
INSERT INTO run SELECT
  id * 6 + k,
  id,
  24270 + h / 100 % 12,
  run_status,
  run_status = 'completed' AND h / 1200 % 100 < 83,
  created_us + k * 1000003 + h / 120000 % 1000000,
  CASE WHEN inbound THEN NULL ELSE agent * 100 + h / 1000 % 60 END,
  NULL
FROM (
  SELECT *, CASE WHEN status IN ('pending', 'in_queue', 'scaling_up') THEN :waiting ->> (h % 100)
                 WHEN status IN ('running', 'in_progress', 'evaluating') THEN :working ->> (h % 100)
                 ELSE :finished ->> (h % 100) END AS run_status
  FROM (
    SELECT id, agent, status, created_us, k, inbound, g * g % {PRIME} AS h
    FROM (
      SELECT result.*, k, inbound, ((result.id * 8 + k) * 48271 + :start) % {PRIME} AS g
      FROM result
      CROSS JOIN (SELECT column1 AS k FROM (VALUES (0), (1), (2), (3), (4)))
      CROSS JOIN agent ON agent.id = result.agent
      WHERE result.id >= :since AND k < total_runs
      LIMIT -1
    ) WHERE g >= 0 LIMIT -1
  ) WHERE h >= 0 LIMIT -1
) WHERE run_status IS NOT NULL
"""

RECOUNT = """
  (total_runs, completed_runs, failed_runs, success_runs) = (
    SELECT count(*), total(status = 'completed'), total(status = 'failed'), total(success)
    FROM run WHERE run.result = result.id AND run.deleted_us IS NULL)
"""
"""A result's aggregates, to be SET from its runs: they are stored, so that a listing never counts."""

_COUNTERS = f"""
WITH busy AS (
  SELECT agent, sum(run.status IN {ACTIVE}) AS active, sum(run.status IN {QUEUED}) AS queued
  FROM run JOIN result ON result.id = run.result
  WHERE run.status NOT IN {ELIGIBLE} GROUP BY agent)
UPDATE agent SET active_sessions = active, pending_demand = queued FROM busy WHERE busy.agent = agent.id;

-- Counters drift in the best of services: here are two that a deletion must not take below zero.
UPDATE agent SET active_sessions = 0, pending_demand = 0 WHERE id = 108;
UPDATE account SET slots_in_use = (
  SELECT total(active_sessions) FROM agent JOIN project ON project.id = agent.project
  WHERE project.organization = account.organization);
INSERT INTO phone_number SELECT DISTINCT phone_number, 1 FROM run
WHERE status IN {QUEUED} AND deleted_us IS NULL AND phone_number IS NOT NULL;
"""


def _faces(**percent: int) -> str:
    """A die of a hundred faces, as JSON."""
    return orjson.dumps([word for word, times in percent.items() for _ in range(times)]).decode()


_STATUSES = _faces(
    completed=86,
    failed=6,
    running=1,
    pending=1,
    in_progress=1,
    evaluating=1,
    in_queue=1,
    timeout=1,
    cancelled=1,
    scaling_up=1,
)
_DICE = {
    "finished": _faces(completed=88, failed=6, timeout=2, pending=1, in_queue=1, running=2),
    "working": _faces(running=40, in_progress=20, completed=30, in_queue=10),
    "waiting": _faces(in_queue=60, pending=40),
}
_ALL_COMPLETED = _faces(completed=100)


def seed(db: apsw.Connection, *, results: int, seed: int, now_us: int) -> None:
    """Fill an empty database, wholly or not at all."""
    start = random.Random(seed).randrange(1, PRIME)
    # No context manager: a signal in a long statement makes SQLite roll back by itself, and a second time fails.
    db.execute("BEGIN")
    db.execute(SCHEMA)
    populate(db)
    db.execute(_RESULTS, _result_dice(results, start, now_us))
    db.execute(_FOREIGN)
    db.execute(_RUNS, {"start": start, "since": 0, **_DICE})
    db.execute(INDEXES)
    db.execute(f"UPDATE result SET {RECOUNT}")
    db.execute(_COUNTERS)
    db.execute("INSERT INTO about VALUES (?, ?, ?)", (results, seed, now_us))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("COMMIT")


def add_result(db: apsw.Connection, *, number: int, start: int, now_us: int) -> int:
    """Insert a completed result with its runs at the head of the list."""
    agent, runs = 101 + start % 8, 1 + start % 5
    insert = """INSERT INTO result SELECT max(id) + 2, ?, 'Newcomer ' || ?, 'completed', 'voice', 0, 0, ?, ?, ?, 0, 0, 0,
      NULL, NULL FROM result RETURNING id"""
    added = int(column(db, insert, agent, number, now_us, now_us, runs)[0])
    db.execute(_RUNS, {"start": start, "since": added, **dict.fromkeys(_DICE, _ALL_COMPLETED)})
    db.execute(f"UPDATE result SET {RECOUNT} WHERE id = ?", (added,))
    return added


def _result_dice(results: int, start: int, now_us: int) -> dict[str, int | str]:
    return {
        "results": results,
        "start": start,
        "now_us": now_us,
        "step_us": DAYS_120_US // max(results, 1),
        "statuses": _STATUSES,
        "hostile": orjson.dumps(HOSTILE).decode(),
        "hostile_names": len(HOSTILE),
        "pleasant": orjson.dumps(PLEASANT).decode(),
        "pleasant_names": len(PLEASANT),
    }
