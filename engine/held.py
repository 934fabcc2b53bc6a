"""What a person decides about held items: they may have been done, and reading back did not tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .errors import UsageError
from .fates import ItemFate
from .look import GONE, nothing_seen
from .readback import read_back
from .work import Work

Decision = Callable[[Work], Awaitable[None]]


async def release(work: Work) -> None:
    """They were done: count them as accepted, to be read back with the others. Raises UsageError when none is held."""
    await _held(work)
    await work.ledger.release_held()


async def retry(work: Work) -> None:
    """They were not done: send them again as they are now. Raises UsageError when none is held, GuardError."""
    rows = await read_back(work, await _held(work))
    there = {item: row for item, row in rows.items() if row is not None}
    own_key = work.ledger.job.get("key") == work.key
    if not there and not own_key:
        raise nothing_seen(work, len(rows))
    gone = rows.keys() - there.keys() if own_key else ()  # what another key does not see may be there
    marks = {item: work.spec.kind.resource.fingerprint(row) for item, row in there.items()}
    await work.ledger.retry_held(marks, dict.fromkeys(gone, (ItemFate.SKIPPED, GONE)))


async def _held(work: Work) -> dict[int, int]:
    held = await work.ledger.held()
    if not held:
        raise UsageError(
            f"Job {work.ledger.job['job']}: no item is held.", f"See: rebatch report {work.ledger.job['job']}"
        )
    return held
