"""Storms over a list while it is walked: the real walk and client over a simulated service, in virtual time.

The service answers as Django REST Framework does: COUNT and SELECT are two moments, the slice is cut at the count, a page
past the end is a 404, a page size that is too large is clamped in silence. Between any two queries rows come and go. A
storm is a few numbers; the same numbers give the same storm.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from math import inf
from random import Random

import orjson
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from engine.client import Client
from engine.cover import Span
from engine.errors import ServiceError
from engine.exchange import Reply, Request
from engine.kind import Page
from engine.pace import Pacer
from engine.transport import Leave, Transport
from engine.walk import Walked, walk
from jobs.results import Results, Scope
from tests.virtual_time import run

QUERY_S = 0.001
SHUFFLED = 40  # rows from which on a shuffled list does not descend by chance


@dataclass(frozen=True)
class Storm:
    """What happens while a list is walked. Shares and chances are from 0 to 1."""

    seed: int
    size: int  # rows at the start
    largest: int = 100  # rows in a page at most
    in_flight: int = 8
    overtaking: int = 99  # how many of the requests in flight compete for each query; 1: first come, first served
    churn: float = 0.0  # the chance of a change before each query
    inserts: float = 0.5  # the share of changes that are insertions; the others are deletions
    races: float = 0.0  # the chance of an insertion between COUNT and SELECT of a last page
    burst: int = 1  # rows that one deletion takes at most, neighbours
    fickle: float = 0.0  # the chance that an insertion is undone before the next query
    middle: float = 0.0  # the share of insertions that are not at the head
    stride: int = 3  # how far neighbouring ids are apart, at most
    copies: float = 0.0  # the share of rows that are there twice
    disorder: float = 0.0  # the share of rows that are not where their id belongs
    faults: float = 0.0  # the chance that an answer is an error, or lost
    calm_after: int = 500  # changes, after which there are no more
    span: tuple[float, float, int] | None = (
        None  # its ends as shares of the list, and how far off the guess is, in rows
    )


@dataclass
class _Flight:
    """A page on its way: asked for, then counted, then read."""

    page: int
    size: int
    answer: asyncio.Future[Reply]
    counted: int | None = None


class Service(Transport):
    """A list of rows behind DRF's paginator, stirred by a storm."""

    def __init__(self, storm: Storm) -> None:
        """The list as it is before the storm."""
        self.storm, self.dice = storm, Random(storm.seed)
        self.rows = self._settle()
        self.always, self.ever = set(self.rows), set(self.rows)
        self.at_start = list(self.rows)
        self.top = max(self.rows, default=0)
        self.requests = self.changes = 0
        self.edge = inf  # a storm over a span deletes in bursts above this id only
        self._flying: list[_Flight] = []
        self._fickle: int | None = None

    async def send(self, request: Request, leave: Leave | None = None) -> Reply:
        """Take the request up; `_turn` moves it on by a query at a time."""
        assert request.query is not None
        assert leave is not None
        await leave()
        self.requests += 1
        loop = asyncio.get_running_loop()
        size = min(int(request.query["page_size"]), self.storm.largest)
        flight = _Flight(int(request.query["page"]), size, loop.create_future())
        if not self._flying:
            loop.call_later(QUERY_S, self._turn)
        self._flying.append(flight)
        return await flight.answer

    def _settle(self) -> list[int]:
        storm, dice = self.storm, self.dice
        rows, each = [], 0
        for _ in range(storm.size):
            each += dice.randrange(1, storm.stride + 1)
            rows += [each] * (1 + (dice.random() < storm.copies))
        rows.reverse()
        for _ in range(int(storm.disorder * len(rows))):
            rows.insert(dice.randrange(len(rows)), rows.pop(dice.randrange(len(rows))))
        return rows

    def _turn(self) -> None:
        """Before each query the list may change; then one query of one request is done."""
        self._stir()
        flight = self.dice.choice(self._flying[: self.storm.overtaking])
        if flight.counted is None:
            self._count(flight)
        else:
            self._select(flight)
        if self._flying:
            asyncio.get_running_loop().call_later(QUERY_S, self._turn)

    def _count(self, flight: _Flight) -> None:
        if self.dice.random() < self.storm.faults:
            lost = Reply(failure="connection lost", sent=True)
            self._answer(flight, self.dice.choice([Reply(503), Reply(500, body=b"<html>"), lost]))
            return
        flight.counted = len(self.rows)
        pages = max(1, -(-flight.counted // flight.size))
        if flight.page > pages:
            self._answer(flight, Reply(404, body=b'{"detail": "Invalid page."}'))
        elif flight.page == pages and self.dice.random() < self.storm.races:
            self._insert()

    def _select(self, flight: _Flight) -> None:
        assert flight.counted is not None
        start, end = (flight.page - 1) * flight.size, flight.page * flight.size
        rows = [{"id": each} for each in self.rows[start : min(end, flight.counted)]]
        more = "next" if end < flight.counted else None
        body = orjson.dumps({"count": flight.counted, "next": more, "previous": None, "results": rows})
        self._answer(flight, Reply(200, body=body))

    def _answer(self, flight: _Flight, reply: Reply) -> None:
        self._flying.remove(flight)
        flight.answer.set_result(reply)

    def _stir(self) -> None:
        storm, dice = self.storm, self.dice
        if self._fickle is not None and self._fickle in self.rows:
            self.rows.remove(self._fickle)
        self._fickle = None
        if self.changes >= storm.calm_after or dice.random() >= storm.churn:
            return
        self.changes += 1
        if dice.random() < storm.inserts:
            self._insert()
        else:
            self._delete()

    def _insert(self) -> None:
        storm, dice = self.storm, self.dice
        if dice.random() < storm.middle and self.rows and self.top > 1:
            new = dice.randrange(1, self.top)
            if new in self.ever:
                return
            where = next((row for row, each in enumerate(self.rows) if each < new), len(self.rows))
        else:
            self.top += dice.randrange(1, storm.stride + 1)
            new, where = self.top, 0
        self.rows.insert(where, new)
        self.ever.add(new)
        if dice.random() < storm.fickle:
            self._fickle = new

    def _delete(self) -> None:
        dice = self.dice
        if not self.rows:
            return
        number = dice.randrange(1, self.storm.burst + 1)
        first = dice.randrange(len(self.rows)) if dice.random() < 0.8 else dice.choice([0, len(self.rows) - 1])
        if self.storm.span and number > 1:
            first = 0
            number = min(number, sum(each > self.edge for each in self.rows))
        gone = self.rows[first : first + number]
        del self.rows[first : first + number]
        self.always -= set(gone) - set(self.rows)


@dataclass
class Flown:
    """A walk that is over. `walked` is None when a page could not be had."""

    service: Service
    span: Span | None
    seen: set[int]
    walked: Walked | None

    @property
    def missed(self) -> set[int]:
        """Rows of the span that were there throughout, and were not seen."""
        low, high = (self.span.low, self.span.high) if self.span else (-inf, inf)
        return {each for each in self.service.always - self.seen if low <= each <= high}

    @property
    def lied(self) -> bool:
        """Whether *complete => always present ⊆ seen ⊆ ever present* does not hold."""
        proven = self.walked is not None and self.walked.unproven is None
        return not self.seen <= self.service.ever or (proven and bool(self.missed))


def fly(storm: Storm) -> Flown:
    """Walk through a storm."""
    service = Service(storm)
    span = _span(service)
    seen: set[int] = set()

    async def sink(page: Page) -> None:
        seen.update(row["id"] for row in page.rows)

    async def main() -> Walked | None:
        client = Client(service, Pacer(1e6), dice=Random(storm.seed))
        try:
            return await walk(client, Results(), Scope(), sink, storm.in_flight, span=span)
        except ServiceError:
            return None

    return Flown(service, span, seen, run(main))


def _span(service: Service) -> Span | None:
    """The span that a storm names, in ids of its list; ids that are not there are asked for, too."""
    if service.storm.span is None:
        return None
    begin, end, off = service.storm.span
    rows = sorted(service.at_start, reverse=True) or [1]
    first, last = sorted((int(begin * (len(rows) - 1)), int(end * (len(rows) - 1))))
    service.edge = rows[first]
    return Span(rows[last], rows[first], max(0, first + off))


def storms(*, spans: bool) -> st.SearchStrategy[Storm]:
    """Storms of every sort, over whole lists or over spans.

    Rows come at the head. They may be deleted soon after, but no storm sees to it (`fickle`): no reader of pages could tell.
    A list descends, or is shuffled; of a few rows out of place while the list moves a walk may see none. One that is
    walked by spans descends: whoever reads only a part of it cannot tell what is out of place elsewhere.
    """
    chance, seldom = st.floats(0, 1), st.one_of(st.just(0.0), st.floats(0, 0.5))
    span = st.tuples(chance, chance, st.one_of(st.integers(-30, 30), st.integers(-3000, 3000)))
    return st.builds(
        Storm,
        seed=st.integers(0, 2**32),
        size=st.one_of(st.integers(0, 90), st.integers(0, 500)),
        largest=st.one_of(st.integers(11, 16), st.integers(11, 100), st.integers(3, 100)),
        in_flight=st.integers(1, 8),
        overtaking=st.integers(1, 8),
        churn=st.floats(0, 0.5),
        inserts=chance,
        races=seldom,
        burst=st.sampled_from([1, 1, 5, 100]),
        middle=st.just(0.0),
        stride=st.sampled_from([1, 3, 1000]),
        copies=seldom,
        disorder=st.just(0.0) if spans else st.sampled_from([0.0] * 9 + [1.0]),
        faults=st.sampled_from([0.0, 0.0, 0.1, 0.3]),
        calm_after=st.integers(0, 400),
        span=span if spans else st.none(),
    ).filter(lambda storm: not storm.disorder or (storm.size >= SHUFFLED and storm.burst == 1))


def check(storm: Storm, tally: Counter[str]) -> None:
    """Fly through a storm; the promise must hold."""
    flown = fly(storm)
    tally["storms"] += 1
    tally["requests"] += flown.service.requests
    tally["failed" if flown.walked is None else flown.walked.unproven or "complete"] += 1
    assert not flown.lied, f"missed {sorted(flown.missed)}"


def weather(examples: int, *, number: int = 0, spans: bool = False) -> Counter[str]:
    """Let Hypothesis think of `examples` storms, others for each number; the answer counts how the walks ended.

    Raises AssertionError with the smallest storm in which a walk lied.
    """
    tally: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=examples,
        derandomize=False,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(storm=storms(spans=spans))
    def fly_through(storm: Storm) -> None:
        check(storm, tally)

    fly_through()
    return tally


def torture(examples: int = 100_000, number: int = 0) -> Counter[str]:
    """The long version: half of the storms over whole lists, half over spans."""
    whole = weather(examples - examples // 2, number=number)
    return whole + weather(examples // 2, number=number, spans=True)
