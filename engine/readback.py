"""Reading items back, by whichever way asks the service for less; and the items that rows of its list hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from .client import NOT_FOUND, Client
from .cover import Span
from .errors import ServiceError, UnreadableError
from .exchange import Reply
from .kind import Change, Page, Resource
from .tasks import crew
from .walk import walk
from .where import Row
from .work import Work

T = TypeVar("T")
Rows = dict[int, Row | None]


async def read_back(work: Work, wanted: Mapping[int, int]) -> Rows:
    """The rows of items, given with the group of each, as they are now; None for one that is gone."""
    found: Rows = {}
    if work.spec.kind.resource.at_once > 1:  # a request for so many costs less than any walk
        return await read_full(work, wanted)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for item, group in wanted.items():
        groups[group].append(item)
    for group, ids in groups.items():
        if len(ids) > _pages_of_span(work, len(ids)):
            found |= await _by_walking(work, frozenset(ids), group)
    return found | await read_full(work, [item for item in wanted if item not in found])


async def read_full(work: Work, ids: Collection[int]) -> Rows:
    """Items in full, asked for by their ids; None for one that is gone. Raises ServiceError."""
    resource = work.spec.kind.resource
    found: Rows = {}

    async def read(some: Sequence[int]) -> None:
        found.update(await read_some(work.client, resource, some))

    await each(work, batched(ids, resource.at_once), read)
    return found


async def read_what_can_be(work: Work, ids: Collection[int]) -> tuple[Rows, dict[int, str]]:
    """The same, and of those that cannot be read although the service answers, why. Raises ServiceError when it does not."""
    resource = work.spec.kind.resource
    found: Rows = {}
    unread: dict[int, str] = {}

    async def read(some: Sequence[int]) -> None:
        try:
            found.update(await read_some(work.client, resource, some))
        except UnreadableError as error:
            unread.update(dict.fromkeys(some, error.message))

    await each(work, batched(ids, resource.at_once), read)
    return found, unread


async def read_some(client: Client, resource: Resource, ids: Sequence[int]) -> Rows:
    """At most `at_once` items in full, by one request; None for one that is gone. Raises ServiceError."""
    reply = await client.read(resource.by_id(ids))
    rows = [] if _is_gone(reply, resource) else _decoded(resource, resource.read_by_id, reply)
    there: Rows = {row["id"]: row for row in rows}
    return {item: there.get(item) for item in ids}


async def items_of(work: Work, listed: Sequence[Row], fields: Collection[str] = ()) -> Sequence[Row]:
    """The items that rows of the list hold, with all that these fields need: from the list, else from where it is told."""
    resource = work.spec.kind.resource
    if resource.tells_items:
        return listed
    items: list[Row] = []
    untold: list[int] = []
    for row in listed:
        held = _taken(resource, row)
        if held is None:
            untold.append(row["id"])
        else:
            items += held

    async def ask(listed_id: int) -> None:
        reply = await work.client.read(resource.detail(listed_id))
        if not _is_gone(reply, resource):
            items.extend(_taken(resource, _decoded(resource, resource.read_detail, reply)) or ())

    if untold:
        work.details += len(untold)
        await each(work, untold, ask)
    return await _completed(work, items, fields)


async def _completed(work: Work, items: list[Row], fields: Collection[str]) -> list[Row]:
    """The same items, in full where the list told too little of them, without those that are gone meanwhile."""
    resource = work.spec.kind.resource
    lacking = {item["id"]: item for item in items if resource.lacks(item, fields)}
    if not lacking:
        return items
    full = await read_full(work, lacking)
    left = [item for item in items if full.get(item["id"], item) is not None]
    return [resource.completed(item, full.get(item["id"]) or {}) for item in left]


async def each(work: Work, things: Iterable[T], act: Callable[[T], Awaitable[None]]) -> None:
    """Act on each, as many at once as the job may."""
    queue = iter(things)

    async def worker() -> None:
        for thing in queue:
            await act(thing)

    await crew(work.spec.limits.concurrency, worker)


def batched(things: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Tuples of at most `size` of them."""
    rest = iter(things)
    while some := tuple(islice(rest, size)):
        yield some


def by_id_is_cheaper(work: Work, items: int) -> bool:
    """Whether asking for so many items by their ids is less than a walk over all that is in scope."""
    job = work.ledger.job
    pages: int = 1 + job.get("listed", job["in_scope"]) // job["page_size"] + job.get("details", 0)
    return items <= pages * work.spec.kind.resource.at_once


def _taken(resource: Resource, row: Row) -> Sequence[Row] | None:
    try:
        return resource.items(row)
    except ValueError as error:
        raise ServiceError(f"The service's answer is not one of {resource.name}: {error}.") from None


def _is_gone(reply: Reply, resource: Resource) -> bool:
    if reply.status != NOT_FOUND:
        return False
    if not resource.is_own_404(reply.body):
        raise ServiceError("Something on the way to the service answered 404 in its place.", "Check the API address.")
    return True


def _decoded(resource: Resource, read: Callable[[bytes], T], reply: Reply) -> T:
    try:
        return read(reply.body)
    except ValueError as error:
        raise UnreadableError(f"The service's answer is not one of {resource.name}: {error}.") from None


async def _by_walking(work: Work, ids: frozenset[int], group: int) -> Rows:
    """Those of `ids` that are met in the scope of the spec; what is not may have left it, or be gone."""
    found: Rows = {}

    async def keep(page: Page) -> None:
        found.update((row["id"], row) for row in page.rows if row["id"] in ids)

    kind = work.spec.kind
    scope = kind.narrow(work.spec.scope, group) if isinstance(kind, Change) else work.spec.scope
    span = Span(min(ids), max(ids), work.rows_behind.get(group, 0))
    read = work.spec.reader if isinstance(kind, Change) else None
    walked = await walk(work.client, kind.resource, scope, keep, work.spec.limits.concurrency, span=span, read=read)
    work.rows_behind[group] = walked.row
    return found


def _pages_of_span(work: Work, items: int) -> float:
    """About how many pages hold so many neighbouring items of the plan, with what it takes to find them."""
    job = work.ledger.job
    listed = job.get("listed", job["in_scope"])
    rows = items * listed / max(1, job["planned"])
    if job["completeness"] != "complete":  # nothing can be found by its id in such a list
        rows = 2 * listed
    return float(4 + 1.25 * rows / job["page_size"])
