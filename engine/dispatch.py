"""The pool: look, wait for the gate, write the intent, send, decipher, write the outcome.

Retry sits outside the gate: every attempt pays, and a chunk that waits for another try holds no worker.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import anyio
import structlog

from .backlog import MOST_OPEN, Backlog
from .errors import StoppedError
from .fates import Fate, ItemFate, Outcome, decipher
from .ledger import Chunk
from .look import is_fresh, kept_together, look
from .narrow import Narrower
from .reconcile import Reconciler
from .retry import Next, Verdict
from .tasks import crew, task_group
from .work import Work

log = structlog.get_logger("rebatch")

_FATE_AFTER = {
    Next.DONE: ItemFate.ACCEPTED,
    Next.AGAIN: ItemFate.NOT_ATTEMPTED,
    Next.SETTLE: ItemFate.UNSETTLED,
    Next.STOP: ItemFate.NOT_ATTEMPTED,
}
_WITHHELD = Outcome(Fate.NEVER_SENT, error="the service asked for silence before it was sent")


async def dispatch(work: Work, first: int, last: int) -> None:
    """Work through the items from `first` to `last` of the plan; a whole job is the range of all.

    Returns when each chunk has a fate, or when draining has begun and nothing is in flight. Raises CheckpointError.
    """
    backlog = Backlog(
        work.ledger,
        work.control,
        partial(look, work),
        first,
        last,
        mixed=work.change.resource.at_once > 1,
        together=kept_together(work) if work.archive else MOST_OPEN,
        one_at_a_time=work.change.one_at_a_time,
        needs_look=lambda chunk: not (chunk.ids and is_fresh(work, chunk.looked_at)),
    )
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
        self._narrower = Narrower()
        self._log = log.bind()  # once: a logger is made up anew each time that the module's is used

    async def worker(self) -> None:
        while (chunk := await self._backlog.take()) is not None:
            if refusal := self._narrower.refusal(chunk):
                await self._close(chunk, *refusal)
            elif await self._work.client.admit_write() and is_fresh(self._work, chunk.looked_at):
                await self._attempt(replace(chunk, attempts=chunk.attempts + 1))
            else:  # the job is to end, or the gate was closed for long
                self._backlog.again(chunk)

    async def _close(self, chunk: Chunk, fate: ItemFate, said: str) -> None:
        await self._work.ledger.close(chunk, fate, said)
        self._over(chunk, failed=len(chunk.ids) if fate is ItemFate.FAILED else 0)

    async def _attempt(self, chunk: Chunk) -> None:
        work, spec = self._work, self._work.spec
        token = await work.ledger.begin(chunk, work.wall())
        reply = await work.client.send(work.change.request(spec.action, chunk.group, chunk.ids))
        with anyio.CancelScope(shield=True):  # an outcome that is known must not be lost to a second Ctrl-C
            if reply is None:
                await work.ledger.record(token, chunk, _WITHHELD, ItemFate.NOT_ATTEMPTED, work.wall())
                self._backlog.again(replace(chunk, attempts=chunk.attempts - 1))
                return
            outcome = decipher(reply)
            self._log.info(
                "attempt",
                chunk=chunk.first,
                items=len(chunk.ids),
                fate=outcome.fate,
                status=outcome.status,
                error=outcome.error,
            )
            verdict = self._judge(outcome, chunk)
            if verdict.next is Next.FAIL:
                await self._refused(token, chunk, outcome, reply.body)
            else:
                await work.ledger.record(token, chunk, outcome, _fate(verdict, outcome), work.wall())
                await self._follow(chunk, verdict)

    def _judge(self, outcome: Outcome, chunk: Chunk) -> Verdict:
        kind = self._work.change
        if outcome.fate is Fate.REJECTED and kind.stops_all(outcome):
            return Verdict(Next.STOP, error=StoppedError(f"The service refused: {outcome.error}."))
        return self._work.client.judge(outcome, repeatable=kind.repeatable, attempt=chunk.attempts)

    async def _refused(self, token: int, chunk: Chunk, outcome: Outcome, body: bytes) -> None:
        """Narrow a refused chunk down, or let it fail."""
        work = self._work
        cut = self._narrower.cut(chunk, outcome, body, about_items=work.change.about_items(outcome))
        parts = await work.ledger.narrow(token, chunk, outcome, cut, work.wall())
        if parts:
            self._backlog.split(parts)
            self._count(len(cut.failed), len(cut.failed))
        else:
            self._over(chunk, failed=len(chunk.ids))

    async def _follow(self, chunk: Chunk, verdict: Verdict) -> None:
        match verdict.next:
            case Next.AGAIN:
                self._work.progress.retries += 1
                self._backlog.again(_sent(chunk, verdict), verdict.wait_s)
            case Next.SETTLE:
                await self._reconciler.add(_sent(chunk, verdict))
            case Next.STOP:
                self._work.control.drain(verdict.error)
            case _:
                self._over(chunk)

    def _over(self, chunk: Chunk, *, failed: int = 0) -> None:
        self._count(len(chunk.ids), failed)
        self._backlog.over(chunk)

    def _count(self, items: int, failed: int) -> None:
        self._work.progress.done += items
        self._work.fail(failed)


def _sent(chunk: Chunk, verdict: Verdict) -> Chunk:
    return replace(chunk, attempts=chunk.attempts - verdict.spared, sent=True)


def _fate(verdict: Verdict, outcome: Outcome) -> ItemFate:
    """What the attempt makes of its chunk. A stop leaves it to be sent again only if it surely was not carried out."""
    if verdict.next is Next.STOP and outcome.fate is Fate.UNKNOWN:
        return ItemFate.UNSETTLED
    return _FATE_AFTER[verdict.next]
