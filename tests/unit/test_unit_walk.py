"""The walk itself: a real client, a real server on loopback, a list that moves, and no time passing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

import pytest
from aiohttp import web
from hypothesis import given, settings

from engine.client import Client
from engine.control import Control
from engine.cover import Span
from engine.errors import CredentialsError, ServiceError, StoppedError
from engine.kind import Page
from engine.pace import Pacer
from engine.transport import connect
from engine.walk import Walked, walk
from jobs.results import Results, Scope
from tests.torture.walk_storms import Storm, check, fly, storms
from tests.virtual_time import run

T = TypeVar("T")


@dataclass
class List:
    """Results behind DRF's paginator, stirred at every request."""

    ids: list[int]
    largest: int = 100
    changes: float = 0.0  # a request, on average
    races: bool = False  # whether a change may come between COUNT and SELECT
    dice: Random = field(default_factory=lambda: Random(7))
    faults: list[Any] = field(default_factory=list)  # what the next requests are answered instead
    requests: int = 0

    def __post_init__(self) -> None:
        self.always, self.ever = set(self.ids), set(self.ids)
        self.top = max(self.ids, default=0)

    def stir(self) -> None:
        """Perhaps one change."""
        if self.dice.random() < self.changes:
            if self.dice.random() < 0.5:
                self.top += 2
                self.ids.insert(0, self.top)
                self.ever.add(self.top)
            elif self.ids:
                self.always.discard(self.ids.pop(self.dice.randrange(len(self.ids))))

    async def answer(self, request: web.Request) -> web.Response:
        """One page."""
        self.requests += 1
        if self.faults and (fault := self.faults.pop(0)) is not None:
            return web.Response(**fault)
        self.stir()
        count = len(self.ids)
        size = min(int(request.query["page_size"]), self.largest)
        page = int(request.query["page"])
        pages = max(1, -(-count // size))
        if page > pages:
            return web.json_response({"detail": "Invalid page."}, status=404)
        if self.races and page < pages:
            self.stir()
        rows = [{"id": each} for each in self.ids[(page - 1) * size : min(page * size, count)]]
        more = f"http://evil.example/?page={page + 1}" if page < pages else None
        return web.json_response({"count": count, "next": more, "previous": None, "results": rows})


@asynccontextmanager
async def client_of(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], attempts: int = 8
) -> AsyncIterator[Client]:
    """A client of a server with this handler."""
    app = web.Application()
    app.router.add_get("/test_framework/v1/results/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin = "http://{}:{}".format(*runner.addresses[0])
    try:
        async with connect(origin, {"X-CEKURA-API-KEY": "k"}, connections=16, timeout_s=30) as transport:
            yield Client(transport, Pacer(1000), Control(), attempts=attempts, dice=Random(1))
    finally:
        await runner.cleanup()


def walked(listing: List, concurrency: int = 8, span: Span | None = None) -> tuple[Walked, list[int]]:
    """Walk over a list, or a span; the answer is how it went and the ids that came, in the order in which they came."""
    ids: list[int] = []

    async def sink(page: Page) -> None:
        ids.extend(row["id"] for row in page.rows)

    async def main() -> Walked:
        async with client_of(listing.answer) as client:
            return await walk(client, Results(), Scope(), sink, concurrency, span=span)

    return run(main), ids


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250, 2050])
@pytest.mark.parametrize("largest", [100, 37, 13])
def test_a_quiet_list_is_read_completely(size: int, largest: int) -> None:
    """Whatever the server's page size, which is found out."""
    listing = List(list(range(size, 0, -1)), largest)
    how, ids = walked(listing)
    assert how.unproven is None
    assert set(ids) == listing.ever
    assert how.count == size
    assert how.pages == listing.requests
    if size > largest:
        assert how.width == largest


@pytest.mark.parametrize("pages", [20, 40])
@pytest.mark.parametrize("concurrency", [1, 8, 16])
def test_a_quiet_list_costs_little_more_than_its_pages(pages: int, concurrency: int) -> None:
    """At most a quarter more requests than pages, and three, at any concurrency."""
    listing = List(list(range(pages * 100, 0, -1)))
    walked(listing, concurrency)
    assert listing.requests <= 1.25 * pages + 3


@pytest.mark.parametrize("seed", range(12))
def test_a_moving_list_loses_nothing_that_stayed(seed: int) -> None:
    """While others insert and delete at every other request, a proof is a proof."""
    dice = Random(seed)
    size, largest = dice.randrange(100, 900), dice.choice([100, 50, 23])
    listing = List(list(range(2 * size, 0, -2)), largest, changes=dice.random(), races=True, dice=dice)
    how, ids = walked(listing, dice.choice([1, 4, 8]))
    assert set(ids) <= listing.ever
    if how.unproven is None:
        assert listing.always <= set(ids)


