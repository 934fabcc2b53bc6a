"""The look before a chunk is sent: what no longer is as it was planned is left out.

A fingerprint is evidence only if it was seen shortly before the attempt. Between a plan and its execution may lie hours,
another job, a colleague: what moved then is not what was agreed to, and must not be taken for our own doing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio
import structlog

from .errors import GuardError
from .fates import Evidence, ItemFate
from .kind import Change
from .ledger import CHUNK, Apart, Chunk
from .readback import Rows, read_back, read_full, read_what_can_be
from .work import Work

log = structlog.get_logger("rebatch")

FRESH_S = 60.0  # what was seen so recently needs no second look
PROBES = 5
_KEPT_TOGETHER = 16
GONE = "gone since plan"
CHANGED = "changed since plan"


async def see_account(work: Work) -> None:
    """See that it is the account that was planned for. Raises GuardError when another key sees nothing of the plan.

    The key that it was planned with may see nothing of it, either: then all of it is gone.
    """
    if work.ledger.job.get("key") == work.key:
        return
    probes = await work.ledger.untouched(PROBES)
    seen = [row is not None for row in (await read_full(work, probes)).values()]
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

    At a slow pace it counts for longer: as long as all who may stand at the gate need to pass it. Where each item is to
    be kept in full before it is changed, having been planned is not enough.
    """
    rate = work.client.pacer.rate
    passing_s = 4 * work.spec.limits.concurrency / rate
    if work.archive is None:
        return anyio.current_time() <= max(seen_at, work.planned_at) + max(FRESH_S, passing_s)
    reading_s = 2 * kept_together(work) * CHUNK / work.spec.kind.resource.at_once / rate
    return anyio.current_time() <= seen_at + max(FRESH_S, passing_s) + reading_s


def kept_together(work: Work) -> int:
    """How many chunks one look is at where everything is read in full: items may be large, and are to be sent soon."""
    return 1 if work.spec.kind.resource.at_once == 1 else _KEPT_TOGETHER


async def look(work: Work, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Compare what is to be sent with its fingerprints, and leave out what differs; what is left of the chunks.

    Raises ServiceError, CredentialsError, StoppedError, CheckpointError.
    """
    stale = [chunk for chunk in chunks if not is_fresh(work, chunk.looked_at)]
    looked = {chunk.first: chunk for chunk in await _look_at(work, stale)} if stale else {}
    seen = [looked.get(chunk.first, chunk) for chunk in chunks]
    return [chunk for chunk in seen if chunk.ids]


async def _look_at(work: Work, chunks: Sequence[Chunk]) -> list[Chunk]:
    groups = {item: chunk.group for chunk in chunks for item in chunk.ids}
    began = anyio.current_time()
    rows, unread = await _read(work, groups)
    left, looked_at = [], began if work.archive else anyio.current_time()
    for chunk in chunks:
        marks = await work.ledger.fingerprints(chunk)
        apart = differing(work.change, chunk, marks, rows)
        apart |= {item: (ItemFate.FAILED, unread[item]) for item in chunk.ids if item in unread}
        if apart:
            await work.ledger.leave_out(chunk, apart)
            work.progress.done += len(apart)
            log.info("left out", chunk=chunk.first, items=len(apart))
        left.append(replace(chunk, ids=tuple(item for item in chunk.ids if item not in apart), looked_at=looked_at))
    work.fail(len(unread))
    if work.archive:
        await work.archive.keep({item: rows[item] for chunk in left for item in chunk.ids}, groups)
    return left


async def _read(work: Work, groups: Mapping[int, int]) -> tuple[Rows, dict[int, str]]:
    """The rows as they are now; where they are to be kept, in full, and why some cannot be had."""
    if work.archive is None:
        return await read_back(work, groups), {}
    rows, unread = await read_what_can_be(work, groups)
    return rows, {item: f"not archived, so not sent: {why}" for item, why in unread.items()}


def differing(kind: Change, chunk: Chunk, marks: Mapping[int, list[Any]], rows: Rows) -> Apart:
    """The items of a chunk that are not as they were, and what becomes of each."""
    apart: Apart = {}
    for item in chunk.ids:
        if item not in rows:
            continue
        row = rows[item]
        if row is None and chunk.sent and kind.evidence(marks[item], None) is Evidence.APPLIED:
            apart[item] = (ItemFate.ACCEPTED, None)  # an earlier attempt of ours, of which no answer came
        elif row is None:
            apart[item] = (ItemFate.SKIPPED, GONE)
        elif kind.resource.fingerprint(row) != marks[item]:
            apart[item] = (ItemFate.SKIPPED, CHANGED)
    return apart
