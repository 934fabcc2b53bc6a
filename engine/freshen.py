"""Before the first write of a process: see that it is the account that was planned for, and how its items look now.

A fingerprint is evidence only if it was taken shortly before the attempt. Between a plan and its execution may lie a
day, another job, a colleague: what moved then must not be taken for our own doing.
"""

from __future__ import annotations

import anyio
import structlog

from .errors import GuardError
from .kind import Page
from .readback import read_one
from .walk import walk
from .work import Work

log = structlog.get_logger("rebatch")

FRESH_S = 30.0  # a plan made so recently, by this very process, needs no second look
PROBES = 5


async def freshen(work: Work) -> None:
    """Take the fingerprints of what is still to be sent anew; for kinds that may be repeated, only see that it is there.

    Raises GuardError when nothing of the plan can be seen: another account, or everything is gone.
    """
    probes = await work.ledger.untouched(PROBES)
    if not probes or anyio.current_time() < work.planned_at + FRESH_S:
        return
    resource = work.spec.kind.resource
    seen = [await read_one(work.client, resource, item_id) is not None for item_id in probes]
    if not any(seen):
        raise GuardError(
            f"Of the items of the plan, none of {len(probes)} looked at is there. Nothing was changed.",
            "Is this the key of the account that was planned for? If the items are gone, plan again.",
        )
    if all(seen):
        await work.ledger.note(key=work.key)  # another key than before, maybe, but one that sees what was planned
    if not work.spec.kind.repeatable:
        await _take_fingerprints(work)


async def _take_fingerprints(work: Work) -> None:
    resource, moved, look = work.spec.kind.resource, 0, int(work.wall() * 1000)

    async def compare(page: Page) -> None:
        nonlocal moved
        moved += await work.ledger.refresh({row["id"]: resource.fingerprint(row) for row in page.rows}, look)
        work.progress.done = min(page.count, work.progress.done + len(page.rows))
        work.progress.total = page.count

    work.progress.begin("looking")
    scope = resource.lasting(work.spec.scope)
    walked = await walk(work.client, resource, scope, compare, work.spec.limits.concurrency)
    if not walked.unproven:
        await work.ledger.skip_unmet(look, "gone since it was planned")  # one of them would spoil its whole request
    log.info("fingerprints taken anew", moved=moved)
