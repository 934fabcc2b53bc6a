"""The look before a chunk is sent: what no longer is as it was planned is left out.

A fingerprint is evidence only if it was seen shortly before the attempt. Between a plan and its execution may lie hours,
another job, a colleague: what moved then is not what was agreed to, and must not be taken for our own doing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import structlog

from .errors import GuardError
from .fates import ItemFate
from .kind import Evidence, Kind
from .ledger import Apart, Chunk
from .readback import read_back, read_one
from .where import Row
from .work import Work

log = structlog.get_logger("rebatch")

FRESH_S = 60.0  # what was seen so recently needs no second look
PROBES = 5
GONE = "gone since plan"
CHANGED = "changed since plan"


async def see_account(work: Work) -> None:
    """See that it is the account that was planned for. Raises GuardError when another key sees nothing of the plan.

    The key that it was planned with may see nothing of it, either: then all of it is gone.
    """
    if work.ledger.job.get("key") == work.key:
        return
    probes = await work.ledger.untouched(PROBES)
    seen = [await read_one(work.client, work.spec.kind.resource, item) is not None for item in probes]
    if probes and not any(seen):
        raise nothing_seen(work, len(probes))
    if probes and all(seen):
        await work.ledger.note(key=work.key)  # another key than before, but one that sees what was planned


def nothing_seen(work: Work, looked_at: int) -> GuardError:
    """Whoever has this key sees nothing of the plan."""
    unchanged = " Nothing was changed." if work.ledger.job["state"] == "planned" else " Nothing more was changed."
    return GuardError(
        f"This is not the key that was planned with, and of {looked_at} items of the plan it sees none.{unchanged}",
        "Use the key of the account that was planned for.",
    )


def is_fresh(work: Work, seen_at: float) -> bool:
    """Whether what was seen at `seen_at`, on the event loop's clock, or in the plan just made, still counts.

    At a slow pace it counts for longer: as long as all who may stand at the gate need to pass it.
    """
    passing_s = 4 * work.spec.limits.concurrency / work.client.pacer.rate
    return anyio.current_time() <= max(seen_at, work.planned_at) + max(FRESH_S, passing_s)


async def look(work: Work, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Compare what is to be sent with its fingerprints, and leave out what differs; what is left of the chunks.

    Raises ServiceError, CredentialsError, StoppedError, CheckpointError.
    """
    by_group: defaultdict[int, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        if not is_fresh(work, chunk.looked_at):
            by_group[chunk.group].append(chunk)
    left: dict[int, Chunk] = {}
    for group, stale in by_group.items():
        left |= {chunk.first: chunk for chunk in await _look_at(work, group, stale)}
    seen = [left[chunk.first] if chunk.group in by_group and chunk.first in left else chunk for chunk in chunks]
    return [chunk for chunk in seen if chunk.ids]


async def _look_at(work: Work, group: int, chunks: Sequence[Chunk]) -> list[Chunk]:
    rows = await read_back(work, [item for chunk in chunks for item in chunk.ids], group)
    left, looked_at = [], anyio.current_time()
    for chunk in chunks:
        marks = await work.ledger.fingerprints(chunk)
        apart = differing(work.spec.kind, chunk, marks, rows)
        if apart:
            await work.ledger.leave_out(chunk, apart)
            work.progress.done += len(apart)
            log.info("left out", chunk=chunk.first, items=len(apart))
        left.append(replace(chunk, ids=tuple(item for item in chunk.ids if item not in apart), looked_at=looked_at))
    return left


def differing(kind: Kind, chunk: Chunk, marks: dict[int, list[Any]], rows: dict[int, Row | None]) -> Apart:
    """The items of a chunk that are not as they were, and what becomes of each."""
    apart: Apart = {}
    for item in chunk.ids:
        row = rows[item]
        if row is None and chunk.sent and kind.evidence(marks[item], None) is Evidence.APPLIED:
            apart[item] = (ItemFate.ACCEPTED, None)  # an earlier attempt of ours, of which no answer came
        elif row is None:
            apart[item] = (ItemFate.SKIPPED, GONE)
        elif kind.resource.fingerprint(row) != marks[item]:
            apart[item] = (ItemFate.SKIPPED, CHANGED)
    return apart
