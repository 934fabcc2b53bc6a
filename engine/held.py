"""What a person decides about held items: they may have been done, and reading back did not tell."""

from __future__ import annotations

from collections import defaultdict

from .errors import UsageError
from .fates import ItemFate
from .ledger import Apart
from .look import GONE
from .readback import read_back
from .work import Work


async def release(work: Work) -> None:
    """They were done: count them as accepted, and read them back with the others. Raises UsageError when none is held."""
    await _held(work)
    await work.ledger.release_held()
    await work.ledger.note(state="verifying")


async def retry(work: Work) -> None:
    """They were not done: send them again as they are now. Raises UsageError when none is held."""
    by_group: defaultdict[int, list[int]] = defaultdict(list)
    for item, group in (await _held(work)).items():
        by_group[group].append(item)
    apart: Apart = {}
    marks = {}
    for group, items in by_group.items():
        for item, row in (await read_back(work, items, group)).items():
            if row is None:
                apart[item] = (ItemFate.SKIPPED, GONE)
            else:
                marks[item] = work.spec.kind.resource.fingerprint(row)
    await work.ledger.retry_held(marks, apart)
    await work.ledger.note(state="working")


async def _held(work: Work) -> dict[int, int]:
    held = await work.ledger.held()
    if not held:
        raise UsageError(
            f"Job {work.ledger.job['job']}: no item is held.", f"See: rebatch report {work.ledger.job['job']}"
        )
    return held
