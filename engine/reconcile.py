"""Settling attempts of unknown fate: wait until the service can no longer be working on them, read back, decide.

Only what did not move is sent again. Measured by simulation of faults: a blind resend evaluates about 40 % of the items
touched by a fault twice; reading back after a full settling time, none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf

import anyio
import structlog

from .backlog import Backlog
from .errors import RebatchError
from .fates import ItemFate
from .kind import Evidence, Kind
from .ledger import Chunk, Unsettled
from .readback import read_back
from .where import Row
from .work import Work

log = structlog.get_logger("rebatch")
TOGETHER_S = 2.0  # what ripens within so many seconds is read back together, and never too early
_UNCLEAR = "may have been carried out; reading back does not tell"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a chunk: `fate` for all but the items in `apart`, which have their own."""

    fate: ItemFate
    error: str | None
    apart: dict[int, tuple[ItemFate, str | None]]


class Reconciler:
    """Keeps the chunks of unknown fate until they are ripe, and settles them while other chunks go on."""

    def __init__(self, work: Work, backlog: Backlog) -> None:
        """Chunks that nothing happened to go back to `backlog`."""
        self._work, self._backlog = work, backlog
        self._waiting: list[
            tuple[float, Unsettled]
        ] = []  # with the time, on the event loop's clock, at which it is ripe
        self._added = anyio.Event()

    async def adopt(self, first: int, last: int) -> None:
        """Take over the attempts that an earlier process left open: it was killed, or its answers were lost."""
        work = self._work
        found = await work.ledger.unsettled(first, last)
        for unsettled in found:
            # The service had the request before now. How long before, only clocks could tell, and clocks are wrong: on
            # another machine, after a suspend. So the whole time is waited.
            self._keep(unsettled, work.spec.limits.settle)
        self._backlog.adopt(unsettled.chunk.first for unsettled in found)

    async def add(self, chunk: Chunk) -> None:
        """Take over a chunk whose attempt has just ended with an unknown fate."""
        for unsettled in await self._work.ledger.unsettled(chunk.first, chunk.first):
            self._keep(replace(unsettled, chunk=chunk), self._work.spec.limits.settle)

    async def run(self) -> None:
        """Settle what gets ripe, for ever; cancelled when the pool is done."""
        while not self._work.control.draining:
            ripe = [unsettled for at, unsettled in self._waiting if at <= anyio.current_time()]
            if ripe:
                self._waiting = [entry for entry in self._waiting if entry[1] not in ripe]
                await self._settle(ripe)
            else:
                await self._wait()

    def _keep(self, unsettled: Unsettled, ripe_in_s: float) -> None:
        ripe_at = ceil((anyio.current_time() + ripe_in_s) / TOGETHER_S) * TOGETHER_S
        self._waiting.append((ripe_at, unsettled))
        self._added.set()
        self._added = anyio.Event()
        log.info(
            "fate unknown",
            chunk=unsettled.chunk.first,
            items=len(unsettled.chunk.ids),
            read_back_in_s=round(ripe_in_s),
        )

    async def _wait(self) -> None:
        added = self._added
        delay = min((at for at, _ in self._waiting), default=inf) - anyio.current_time()
        with anyio.move_on_after(delay if delay < inf else None):
            await self._work.control.wait(added.wait)

    async def _settle(self, ripe: list[Unsettled]) -> None:
        ids = [item for unsettled in ripe for item in unsettled.chunk.ids]
        try:
            rows = await read_back(self._work, ids)
        except RebatchError as error:
            self._work.control.drain(error)
            return
        for unsettled in ripe:
            await self._apply(unsettled, rows)

    async def _apply(self, unsettled: Unsettled, rows: dict[int, Row | None]) -> None:
        work, chunk = self._work, unsettled.chunk
        settlement = judge(work.spec.kind, unsettled, rows, may_resend=chunk.attempts < work.spec.limits.attempts)
        with anyio.CancelScope(shield=True):
            await work.ledger.settle(chunk, settlement.fate, settlement.error, settlement.apart)
        log.info("settled", chunk=chunk.first, fate=settlement.fate, apart=len(settlement.apart))
        left = tuple(item for item in chunk.ids if item not in settlement.apart)
        if settlement.fate is ItemFate.NOT_ATTEMPTED:
            work.progress.retries += 1
            self._backlog.again(Chunk(chunk.first, chunk.last, chunk.group, chunk.attempts, left))
            work.progress.done += len(settlement.apart)
        else:
            work.progress.done += len(chunk.ids)
            self._backlog.over()


def judge(kind: Kind, unsettled: Unsettled, rows: dict[int, Row | None], *, may_resend: bool) -> Settlement:
    """Decide from what was read back: what moved was done, what did not is sent again, what cannot be made out is held."""
    fates = _fates(kind, unsettled, rows)
    unmoved = [item for item, fate in fates.items() if fate is ItemFate.NOT_ATTEMPTED]
    if unmoved and may_resend:
        rest = ItemFate.NOT_ATTEMPTED
    elif unmoved:
        rest = ItemFate.FAILED
        fates |= dict.fromkeys(unmoved, rest)
    else:
        rest = ItemFate.ACCEPTED
    error = f"sent {unsettled.chunk.attempts} times without effect" if rest is ItemFate.FAILED else None
    apart = {
        item: (fate, _UNCLEAR if fate is ItemFate.HELD else None) for item, fate in fates.items() if fate is not rest
    }
    return Settlement(rest, error, apart)


def _fates(kind: Kind, unsettled: Unsettled, rows: dict[int, Row | None]) -> dict[int, ItemFate]:
    """The fate of each item. One whose own change proves nothing takes that of its chunk, which went out as one request."""
    evidence = {item: kind.evidence(mark, rows[item]) for item, mark in unsettled.fingerprints.items() if item in rows}
    shown = set(evidence.values())
    done, undone = shown & {Evidence.APPLIED, Evidence.WORKING}, Evidence.UNMOVED in shown
    fates = {}
    for item in unsettled.fingerprints:
        known = evidence.get(item, Evidence.UNCLEAR)
        if known is Evidence.UNCLEAR and rows.get(item) is not None and (done or undone):
            known = Evidence.APPLIED if done else Evidence.UNMOVED
        fates[item] = _FATE_BY_EVIDENCE[known]
    return fates


_FATE_BY_EVIDENCE = {
    Evidence.APPLIED: ItemFate.ACCEPTED,
    Evidence.WORKING: ItemFate.ACCEPTED,
    Evidence.UNMOVED: ItemFate.NOT_ATTEMPTED,
    Evidence.UNCLEAR: ItemFate.HELD,
}