@pytest.mark.parametrize("seed", range(3))
def test_a_list_that_moves_a_little_is_still_proven(seed: int) -> None:
    """A change at every tenth request is daily life, and no reason for doubt."""
    listing = List(list(range(4000, 0, -2)), changes=0.1, dice=Random(seed))
    how, ids = walked(listing)
    assert how.unproven is None
    assert listing.always <= set(ids)


def test_a_list_out_of_order_is_read_until_nothing_is_new_and_called_unproven() -> None:
    """The ids do not descend, so pages certify nothing; the walk ends all the same."""
    ids = list(range(1, 501))
    Random(3).shuffle(ids)
    listing = List(ids)
    how, seen = walked(listing)
    assert how.unproven == "ids do not descend"
    assert set(seen) == set(ids)
    assert listing.requests < 60


@pytest.mark.parametrize("largest", [1, 5, 10])
def test_pages_too_small_to_overlap_are_called_unproven(largest: int) -> None:
    """The walk ends, has seen everything, and does not pretend."""
    listing = List(list(range(60, 0, -1)), largest)
    how, seen = walked(listing)
    assert how.unproven == "pages are too small to overlap"
    assert set(seen) == listing.ever


def test_a_list_that_never_stands_still_comes_to_an_end() -> None:
    """Many changes at every request: the walk gives up its proof, not its temper."""

    class Storm(List):
        def stir(self) -> None:
            for _ in range(30):
                super().stir()

    listing = Storm(list(range(1500, 0, -2)), 20, changes=1.0, races=True)
    how, ids = walked(listing)
    assert set(ids) <= listing.ever
    assert how.unproven or listing.always <= set(ids)
    assert listing.requests < 3000


def test_duplicate_rows_are_read_completely() -> None:
    """The `scenarios` filter gives a result several times."""
    listing = List(sorted([*range(1, 301), *range(1, 301, 3), *range(1, 301, 3)], reverse=True))
    how, ids = walked(listing)
    assert how.unproven is None
    assert set(ids) == set(range(1, 301))


def test_a_list_that_shrinks_under_the_walk_is_aimed_at_again() -> None:
    """Pages that are not there any more (“Invalid page.”) are no error."""

    class Shrinking(List):
        def stir(self) -> None:
            if self.requests in {3, 5}:
                gone = self.ids[len(self.ids) // 3 :]
                del self.ids[len(self.ids) // 3 :]
                self.always -= set(gone)

    listing = Shrinking(list(range(2000, 0, -1)))
    how, ids = walked(listing)
    assert how.unproven is None
    assert listing.always <= set(ids)


ERROR, SLOW = {"status": 503}, {"status": 429, "headers": {"Retry-After": "30"}}


def test_a_failed_page_is_asked_for_again() -> None:
    """Errors, throttling and broken answers in between do not show in the result."""
    listing = List(list(range(1000, 0, -1)), faults=[None, ERROR, SLOW, None, ERROR, {"status": 500, "text": "<html>"}])
    how, ids = walked(listing)
    assert how.unproven is None
    assert set(ids) == listing.ever


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 401}, CredentialsError),
        ({"status": 403}, CredentialsError),
        ({"status": 302, "headers": {"Location": "/"}}, ServiceError),
        ({"status": 404}, ServiceError),
        ({"status": 400, "text": '{"agent_id": ["No."]}'}, ServiceError),
        ({"status": 200, "text": "<html>Welcome</html>"}, ServiceError),
        ({"status": 200, "text": "{}"}, ServiceError),
        ({"status": 200, "text": json.dumps({"count": 1, "results": [{"name": "no id"}]})}, ServiceError),
    ],
)
def test_a_page_that_cannot_be_had_fails_the_walk(fault: dict[str, Any], error: type[Exception]) -> None:
    """A part is never taken for all."""
    with pytest.raises(error):
        walked(List(list(range(1000, 0, -1)), faults=[fault]))


def test_a_page_that_keeps_failing_later_fails_the_walk() -> None:
    """Not only the first."""
    with pytest.raises(ServiceError):
        walked(List(list(range(1000, 0, -1)), faults=[None, *[ERROR] * 200]))


def test_draining_ends_a_walk() -> None:
    """Nothing more is asked for."""
    listing = List(list(range(5000, 0, -1)))

    async def main() -> None:
        async with client_of(listing.answer) as client:

            async def sink(_page: Page) -> None:
                if listing.requests >= 10:
                    client.control.drain()

            await walk(client, Results(), Scope(), sink, 4)

    with pytest.raises(StoppedError):
        run(main)
    assert listing.requests <= 20


@settings(max_examples=300)
@given(storm=storms(spans=False))
def test_a_walk_that_says_complete_has_seen_whatever_was_there_throughout(storm: Storm) -> None:
    """Whatever comes and goes between any two queries. `make torture` flies through many more of these storms."""
    check(storm, Counter())


