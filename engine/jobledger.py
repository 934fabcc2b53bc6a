"""The books of one job, in its checkpoint: the job itself, its plan, every intent and every outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apsw
import orjson

from . import plansql, reportsql, sql
from .checkpoint import Checkpoint
from .errors import UsageError
from .fates import ItemFate, Outcome
from .files.disk import File
from .ledger import Apart, Chunk, Cut, Seen, Tally, Unsettled
from .progress import Progress


class JobLedger:
    """The books of one job, in its checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Read what the checkpoint says of the job."""
        self.checkpoint = checkpoint
        self.progress = Progress()
        rows = checkpoint.read_now(lambda db: sql.rows(db, "SELECT key, value FROM job"))
        self.job: dict[str, Any] = {str(key): orjson.loads(str(value)) for key, value in rows}
        self.progress.requests = self.job.get("requests", 0)
        self.progress.retries = self.job.get("retries", 0)
        checkpoint.with_each = self._count

    @classmethod
    def look(cls, path: Path) -> JobLedger:
        """Open a job to read of it. Raises UsageError when there is none."""
        return cls._begun(Checkpoint.look(path))

    @classmethod
    def resume(cls, path: Path) -> JobLedger:
        """Open a job to work on it. Raises UsageError when there is none, LockedError when another process does."""
        return cls._begun(Checkpoint.resume(path))

    @classmethod
    def _begun(cls, checkpoint: Checkpoint) -> JobLedger:
        ledger = cls(checkpoint)
        if ledger.job:
            return ledger
        checkpoint.close()
        raise UsageError(f"{checkpoint.path}: this job was stopped before it began.", "Remove the file.")

    async def note(self, **facts: Any) -> None:
        """Write facts of the job itself: its state, when it began, how complete its plan is."""
        await self.checkpoint.write(lambda db: sql.note(db, facts))
        self.job.update(facts)  # what the disk has not taken is not so

    def _count(self, db: apsw.Connection) -> None:
        """Write the counters of requests with whatever is written, so that they survive a kill."""
        sql.note(db, {"requests": self.progress.requests, "retries": self.progress.retries})

    # -- planning

    async def begin_walk(self) -> None:
        """Begin the walk anew."""
        await self.checkpoint.write(plansql.begin_walk)

    async def see(self, rows: Sequence[Seen]) -> None:
        """Keep rows of the walk, until the process ends; a row read again replaces what was read before."""
        await self.checkpoint.jot(lambda db: db.executemany(plansql.SEE, rows))

    async def want(self, ids: Iterable[int]) -> int:
        """Let the scope be these ids, as many as there may be; how many they are."""
        return int(await self.checkpoint.write(lambda db: plansql.want(db, ids)))

    async def wanted(self, after: int, limit: int) -> list[int]:
        """The next ids that the scope names beyond `after`."""
        statement = "SELECT id FROM wanted WHERE id > ? ORDER BY id LIMIT ?"
        return await self.checkpoint.read(lambda db: [row[0] for row in sql.rows(db, statement, (after, limit))])

    async def restrict(self) -> int:
        """Forget what was seen and is not wanted; the answer is how many of the wanted were not seen."""
        return int(await self.checkpoint.write(plansql.restrict))

    async def keep(self, last: int, *, each: bool) -> int:
        """Take the last so many of all, or of `each`, out of what is selected; the answer is how many that were."""
        return int(await self.checkpoint.write(lambda db: plansql.keep(db, last, each=each)))

    async def tally(self) -> Tally:
        """How many items are in scope, how many of them are selected, and what these cost."""
        (row,) = await self.checkpoint.read(lambda db: sql.rows(db, plansql.TALLY))
        return Tally(*row)

    async def freeze(self, **facts: Any) -> None:
        """Make the plan of what the walk selected, cut it into chunks and forget the rest, in one transaction.

        The fact `canary` is how many items go ahead of the others, in chunks of their own.
        """
        self.job.update(await self.checkpoint.write(lambda db: plansql.freeze(db, facts)))

    async def plan_hash(self) -> str:
        """The hash of the plan as the checkpoint has it now; the one that was made is the fact `plan_hash`."""
        return await self.checkpoint.read(plansql.plan_hash)

    # -- dispatching

    async def begin(self, chunk: Chunk, at: float) -> int:
        """See Ledger."""
        return int(await self.checkpoint.write(lambda db: sql.begin(db, chunk.first, at)))

    async def record(self, token: int, chunk: Chunk, outcome: Outcome, fate: ItemFate, at: float) -> None:
        """See Ledger."""
        await self.checkpoint.write(lambda db: sql.record(db, token, chunk.first, outcome, fate, at))

    async def narrow(self, token: int, chunk: Chunk, outcome: Outcome, cut: Cut, at: float) -> Sequence[Chunk]:
        """See Ledger."""
        parts: list[Chunk] = await self.checkpoint.write(lambda db: sql.narrow(db, token, chunk, outcome, cut, at))
        return parts

    async def close(self, chunk: Chunk, fate: ItemFate, said: str) -> None:
        """See Ledger."""
        await self.checkpoint.write(lambda db: sql.close(db, chunk.first, fate, said))

    async def pending(self, after: int, last: int, limit: int) -> Sequence[Chunk]:
        """See Ledger."""
        return await self.checkpoint.read(
            lambda db: [sql.read_chunk(db, row) for row in sql.rows(db, sql.PENDING, (after, last, limit))]
        )

    async def unsettled(self, first: int, last: int) -> Sequence[Unsettled]:
        """See Ledger."""
        return await self.checkpoint.read(lambda db: sql.read_unsettled(db, first, last))

    async def untouched(self, limit: int) -> list[int]:
        """Ids of a few items that are still to be sent, spread over the plan."""
        found = await self.checkpoint.read(lambda db: [row[0] for row in sql.rows(db, sql.UNTOUCHED, (limit,))])
        return found[:: max(1, len(found) // limit)][:limit]

    async def fingerprints(self, chunk: Chunk) -> dict[int, list[Any]]:
        """The fingerprints of the items between the ends of a chunk, by id."""
        return await self.checkpoint.read(lambda db: sql.fingerprints(db, chunk.first, chunk.last))

    async def leave_out(self, chunk: Chunk, apart: Apart) -> None:
        """Give items of a chunk that is still to be sent a fate of their own."""
        await self.checkpoint.write(lambda db: sql.leave_out(db, chunk.first, chunk.last, apart))

    async def witnesses(self, limit: int) -> dict[int, list[Any]]:
        """A few items that the service accepted, with their fingerprints: they must have moved if anything does."""
        rows = await self.checkpoint.read(lambda db: sql.rows(db, sql.WITNESSES, (limit,)))
        return {item: orjson.loads(mark) for item, mark in rows}

    async def any_confirmed(self) -> bool:
        """Whether the service has ever been seen to do what this job asked of it."""
        return bool((await self.checkpoint.read(lambda db: sql.rows(db, sql.ANY_CONFIRMED)))[0][0])

    async def settle(self, chunk: Chunk, fate: ItemFate, error: str | None, apart: Apart) -> None:
        """See Ledger."""
        await self.checkpoint.write(lambda db: sql.settle(db, chunk.first, fate, error, apart))

    async def held(self, limit: int = -1) -> dict[int, int]:
        """The ids of items that are held, each with its group; all without a limit."""
        return await self.checkpoint.read(lambda db: reportsql.held(db, limit))

    async def release_held(self) -> None:
        """Count what is held as accepted; a job that was finished is to be verified again."""
        await self.checkpoint.write(sql.release_held)
        self._reread("state")

    async def retry_held(self, fingerprints: dict[int, list[Any]], apart: Apart) -> None:
        """Let held items be sent again, with the fingerprints they have now; those in `apart` get that fate instead."""
        await self.checkpoint.write(lambda db: sql.retry_held(db, fingerprints, apart))
        self._reread("state")

    def _reread(self, key: str) -> None:
        """Take over a fact that a statement has changed by itself."""
        rows = self.checkpoint.read_now(lambda db: sql.rows(db, "SELECT value FROM job WHERE key=?", (key,)))
        self.job[key] = orjson.loads(rows[0][0])

    async def free_unsettled(self) -> None:
        """Let every unsettled chunk be sent again: for kinds that may."""
        await self.checkpoint.write(
            lambda db: sql.rows(db, "UPDATE chunk SET fate='not_attempted' WHERE fate='unsettled'")
        )

    async def doubtful(self) -> int:
        """How many chunks are to be sent again although they may have been carried out: of kinds that may be repeated."""
        return len(await self.checkpoint.read(lambda db: sql.rows(db, sql.DOUBTFUL)))

    async def unsettle_doubtful(self) -> None:
        """Let what became of these be found out instead."""
        await self.checkpoint.write(lambda db: sql.rows(db, sql.UNSETTLE_DOUBTFUL))

    async def skip_unsent(self) -> None:
        """Leave out what is still to be sent: the job is cancelled, and is so from now on whoever resumes it."""
        await self.checkpoint.write(sql.skip_unsent)
        self.job["cancelled"] = True

    async def span(self) -> tuple[int, int]:
        """The first and the last item of the plan, by their order in it; (0, -1) when there is none."""
        rows = await self.checkpoint.read(
            lambda db: sql.rows(db, "SELECT coalesce(min(first), 0), coalesce(max(last), -1) FROM chunk")
        )
        return rows[0][0], rows[0][1]

    # -- exporting

    async def cut_parts(self, chunks: int) -> list[tuple[int, int, bool]]:
        """The plan in parts of so many chunks: first and last item, and whether it is announced."""
        found = await self.checkpoint.read(lambda db: sql.rows(db, sql.PARTS, (chunks,)))
        return [(first, last, bool(whole)) for first, last, whole in found]

    async def part_files(self, number: int) -> list[File]:
        """The files of a part that was finished and not announced."""
        statement = "SELECT files FROM part WHERE number = ? AND NOT whole"
        found = await self.checkpoint.read(lambda db: sql.rows(db, statement, (number,)))
        return [File(**file) for row in found for file in orjson.loads(row[0])]

    async def begin_part(self, number: int, first: int, last: int, files: Iterable[File]) -> None:
        """Write which files are going to be put into their places."""
        values = (number, first, last, sql.as_json([asdict(file) for file in files]))
        await self.checkpoint.write(
            lambda db: sql.rows(db, "INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, 0)", values)
        )

    async def announce_part(self, number: int, apart: Apart) -> None:
        """Announce a part that is in its place: its items are confirmed, but for those in `apart`."""
        await self.checkpoint.write(lambda db: sql.announce_part(db, number, apart))

    async def marks(self, ids: Iterable[int]) -> dict[int, list[Any]]:
        """The fingerprints of items, by id."""
        wanted = sql.as_json(list(ids))
        statement = "SELECT id, fingerprint FROM item WHERE id IN (SELECT value FROM json_each(?))"
        rows = await self.checkpoint.read(lambda db: sql.rows(db, statement, (wanted,)))
        return {item: orjson.loads(mark) for item, mark in rows}

    async def sent(self, after: int, limit: int) -> list[tuple[int, int]]:
        """The next items beyond position `after` that were sent and may have been carried out: position and id."""
        rows = await self.checkpoint.read(lambda db: sql.rows(db, sql.SENT, (after, limit)))
        return [(seq, item) for seq, item in rows]

    async def parents(self, first: int, last: int) -> dict[int, int | None]:
        """In which row of the list each item from `first` to `last` lies, by id."""
        statement = "SELECT id, parent FROM item WHERE seq BETWEEN ? AND ?"
        return dict(await self.checkpoint.read(lambda db: sql.rows(db, statement, (first, last))))

    # -- verifying

    async def accepted(self, ids: Iterable[int]) -> dict[int, list[Any]]:
        """Those of `ids` that the service took and that are not confirmed yet, with their fingerprints."""
        wanted = bytes(orjson.dumps(list(ids))).decode()
        rows = await self.checkpoint.read(lambda db: sql.rows(db, sql.ACCEPTED_OF, (wanted,)))
        return {row[0]: orjson.loads(row[1]) for row in rows}

    async def next_accepted(self, after: int, limit: int) -> list[tuple[int, int, list[Any]]]:
        """The next accepted, unconfirmed items beyond position `after`: position, id, fingerprint."""
        rows = await self.checkpoint.read(lambda db: sql.rows(db, sql.ACCEPTED_AFTER, (after, limit)))
        return [(seq, item, orjson.loads(mark)) for seq, item, mark in rows]

    async def mark(self, apart: Apart) -> None:
        """Give items a fate of their own."""
        await self.checkpoint.write(lambda db: sql.mark(db, apart))

    async def confirm(self, measures: Mapping[int, float | None]) -> None:
        """Confirm items, with what was measured of each."""
        await self.checkpoint.write(lambda db: sql.confirm(db, measures))

    async def meet(self, shown: Mapping[int, str], look: int) -> None:
        """Note that look number `look` met these accepted items, could not confirm them, and what each showed."""
        values = [(look, what, item) for item, what in shown.items()]
        await self.checkpoint.write(lambda db: db.executemany(sql.MEET, values))

    async def unmet(self, look: int, limit: int) -> list[int]:
        """A few accepted items that were not met in look number `look`."""
        return await self.checkpoint.read(lambda db: [row[0] for row in sql.rows(db, sql.UNMET, (look, limit))])

    async def confirm_unmet(self, look: int) -> None:
        """Confirm every accepted item that was not met in look number `look`: it is gone."""
        await self.checkpoint.write(lambda db: sql.confirm_unmet(db, look))

    async def hide_unmet(self, look: int) -> None:
        """Note that every accepted item that was not met in look number `look` cannot be seen, which proves nothing."""
        await self.checkpoint.write(lambda db: sql.rows(db, sql.HIDE_UNMET, (look,)))

    async def settle_shown(self, look: int, shown: str, fate: ItemFate, said: str) -> None:
        """Give every accepted item that showed this in look number `look` a fate, and say why."""
        await self.checkpoint.write(lambda db: sql.rows(db, sql.SETTLE, (fate, said, look, shown)))

    async def fold(self) -> None:
        """Where all items of an accepted chunk are confirmed, let the chunk say so."""
        await self.checkpoint.write(sql.fold)

    # -- reporting

    async def counts(self) -> dict[str, int]:
        """How many items have which fate; every fate is there."""
        return await self.checkpoint.read(reportsql.counts)

    async def items(self, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """The next items of the plan beyond position `after`, with what became of each."""
        return await self.checkpoint.read(lambda db: reportsql.items(db, after, limit))

    async def shown(self) -> dict[str, int]:
        """Of the items that are accepted and not confirmed, how many showed what when they were last looked at."""
        return await self.checkpoint.read(reportsql.shown)

    async def groups(self, limit: int = 20) -> list[tuple[int, int, int]]:
        """The groups of the plan, the largest first: which, how many items, how many chunks."""
        statement = (
            "SELECT grp, sum(last - first + 1), count(*) FROM chunk WHERE grp >= 0 GROUP BY grp ORDER BY 2 DESC LIMIT ?"
        )
        rows = await self.checkpoint.read(lambda db: sql.rows(db, statement, (limit,)))
        return [(group, items, chunks) for group, items, chunks in rows]

    async def chunks(self) -> int:
        """How many chunks the plan has."""
        return int(
            (await self.checkpoint.read(lambda db: sql.rows(db, "SELECT count(*) FROM chunk WHERE grp >= 0")))[0][0]
        )

    async def reasons(self) -> list[tuple[str, str, int]]:
        """The commonest things said of items that did not go through: fate, what was said, how many items."""
        return await self.checkpoint.read(reportsql.reasons)
