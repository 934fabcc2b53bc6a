"""Walking a paginated list, several pages at once, until it is certain that everything was seen.

Rows stream to a sink page by page: memory does not grow with the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .client import NOT_FOUND, Client
from .cover import MIN_WIDTH, Coverage, Window, windows
from .errors import ServiceError
from .kind import CHUNK, Page, Resource
from .tasks import crew

Sink = Callable[[Page], Awaitable[None]]
MAX_ROUNDS = 40  # of asking again around gaps
MAX_PASSES = 8  # of a list that cannot be certified


@dataclass(frozen=True, slots=True)
class Walked:
    """How a walk went. `unproven` says why completeness is not certain; None when it is."""

    count: int
    width: int
    pages: int
    unproven: str | None


async def walk(
    client: Client, resource: Resource, scope: Any, sink: Sink, concurrency: int, dials: int | None = None
) -> Walked:
    """Read the whole list into `sink`; try to connect `dials` times at most for the first page.

    Raises ServiceError when a page cannot be had: a part is never taken for all.
    """
    walker = _Walker(client, resource, scope, sink, concurrency)
    await walker.probe(dials)
    unproven = await walker.certify() if walker.width >= MIN_WIDTH else "pages are too small to overlap"
    if unproven:
        await walker.repeat()
    return Walked(walker.coverage.count, walker.width, walker.pages, unproven)


class _Walker:
    def __init__(self, client: Client, resource: Resource, scope: Any, sink: Sink, concurrency: int) -> None:
        self.coverage = Coverage()
        self.width = CHUNK  # rows that the service gives at most in one page
        self.pages = 0
        self._client, self._resource, self._scope = client, resource, scope
        self._sink, self._concurrency = sink, concurrency

    async def probe(self, dials: int | None) -> None:
        """Ask for the first page, and find out how many rows a page really has: servers clamp in silence."""
        await self._fetch(Window(1, self.width), dials)

    async def certify(self) -> str | None:
        """Read until no gap is left; the answer is why that could not be reached, or None."""
        await self._fetch_all(windows(self.coverage.count, self.width, row=self.width))
        for _ in range(MAX_ROUNDS):
            if self.coverage.complete:
                return None
            if not self.coverage.ordered:
                return "ids do not descend"
            if self.width < MIN_WIDTH:
                return "pages are too small to overlap"
            await self._fetch_all(self.coverage.gaps(self.width))
        return (
            None
            if self.coverage.complete
            else "gaps stayed open: the list changes too fast, or its pages are too small"
        )

    async def repeat(self) -> None:
        """Read pass after pass until one brings nothing new."""
        seen: set[int] = set()
        sink = self._sink

        async def note(page: Page) -> None:
            seen.update(row["id"] for row in page.rows)
            await sink(page)

        self._sink = note
        for _ in range(MAX_PASSES):
            before = len(seen)
            pages = -(-self.coverage.count // self.width)
            await self._fetch_all(Window(page, self.width) for page in range(1, pages + 1))
            if before and len(seen) == before:
                break

    async def _fetch_all(self, wanted: Iterable[Window]) -> None:
        queue = iter(wanted)

        async def worker() -> None:
            for window in queue:
                if window.start > self.coverage.count:
                    return  # the list has become shorter, or its count was never true
                await self._fetch(window)

        await crew(self._concurrency, worker)

    async def _fetch(self, window: Window, dials: int | None = None) -> None:
        self.pages += 1
        asked = self.coverage.answers
        reply = await self._client.read(self._resource.page(self._scope, window.page, window.size), dials)
        if reply.status == NOT_FOUND:
            if window.page == 1 or not self._resource.is_own_404(reply.body):
                raise ServiceError("There is no such list at the service (404).", "Check the API address.")
            self.coverage.miss(window)
            return
        page = self._decode(reply.body)
        ids = [row["id"] for row in page.rows]
        if page.more and 0 < len(ids) < window.size:  # clamped: this page began where a page of this size begins
            self.width = min(self.width, len(ids))
            window = Window(window.page, len(ids))
        self.coverage.add(window, ids, page.count, more=page.more, asked=asked)
        await self._sink(page)

    def _decode(self, body: bytes) -> Page:
        try:
            return self._resource.read_page(body)
        except ValueError as error:
            raise ServiceError(f"The service's answer is not a list of {self._resource.name}: {error}.") from None
