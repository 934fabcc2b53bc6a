"""The pool: wait for the gate, write the intent, send, decipher, write the outcome.

Retry sits outside the gate: every attempt pays, and a chunk that waits for another try holds no worker.
"""

from __future__ import annotations

from dataclasses import replace

import anyio
import structlog

from .backlog import Backlog
from .errors import StoppedError
from .fates import Fate, ItemFate, Outcome, decipher
from .ledger import Chunk
from .reconcile import Reconciler
from .retry import THROTTLED, Next, Verdict
from .tasks import crew, task_group
from .work import Work

log = structlog.get_logger("rebatch")

_FATE_AFTER = {
    Next.DONE: ItemFate.ACCEPTED,
    Next.AGAIN: ItemFate.NOT_ATTEMPTED,
    Next.SETTLE: ItemFate.UNSETTLED,
    Next.FAIL: ItemFate.FAILED,
    Next.STOP: ItemFate.NOT_ATTEMPTED,
}


async def dispatch(work: Work, first: int, last: int) -> None:
    """Work through the items from `first` to `last` of the plan; a whole job is the range of all.

    Returns when each chunk has a fate, or when draining has begun and nothing is in flight. Raises CheckpointError.
    """
    backlog = Backlog(work.ledger, work.control, first, last)
    reconciler = Reconciler(work, backlog)
    await reconciler.adopt(first, last)
    pool = _Pool(work, backlog, reconciler)
    async with task_group() as beside:
        beside.start_soon(reconciler.run)
        await crew(work.spec.limits.concurrency, pool.worker)
        beside.cancel_scope.cancel()


class _Pool:
    def __init__(self, work: Work, backlog: Backlog, reconciler: Reconciler) -> None:
        self._work, self._backlog, self._reconciler = work, backlog, reconciler

    async def worker(self) -> None:
        while (chunk := await self._backlog.take()) is not None:
            if await self._work.client.admit_write():
                await self._attempt(replace(chunk, attempts=chunk.attempts + 1))
            else:
                self._backlog.again(chunk)

    async def _attempt(self, chunk: Chunk) -> None:
        work, spec = self._work, self._work.spec
        token = await work.ledger.begin(chunk, work.wall())
        reply = await work.client.send(spec.kind.request(spec.action, chunk.group, chunk.ids))
        with anyio.CancelScope(shield=True):  # an outcome that is known must not be lost to a second Ctrl-C
            outcome = decipher(reply)
            verdict = self._judge(outcome, chunk)
            await work.ledger.record(token, chunk, outcome, _fate(verdict, outcome), work.wall())
        log.info(
            "attempt",
            chunk=chunk.first,
            items=len(chunk.ids),
            fate=outcome.fate,
            status=outcome.status,
            error=outcome.error,
        )
        await self._follow(chunk, outcome, verdict)

    def _judge(self, outcome: Outcome, chunk: Chunk) -> Verdict:
        kind = self._work.spec.kind
        if outcome.fate is Fate.REJECTED and kind.stops_all(outcome):
            return Verdict(Next.STOP, error=StoppedError(f"The service refused: {outcome.error}."))
        return self._work.client.judge(outcome, repeatable=kind.repeatable, attempt=chunk.attempts)

    async def _follow(self, chunk: Chunk, outcome: Outcome, verdict: Verdict) -> None:
        work = self._work
        match verdict.next:
            case Next.AGAIN:
                work.progress.retries += 1
                spared = chunk.attempts - (outcome.status == THROTTLED)  # to be throttled is no failure of the chunk
                self._backlog.again(replace(chunk, attempts=spared), verdict.wait_s)
            case Next.SETTLE:
                await self._reconciler.add(chunk)
            case Next.STOP:
                work.control.drain(verdict.error)
            case _:
                work.progress.done += len(chunk.ids)
                self._backlog.over()


def _fate(verdict: Verdict, outcome: Outcome) -> ItemFate:
    """What the attempt makes of its chunk. A stop leaves it to be sent again only if it surely was not carried out."""
    if verdict.next is Next.STOP and outcome.fate is Fate.UNKNOWN:
        return ItemFate.UNSETTLED
    return _FATE_AFTER[verdict.next]
