"""Walking a paginated list, several pages at once, until it is certain that everything was seen.

Rows stream to a sink page by page: memory does not grow with the list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .client import NOT_FOUND, Client
from .cover import EVERYTHING, Coverage, Span
from .errors import ServiceError
from .kind import Page, Resource
from .ledger import CHUNK
from .tasks import crew
from .windows import MIN_WIDTH, Window

Sink = Callable[[Page], Awaitable[None]]
MAX_ROUNDS = 60  # of asking again around gaps
MAX_LOOKS = 200  # at the end and the head, in vain: to read all again and again would cost more
MAX_PASSES = 8  # of a list that cannot be certified
TOO_SMALL = "pages are too small to overlap"


@dataclass(frozen=True, slots=True)
class Walked:
    """How a walk went. `unproven` says why completeness is not certain; None when it is.

    `row` is the row, from 0, behind the last of the span, where a next span would begin; of a whole list, its count.
    `certificate` is the same for a person and for the checkpoint, as values that JSON can hold.
    """

    count: int
    width: int
    pages: int
    unproven: str | None
    row: int
    certificate: dict[str, int | bool]


async def walk(
    client: Client,
    resource: Resource,
    scope: Any,
    sink: Sink,
    concurrency: int,
    dials: int | None = None,
    *,
    span: Span | None = None,
    read: Callable[[bytes], Page] | None = None,
) -> Walked:
    """Read the whole list into `sink`, or what it has of a span of ids; other rows may come with it.

    `read` decodes pages where not all that the list tells of a row is needed.

    Try to connect `dials` times at most for the first page. Where a span cannot be certified the whole list is read, as
    often as a list that cannot be certified is.
    Raises ServiceError when a page cannot be had: a part is never taken for all.
    """
    walker = _Walker(client, resource, scope, sink, concurrency, span or EVERYTHING, read or resource.read_page)
    await walker.probe(dials)
    unproven = await walker.certify()
    if unproven:
        await walker.repeat()
    return walker.walked(unproven)


class _Walker:
    def __init__(
        self,
        client: Client,
        resource: Resource,
        scope: Any,
        sink: Sink,
        concurrency: int,
        span: Span,
        read: Callable[[bytes], Page],
    ) -> None:
        self.coverage = Coverage(span)
        self.width = CHUNK  # rows that the service gives at most in one page
        self.pages = 0
        self._passes = 1
        self._count_before = 0
        self._short: set[int] = set()  # rows that pages had which were not the last, and yet not full
        self._client, self._resource, self._scope = client, resource, scope
        self._sink, self._concurrency, self._read = sink, concurrency, read

    def walked(self, unproven: str | None) -> Walked:
        """How it went."""
        coverage = self.coverage
        certificate = {
            "intervals": coverage.merged,
            "pages": self.pages,
            "again": coverage.again,
            "asked_width": CHUNK,
            "width": self.width,
            "clamped": self.width < CHUNK,
            "count_before": self._count_before,
            "count_after": coverage.count,
            "passes": self._passes,
        }
        return Walked(coverage.count, self.width, self.pages, unproven, coverage.row, certificate)

    async def probe(self, dials: int | None) -> None:
        """Ask for the first page, and find out how many rows a page really has: servers clamp in silence."""
        await self._fetch(Window(1, self.width), dials)
        self._count_before = self.coverage.count
        if self._short and self.width == CHUNK:
            await self._fetch(Window(1, self.width))

    async def certify(self) -> str | None:
        """Read until no gap is left; the answer is why that could not be reached, or None."""
        rounds = looks = 0
        while not self.coverage.complete and rounds < MAX_ROUNDS and looks < MAX_LOOKS:
            if not self.coverage.ordered:
                return "ids do not descend"
            if self.width < MIN_WIDTH:
                return TOO_SMALL
            looks, rounds = (looks + 1, rounds) if self.coverage.lacks_the_end else (looks, rounds + 1)
            await self._fetch_all(self.coverage.wanted(self.width))
        return None if self.coverage.complete else self.coverage.doubt

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
            self._passes += 1
            pages = -(-self.coverage.count // self.width)
            await self._fetch_all(Window(page, self.width) for page in range(1, pages + 1))
            if before and len(seen) == before:
                break

    async def _fetch_all(self, wanted: Iterable[Window]) -> None:
        queue = iter(wanted)

        async def worker() -> None:
            for window in queue:
                if window.page == 1 or window.start < self.coverage.count:  # else the list has become shorter
                    await self._fetch(window)

        await crew(self._concurrency, worker)

    async def _fetch(self, window: Window, dials: int | None = None) -> None:
        self.pages += 1
        asked = self.coverage.answers
        page = await self._ask(window, dials)
        if page is None:
            self.coverage.miss(window)
            return
        ids = [row["id"] for row in page.rows]
        if page.more and 0 < len(ids) < window.size and self._is_clamped(len(ids)):
            self.width = min(self.width, len(ids))
            window = Window(window.page, len(ids))  # it began where a page of this size begins
        self.coverage.add(window, ids, page.count, more=page.more, asked=asked)
        await self._sink(page)

    async def _ask(self, window: Window, dials: int | None) -> Page | None:
        """The page, or None when the list ends before it. The answer's body is not kept until the page is stored."""
        reply = await self._client.read(self._resource.page(self._scope, window.page, window.size), dials)
        if reply.status != NOT_FOUND:
            return self._decode(reply.body)
        if window.page == 1 or not self._resource.is_own_404(reply.body):
            raise ServiceError("There is no such list at the service (404).", "Check the API address.")
        return None

    def _is_clamped(self, rows: int) -> bool:
        """Whether the service gives no more rows in a page; else the list became shorter between COUNT and SELECT."""
        likely = self.coverage.answers == 0 and rows >= MIN_WIDTH
        believed = likely or rows in self._short
        self._short.add(rows)
        return believed

    def _decode(self, body: bytes) -> Page:
        try:
            return self._read(body)
        except ValueError as error:
            raise ServiceError(f"The service's answer is not a list of {self._resource.name}: {error}.") from None
