"""The first items go alone: whether they came through, so that the rest may follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from .errors import GuardError
from .fates import ItemFate
from .verify import verify
from .work import Work

LOOK_S = 60.0  # at least, whatever `limits: verify` says: a canary that nobody looks at is none
_COME_THROUGH = frozenset({ItemFate.CONFIRMED, ItemFate.ACCEPTED, ItemFate.SKIPPED})


def still_to_go(work: Work) -> int:
    """How many items have to go alone; zero when there is no such guard, or they have come through."""
    job = work.ledger.job
    return 0 if job.get("canary_passed") else int(job.get("canary") or 0)


async def see_through(work: Work, number: int) -> None:
    """Read back the first items, which were sent. Raises GuardError when they did not come through."""
    ledger = work.ledger
    await verify(work, at_least_s=LOOK_S)
    fates = Counter(item["fate"] for item in await ledger.items(0, number))
    if tripped := fault(fates):
        await ledger.note(refused_because=tripped)
        job = ledger.job["job"]
        decide = f" Decide about what is held: rebatch resume {job} --retry-held, or --release-held." * bool(
            fates[ItemFate.HELD]
        )
        look = f"Nothing else was sent. Look at them: rebatch report {job} --items."
        raise GuardError(tripped, f"{look}{decide} To do the others all the same, plan again without them.")
    await ledger.note(canary_passed=True, refused_because=None)


def fault(fates: Mapping[str, int]) -> str | None:
    """What is wrong with the first items, by their fates after they were read back, as a sentence; None if nothing is."""
    bad = {fate: items for fate, items in fates.items() if items and fate not in _COME_THROUGH}
    if bad:
        told = ", ".join(f"{items:,} {fate.replace('_', ' ')}" for fate, items in sorted(bad.items()))
        return f"Of the {sum(fates.values()):,} items of `guards: canary`, {told}."
    if not fates.get(ItemFate.CONFIRMED):
        return f"None of the {sum(fates.values()):,} items of `guards: canary` has been seen to be done."
    return None
