"""Settling attempts of unknown fate: wait until the service can no longer be working on them, read back twice, decide.

Only what did not move is sent again, and only if this job has seen that what is carried out moves. Measured by simulation
of faults: a blind resend evaluates about 40 % of the items touched by a fault twice; reading back after a full settling
time, none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

import anyio
import structlog

from .backlog import Backlog
from .errors import RebatchError
from .fates import Evidence, ItemFate
from .kind import Change
from .ledger import Chunk, Unsettled
from .readback import read_back
from .tasks import Bell
from .where import Row
from .work import Work

log = structlog.get_logger("rebatch")
TOGETHER_S = 2.0  # what ripens within so many seconds is read back together, and never too early
BETWEEN_S = 5.0  # from the first reading to the second, or `settle` if that is less
POSTPONED_S = 10.0  # until the question whether anything moves is asked again, or `settle`
WITNESSES = 8
_UNCLEAR = "may have been carried out; reading back does not tell"
_UNTRIED = "may have been carried out; it did not move, but this job has seen nothing move yet"
Rows = Mapping[int, Row | None]


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
        self._added = Bell()

    async def adopt(self, first: int, last: int) -> None:
        """Take over the attempts that an earlier process left open: it was killed, or its answers were lost."""
        work = self._work
        found = await work.ledger.unsettled(first, last)
        for unsettled in found:
            # The service had the request before now. How long before, only clocks could tell, and clocks are wrong: on
            # another machine, after a suspend. So the whole time is waited.
            self._keep(unsettled, work.spec.limits.settle)
        self._backlog.adopt(unsettled.chunk for unsettled in found)

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
        self._added.ring()
        log.info(
            "fate unknown",
            chunk=unsettled.chunk.first,
            items=len(unsettled.chunk.ids),
            read_back_in_s=round(ripe_in_s),
        )

    async def _wait(self) -> None:
        delay = min((at for at, _ in self._waiting), default=inf) - anyio.current_time()
        with anyio.move_on_after(delay if delay < inf else None):
            await self._work.control.wait(self._added.rung)

    async def _settle(self, ripe: list[Unsettled]) -> None:
        settle_s = self._work.spec.limits.settle
        try:
            looks = [await self._read(ripe)]
            doubtful = [unsettled for unsettled in ripe if not _has_moved(self._work.change, unsettled, looks)]
            if doubtful and await self._work.control.sleep(min(BETWEEN_S, settle_s)):
                looks.append(await self._read(doubtful))
            trusted = await self._may_trust(ripe, looks)
        except RebatchError as error:
            self._work.control.drain(error)
            return
        if self._work.control.draining:
            return
        others = not self._backlog.is_all(len(self._waiting) + len(ripe))
        for unsettled in ripe:
            if unsettled in doubtful and not trusted and others:
                self._keep(unsettled, min(POSTPONED_S, settle_s))
            else:
                await self._apply(unsettled, looks if unsettled in doubtful else looks[:1], trusted=trusted)

    async def _read(self, chunks: Sequence[Unsettled]) -> Rows:
        wanted = {item: unsettled.chunk.group for unsettled in chunks for item in unsettled.chunk.ids}
        return await read_back(self._work, wanted)

    async def _may_trust(self, ripe: Sequence[Unsettled], looks: Sequence[Rows]) -> bool:
        """Whether what does not move was not carried out: only if something that was carried out has been seen to move."""
        work = self._work
        kind, ledger = work.change, work.ledger
        if kind.repeatable or ledger.job.get("evidence_moves"):
            return True
        moved = (
            any(_any_moved(kind, unsettled.fingerprints, looks) for unsettled in ripe) or await ledger.any_confirmed()
        )
        if not moved:
            witnesses = await ledger.witnesses(WITNESSES)
            moved = _any_moved(kind, witnesses, [await read_back(work, dict.fromkeys(witnesses, 0))])
        if moved:
            await ledger.note(evidence_moves=True)
        return moved

    async def _apply(self, unsettled: Unsettled, looks: Sequence[Rows], *, trusted: bool) -> None:
        work, chunk = self._work, unsettled.chunk
        may_resend = chunk.attempts < work.spec.limits.attempts
        settlement = judge(work.change, unsettled, looks, may_resend=may_resend, trusted=trusted)
        with anyio.CancelScope(shield=True):
            await work.ledger.settle(chunk, settlement.fate, settlement.error, settlement.apart)
        log.info("settled", chunk=chunk.first, fate=settlement.fate, apart=len(settlement.apart))
        left = tuple(item for item in chunk.ids if item not in settlement.apart)
        work.fail(_failed(settlement, len(left)))
        if settlement.fate is ItemFate.NOT_ATTEMPTED:
            work.progress.retries += 1
            self._backlog.again(replace(chunk, ids=left, looked_at=-inf))
            work.progress.done += len(settlement.apart)
        else:
            work.progress.done += len(chunk.ids)
            self._backlog.over(chunk)


def judge(
    kind: Change, unsettled: Unsettled, looks: Sequence[Rows], *, may_resend: bool, trusted: bool = True
) -> Settlement:
    """Decide from what was read back: what moved was done, what did not is sent again, what cannot be made out is held.

    `trusted` tells whether this job has seen that what is done moves; if not, what did not move is held as well.
    """
    fates = _fates(kind, unsettled, looks)
    unmoved = [item for item, fate in fates.items() if fate is ItemFate.NOT_ATTEMPTED]
    if unmoved and not trusted:
        rest = ItemFate.ACCEPTED
        fates |= dict.fromkeys(unmoved, ItemFate.HELD)
    elif unmoved and may_resend:
        rest = ItemFate.NOT_ATTEMPTED
    elif unmoved:
        rest = ItemFate.FAILED
        fates |= dict.fromkeys(unmoved, rest)
    else:
        rest = ItemFate.ACCEPTED
    error = f"sent {unsettled.chunk.attempts} times without effect" if rest is ItemFate.FAILED else None
    held = _UNCLEAR if trusted else _UNTRIED
    apart = {item: (fate, held if fate is ItemFate.HELD else None) for item, fate in fates.items() if fate is not rest}
    return Settlement(rest, error, apart)


def _failed(settlement: Settlement, left: int) -> int:
    own = sum(fate is ItemFate.FAILED for fate, _ in settlement.apart.values())
    return own + (left if settlement.fate is ItemFate.FAILED else 0)


def _fates(kind: Change, unsettled: Unsettled, looks: Sequence[Rows]) -> dict[int, ItemFate]:
    """The fate of each item. One whose own change proves nothing takes that of its chunk, which went out as one request."""
    evidence = {item: _evidence(kind, item, mark, looks) for item, mark in unsettled.fingerprints.items()}
    shown = set(evidence.values())
    done, undone = bool(shown & _MOVED), Evidence.UNMOVED in shown
    fates = {}
    for item, known in evidence.items():
        there = all(look.get(item) is not None for look in looks)
        if known is Evidence.UNCLEAR and there and (done or undone):
            known = Evidence.APPLIED if done else Evidence.UNMOVED  # noqa: PLW2901 - what is known now
        fates[item] = _FATE_BY_EVIDENCE[known]
    return fates


def _evidence(kind: Change, item: int, mark: list[object], looks: Sequence[Rows]) -> Evidence:
    """What all looks together tell: one that saw it moved is enough; that it did not move, all must say."""
    seen = {kind.evidence(mark, look[item]) if item in look else Evidence.UNCLEAR for look in looks}
    if moved := seen & _MOVED:
        return moved.pop()
    return seen.pop() if len(seen) == 1 else Evidence.UNCLEAR


def _any_moved(kind: Change, marks: Mapping[int, list[object]], looks: Sequence[Rows]) -> bool:
    return any(_evidence(kind, item, mark, [look]) in _MOVED for item, mark in marks.items() for look in looks)


def _has_moved(kind: Change, unsettled: Unsettled, looks: Sequence[Rows]) -> bool:
    """Whether every item has moved, so that a second look can tell nothing more."""
    return all(_evidence(kind, item, mark, looks) in _MOVED for item, mark in unsettled.fingerprints.items())


_MOVED = frozenset({Evidence.APPLIED, Evidence.WORKING})
_FATE_BY_EVIDENCE = {
    Evidence.APPLIED: ItemFate.ACCEPTED,
    Evidence.WORKING: ItemFate.ACCEPTED,
    Evidence.UNMOVED: ItemFate.NOT_ATTEMPTED,
    Evidence.UNCLEAR: ItemFate.HELD,
}