@settings(max_examples=300)
@given(storm=storms(spans=True))
def test_a_span_that_is_complete_has_been_seen_whatever_moved_it(storm: Storm) -> None:
    """The same for the ids of a span, also while a hundred rows at once are deleted above it."""
    check(storm, Counter())


@pytest.mark.parametrize("inserts", [0.0, 0.5, 1.0])
def test_a_list_that_drifts_by_half_a_row_a_request_costs_a_quarter_more_at_most(inserts: float) -> None:
    """Against one plain pass over its pages, requests overtaking each other as they do."""
    requests = [
        fly(Storm(seed, 40_000, churn=0.25, inserts=inserts, overtaking=2, calm_after=10**9)).service.requests
        for seed in range(3)
    ]
    assert sorted(requests)[1] <= 1.25 * 400


def test_a_list_whose_head_never_stands_still_is_not_called_complete() -> None:
    """Rows keep coming while its end is looked at."""
    flown = fly(Storm(1, 300, churn=1.0, inserts=1.0, calm_after=10**9))
    assert flown.walked is not None
    assert flown.walked.unproven == "new rows kept coming while its end was looked at"


@pytest.mark.parametrize("off", [0, -40, 700, -3000, 20_000])
@pytest.mark.parametrize("stride", [1, 50])
def test_a_span_costs_its_pages_wherever_it_has_gone(off: int, stride: int) -> None:
    """The guess may be thousands of rows off."""
    flown = fly(Storm(5, 20_000, stride=stride, span=(0.5, 0.66, off)))
    assert flown.walked is not None
    assert flown.walked.unproven is None
    assert flown.walked.row == 13_200
    assert flown.service.requests <= 1.2 * 32 + 8


def test_a_span_is_followed_while_we_delete_above_it() -> None:
    """At every fourth request a chunk of a hundred rows is gone, and all below it moves up."""
    flown = fly(Storm(5, 20_000, churn=0.1, inserts=0.0, burst=100, calm_after=10**9, span=(0.5, 0.66, 0)))
    assert flown.walked is not None
    assert flown.walked.unproven is None
    assert flown.service.requests <= 3 * 32


@pytest.mark.parametrize(
    ("span", "row"),
    [(Span(3001, 4000, 0), 0), (Span(1001, 1001, 990), 1000), (Span(-500, 0, 1990), 2000), (Span(1, 5, 0), 2000)],
)
def test_a_span_that_is_small_or_gone_takes_a_few_requests(span: Span, row: int) -> None:
    """Above the list, one row, below the list, its end."""
    listing = List(list(range(2000, 0, -1)))
    how, ids = walked(listing, span=span)
    assert how.unproven is None
    assert how.row == row
    assert listing.ever & set(range(int(span.low), int(span.high) + 1)) <= set(ids)
    assert listing.requests <= 8


def test_a_span_of_an_empty_list_takes_one_request() -> None:
    """There is nothing to look for."""
    listing = List([])
    how, _ = walked(listing, span=Span(1, 100, 5000))
    assert (how.unproven, how.row, listing.requests) == (None, 0, 1)


def test_a_span_of_a_list_out_of_order_is_read_with_all_the_rest() -> None:
    """It cannot be found, so everything is read, and nothing is claimed."""
    listing = List(list(range(1, 501)))
    how, ids = walked(listing, span=Span(100, 200, 150))
    assert how.unproven == "ids do not descend"
    assert set(ids) == listing.ever


def test_the_certificate_says_how_the_walk_went() -> None:
    """Values that JSON can hold, for the checkpoint and for a person."""
    listing = List(list(range(2000, 0, -1)), 50)
    how, _ = walked(listing)
    assert json.loads(json.dumps(how.certificate)) == {
        "intervals": listing.requests,
        "pages": listing.requests,
        "again": 3,
        "asked_width": 100,
        "width": 50,
        "clamped": True,
        "count_before": 2000,
        "count_after": 2000,
        "passes": 1,
    }


def test_a_first_page_cut_short_by_a_deletion_is_not_taken_for_a_small_page_size() -> None:
    """COUNT said 150, and then only five rows were left: the service clamps nothing."""

    class Cut(List):
        async def answer(self, request: web.Request) -> web.Response:
            first, self.requests = self.requests == 0, self.requests + 1
            if not first:
                return await super().answer(request)
            del self.ids[5:]
            self.always = set(self.ids)
            rows = [{"id": each} for each in self.ids]
            return web.json_response({"count": 150, "next": "x", "previous": None, "results": rows})

    how, ids = walked(Cut(list(range(150, 0, -1))))
    assert how.unproven is None
    assert how.width == 100
    assert set(ids) == set(range(150, 145, -1))
