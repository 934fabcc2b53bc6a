"""Seeing everything in scope, and telling of each item whether it is selected: by a walk, or by asking for each that is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from .client import NOT_FOUND
from .errors import ServiceError
from .keep import Keeping
from .kind import Kind, NamedScope, Page
from .ledger import CHUNK, Seen
from .manifest import read_manifest
from .readback import items_of, read_full
from .retry import FIRST_CONTACT_DIALS
from .walk import Walked, walk
from .where import Predicate, Row
from .work import Work

_BATCH = 500  # named items that are asked for before they are written down
_OVERLAP = 1.2  # of the pages of a list, that a walk reads


@dataclass(frozen=True, slots=True)
class Selected:
    """How it went: `kept` items would have been selected but for `keep`, `missing` are named and were not found.

    `by_id` is how many ids were asked for one by one; 0 where the list was walked.
    """

    walked: Walked
    kept: int
    missing: int
    by_id: int


async def see_all(work: Work) -> Selected:
    """Keep in the checkpoint what each item in scope is to the plan. Raises UsageError for a manifest with mistakes."""
    spec, ledger = work.spec, work.ledger
    await ledger.begin_walk()
    work.progress.begin("planning")
    named = await _name(work)
    seer = _Seer(work)
    listed = await _count_if_by_id(work, named) if named is not None else None
    by_id = listed is not None
    walked = await seer.walk() if listed is None else await seer.ask(named or 0, listed)
    missing = await ledger.restrict() if named is not None else 0
    kept = await ledger.keep(spec.keep.last, each=spec.keep.per is not None) if spec.keep else 0
    return Selected(walked, kept, missing, named or 0 if by_id else 0)


async def _name(work: Work) -> int | None:
    """Write down which items the scope names, once; how many they are, or None when it names none."""
    scope, ledger = work.spec.scope, work.ledger
    if not isinstance(scope, NamedScope) or (scope.ids is None and scope.ids_from is None):
        return None
    if ledger.job.get("named") is None:  # standard input can be read but once
        named = await ledger.want(
            scope.ids or read_manifest(_source(work, scope.ids_from or ""), sys.stdin.buffer if sys.stdin else None)
        )
        await ledger.note(named=named)
    return int(ledger.job["named"])


def _source(work: Work, path: str) -> str:
    """Paths in a spec are seen from where the job was begun."""
    return path if path == "-" else str(Path(work.ledger.job.get("folder", "")) / path)


async def _count_if_by_id(work: Work, named: int) -> int | None:
    """How many rows the list has, if asking for each item that is named is less than walking over them; else None.

    Never where filters apply, which a detail does not know.
    """
    resource, scope = work.spec.kind.resource, work.spec.scope
    if resource.at_once > 1 or scope.filters:  # items that lie in others do not tell in which
        return None
    reply = await work.client.read(resource.page(scope, 1, 1), FIRST_CONTACT_DIALS)
    if reply.status == NOT_FOUND:
        raise ServiceError("There is no such list at the service (404).", "Check the API address.")
    try:
        count = resource.read_page(reply.body).count
    except ValueError as error:
        raise ServiceError(f"The service's answer is not a list of {resource.name}: {error}.") from None
    return count if named <= _OVERLAP * count / CHUNK else None


class _Seer:
    def __init__(self, work: Work) -> None:
        self._work = work
        spec, now = work.spec, datetime.fromisoformat(work.ledger.job["now"])
        self._seen = _telling(spec.kind, spec.action, spec.where(now), spec.keeping(now))

    async def walk(self) -> Walked:
        """See all by walking the list."""
        work, spec = self._work, self._work.spec
        resource, fields = spec.kind.resource, spec.fields

        async def keep(page: Page) -> None:
            work.progress.total = page.count
            work.progress.done = min(page.count, work.progress.done + len(page.rows))
            await self._see(await items_of(work, page.rows, fields))

        concurrency, read = spec.limits.concurrency, spec.reader
        return await walk(work.client, resource, spec.scope, keep, concurrency, FIRST_CONTACT_DIALS, read=read)

    async def ask(self, named: int, listed: int) -> Walked:
        """See all by asking for each that is named."""
        work, after = self._work, 0
        work.progress.total = named
        while ids := await work.ledger.wanted(after, _BATCH):
            after = ids[-1]
            rows = await read_full(work, ids)
            await self._see([row for row in rows.values() if row is not None])
            work.progress.done += len(ids)
        return Walked(listed, CHUNK, named, None, 0, {})

    async def _see(self, rows: Iterable[Row]) -> None:
        await self._work.ledger.see(list(map(self._seen, rows)))


def _telling(kind: Kind, action: Any, selects: Predicate, keeping: Keeping | None) -> Callable[[Row], Seen]:
    """What tells of a row what the plan needs; it is called for each of millions."""
    group, cost, measure = kind.group, kind.cost, kind.measure
    parent, fingerprint = kind.resource.parent, kind.resource.fingerprint
    not_kept, new, dumps = (False, None, None), tuple.__new__, orjson.dumps

    def seen(row: Row) -> Seen:
        kept = keeping.of(row) if keeping else not_kept
        if not selects(row):
            return new(Seen, (row["id"], group(row), None, 0.0, None, parent(row), *kept))
        mark = dumps(fingerprint(row)).decode()
        return new(Seen, (row["id"], group(row), mark, cost(action, row), measure(row), parent(row), *kept))

    return seen
