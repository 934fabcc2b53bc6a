"""Reading items back, by whichever way asks the service for less."""

from __future__ import annotations

from collections.abc import Collection

from .client import NOT_FOUND, Client
from .cover import Span
from .errors import ServiceError
from .kind import Page, Resource
from .tasks import crew
from .walk import walk
from .where import Row
from .work import Work


async def read_back(work: Work, ids: Collection[int], group: int) -> dict[int, Row | None]:
    """The rows of `ids`, all of one group, as they are now; None for one that is gone."""
    found: dict[int, Row | None] = {}
    if len(ids) > _pages_of_span(work, len(ids)):
        found = await _by_walking(work, frozenset(ids), group)
    return found | await _each(work, [item for item in ids if item not in found])


def by_id_is_cheaper(work: Work, items: int) -> bool:
    """Whether a request for each of so many items is less than a walk over all that is in scope."""
    job = work.ledger.job
    pages: int = 1 + job["in_scope"] // job["page_size"]
    return items <= pages


async def read_one(client: Client, resource: Resource, item_id: int) -> Row | None:
    """The row of one item as it is now; None when it is gone."""
    reply = await client.read(resource.one(item_id))
    if reply.status == NOT_FOUND:
        if not resource.is_own_404(reply.body):
            raise ServiceError(
                "Something on the way to the service answered 404 in its place.", "Check the API address."
            )
        return None
    try:
        return resource.read_one(reply.body)
    except ValueError as error:
        raise ServiceError(f"The service's answer is not one of {resource.name}: {error}.") from None


async def _each(work: Work, ids: Collection[int]) -> dict[int, Row | None]:
    found: dict[int, Row | None] = {}
    queue = iter(ids)

    async def worker() -> None:
        for item_id in queue:
            found[item_id] = await read_one(work.client, work.spec.kind.resource, item_id)

    await crew(work.spec.limits.concurrency, worker)
    return found


async def _by_walking(work: Work, ids: frozenset[int], group: int) -> dict[int, Row | None]:
    """Those of `ids` that are met in the scope of the spec; what is not may have left it, or be gone."""
    found: dict[int, Row | None] = {}

    async def keep(page: Page) -> None:
        found.update((row["id"], row) for row in page.rows if row["id"] in ids)

    kind = work.spec.kind
    scope = kind.narrow(work.spec.scope, group)
    span = Span(min(ids), max(ids), work.rows_behind.get(group, 0))
    walked = await walk(work.client, kind.resource, scope, keep, work.spec.limits.concurrency, span=span)
    work.rows_behind[group] = walked.row
    return found


def _pages_of_span(work: Work, items: int) -> float:
    """About how many pages hold so many neighbouring items of the plan, with what it takes to find them."""
    job = work.ledger.job
    rows = items * job["in_scope"] / max(1, job["planned"])
    if job["completeness"] != "complete":  # nothing can be found by its id in such a list
        rows = 2 * job["in_scope"]
    return float(4 + 1.25 * rows / job["page_size"])
