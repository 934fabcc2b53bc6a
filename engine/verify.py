"""Verifying: read back what the service accepted, until it is done with it.

A 204 proves nothing: the service skips in silence what it will not delete. Nor does absence, where another account's key
is looked with, or where the list leaves out what is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import structlog

from .errors import StoppedError
from .fates import Evidence, ItemFate
from .jobledger import JobLedger
from .kind import Page
from .readback import Rows, batched, by_id_is_cheaper, each, items_of, read_full, read_some
from .sql import HIDDEN
from .walk import walk
from .work import Work

log = structlog.get_logger("rebatch")

FIRST_PAUSE_S = 1.0
GRACE_S = 5.0  # for an accepted item to show an effect: the service flips it within the request itself
LONGEST_PAUSE_S = 30.0
UNCHANGED = "accepted by the service, but unchanged when read back"
HIDDEN_ITEM = "not to be seen with this key, which is not the one it was planned with: that is no proof"
PROBES = 5  # of what a walk did not meet, read one by one
_BATCH = 500


async def verify(work: Work, *, wait: bool = True, at_least_s: float = 0.0) -> None:
    """Confirm what can be confirmed within `limits: verify`, or `at_least_s`; the rest stays *accepted*, or has *failed* if its kind says so.

    Work that the service has begun is waited for, unless `wait` is false. What has not moved is given a few seconds and
    no more: there may have been nothing to do in it.
    """
    longest_s, began, pause_s = max(work.spec.limits.verify, at_least_s), anyio.current_time(), FIRST_PAUSE_S
    while longest_s and (await work.ledger.counts())[ItemFate.ACCEPTED]:
        look = _Look(work)
        found = await look.run()
        waited = anyio.current_time() - began
        if waited >= longest_s or not _may_move(work, found, waited, wait=wait):
            await work.ledger.settle_shown(look.number, Evidence.UNMOVED, work.change.unmoved, UNCHANGED)
            await work.ledger.settle_shown(look.number, HIDDEN, ItemFate.ACCEPTED, HIDDEN_ITEM)
            break
        if not await work.control.sleep(min(pause_s, max(0.1, longest_s - waited))):
            raise work.control.reason or StoppedError("Stopped.")
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
    await work.ledger.fold()


async def worth_another_look(ledger: JobLedger) -> bool:
    """Whether a finished job left items that the service was still at work on, or that its key could not see."""
    shown = await ledger.shown()
    return bool(shown.get(Evidence.WORKING) or shown.get(HIDDEN))


def _may_move(work: Work, found: Counter[Evidence], waited_s: float, *, wait: bool) -> bool:
    """Whether another look may show more than the last one."""
    # Without waiting, an unmoved item still gets its time where the verdict would be that it has failed.
    patient = wait or work.change.unmoved is ItemFate.FAILED
    return bool((wait and found[Evidence.WORKING]) or (patient and found[Evidence.UNMOVED] and waited_s < GRACE_S))


class _Look:
    """One look at everything that is accepted and not confirmed."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._kind = work.change
        self._gone_is_done = self._kind.evidence([], None) is Evidence.APPLIED
        self._own_key = work.ledger.job.get("key") == work.key
        self.number = int(work.wall() * 1000)  # tells this look's marks from those of earlier ones, of any process
        self._found: Counter[Evidence] = Counter()

    async def run(self) -> Counter[Evidence]:
        """Note what is confirmed and what is not; the answer is how many items showed which evidence."""
        counts = await self._work.ledger.counts()
        accepted, confirmed = counts[ItemFate.ACCEPTED], counts[ItemFate.CONFIRMED]
        self._work.progress.begin("verifying", accepted + confirmed, confirmed)
        if by_id_is_cheaper(self._work, accepted) or not await self._by_walking():
            await self._by_id()
        return self._found

    async def _by_walking(self) -> bool:
        """Walk over all in scope; False when the walk proves nothing of what it did not meet."""
        work = self._work

        async def meet(page: Page) -> None:
            rows: Rows = {row["id"]: row for row in await items_of(work, page.rows)}
            await self._note(rows, await work.ledger.accepted(rows))

        scope = self._kind.resource.lasting(work.spec.scope)
        resource, concurrency = self._kind.resource, work.spec.limits.concurrency
        walked = await walk(work.client, resource, scope, meet, concurrency, read=work.spec.reader)
        if not self._gone_is_done:
            return True
        if not self._own_key:
            await work.ledger.hide_unmet(self.number)
            return True
        if walked.unproven or await self._list_hides():
            return False
        await work.ledger.confirm_unmet(self.number)
        return True

    async def _list_hides(self) -> bool:
        """Whether the list left out what is there: a few of what was not met are asked for one by one."""
        unmet = await self._work.ledger.unmet(self.number, PROBES)
        there = [item for item, row in (await read_full(self._work, unmet)).items() if row is not None]
        if there:
            log.warning("the list left out an item that is there", item=there[0])
        return bool(there)

    async def _by_id(self) -> None:
        after = 0
        while items := await self._work.ledger.next_accepted(after, _BATCH):
            after = items[-1][0]
            await each(self._work, batched(items, self._kind.resource.at_once), self._read)

    async def _read(self, items: Sequence[tuple[int, int, list[Any]]]) -> None:
        marks = {item: mark for _seq, item, mark in items}
        await self._note(await read_some(self._work.client, self._kind.resource, list(marks)), marks)

    async def _note(self, rows: Rows, marks: Mapping[int, list[object]]) -> None:
        evidence = {item: self._kind.evidence(mark, rows[item]) for item, mark in marks.items()}
        confirmed: dict[int, float | None] = {}
        shown: dict[int, str] = {}
        for item, what in evidence.items():
            row = rows[item]
            if what is not Evidence.APPLIED:
                shown[item] = what
            elif row is not None:
                confirmed[item] = self._kind.measure(row)
            elif self._own_key:
                confirmed[item] = None
            else:
                shown[item] = HIDDEN
        if confirmed:
            await self._work.ledger.confirm(confirmed)
        if shown:
            await self._work.ledger.meet(shown, self.number)
        self._found.update(evidence.values())
        progress = self._work.progress
        progress.done = min(progress.total, progress.done + len(confirmed))  # pages overlap: some are met twice at once
