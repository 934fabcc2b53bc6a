"""Who may ask a failing service, whom a failure is blamed on, and how many reads it takes at once: in virtual time."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random

import anyio
import pytest
import structlog
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.breaker import FAILURES_IN_A_ROW
from engine.client import Client
from engine.control import Control
from engine.errors import ServiceError
from engine.exchange import Reply, Request
from engine.fates import Fate, Outcome, decipher
from engine.flight import MOST, START, Flight
from engine.pace import Pacer
from engine.pressure import Pressure, Standing, troubled
from engine.transport import connect
from tests.virtual_time import run

READ = Request("GET", "/a")
WRITE, OTHER_WRITE = Request("POST", "/a", body=b"[1]"), Request("POST", "/a", body=b"[2]")
GOOD, BAD = Outcome(Fate.APPLIED, 200), Outcome(Fate.UNKNOWN, 503, "503 Service Unavailable")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of exchanges are not logged."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(500), True),
        (Reply(503), True),
        (Reply(504), True),
        (Reply(408), True),
        (Reply(sent=False, failure="refused"), True),
        (Reply(sent=True, failure="reset"), True),
        (Reply(200), False),
        (Reply(204), False),
        (Reply(301), False),
        (Reply(400), False),
        (Reply(401), False),
        (Reply(404), False),
        (Reply(418), False),
        (Reply(429), False),
    ],
)
def test_what_counts_as_trouble(reply: Reply, expected: bool) -> None:  # noqa: FBT001 - a table
    """No connection, no whole answer, 408, 5xx; a refusal is an answer, and throttling is the gate's business."""
    assert troubled(decipher(reply)) is expected


def test_an_answer_that_broke_off_is_trouble() -> None:
    """Of a read; a write whose status line was seen is done."""
    assert troubled(Outcome(Fate.UNKNOWN, 200, "the answer broke off"))


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def after(*events: tuple[Request, Outcome]) -> Pressure:
    """The pressure after these, a tenth of a second apart, none of them held back."""
    clock = Clock()
    pressure = Pressure(clock, Random(1))
    for request, outcome in events:
        clock.now += 0.1
        pressure.note(request, pressure.lane(request).breaker.begin(), outcome)
    return pressure


def test_failures_of_several_requests_are_the_services() -> None:
    """Even if requests of the other sort are answered."""
    failures = [(WRITE, BAD), (OTHER_WRITE, BAD)] * 3
    pressure = after(*failures, (READ, GOOD))
    assert pressure.standing(pressure.writes).down
    assert not pressure.reads.open


def test_a_single_request_that_fails_while_others_are_answered_has_itself_to_blame() -> None:
    """Reads that are answered show that the service is there; without them nothing does."""
    pressure = after(*[(WRITE, BAD)] * 6, (READ, GOOD), (WRITE, BAD))
    assert not pressure.standing(pressure.writes).down
    pressure = after(*[(WRITE, BAD)] * 3, (READ, GOOD), *[(WRITE, BAD)] * 3)
    assert pressure.standing(pressure.writes).down, "that answer is too old to tell anything"
    pressure = after((READ, GOOD), *[(WRITE, BAD)] * 5)
    standing = pressure.standing(pressure.writes)
    assert standing == Standing(down=True, silent_s=standing.silent_s, alone=5)
    assert standing.silent_s == pytest.approx(0.4)


def test_failures_that_do_not_make_anybody_wait_are_blamed_on_the_request() -> None:
    """A few are what attempts are for."""
    pressure = after(*[(WRITE, BAD), (OTHER_WRITE, BAD)] * 2)
    assert not pressure.writes.open
    assert not pressure.standing(pressure.writes).down


def test_an_answer_begins_the_count_anew() -> None:
    """Of the failures, and of the time."""
    pressure = after(*[(WRITE, BAD)] * 4, (OTHER_WRITE, GOOD), *[(WRITE, BAD)] * 4)
    assert not pressure.writes.open
    assert pressure.standing(pressure.writes).silent_s == pytest.approx(0.3)


async def fail(pressure: Pressure, *requests: Request) -> None:
    """Make these lanes open."""
    for _ in range(FAILURES_IN_A_ROW):
        for request in requests:
            pressure.note(request, pressure.lane(request).breaker.begin(), BAD)


def test_writes_leave_it_to_a_read_to_find_out_whether_the_service_is_back() -> None:
    """As long as somebody wants to read; else a write has to be the probe."""

    async def main() -> None:
        pressure = Pressure(anyio.current_time, Random(1))
        await fail(pressure, WRITE, READ)
        with pressure.reading(), anyio.move_on_after(100) as moved_on:
            await pressure.let(pressure.writes)
        assert moved_on.cancelled_caught
        assert pressure.writes.breaker.ask(anyio.current_time()) == 0
        pressure.give_up(pressure.writes, pressure.writes.breaker.turn)
        await pressure.let(pressure.writes)

    run(main)


def test_everybody_waits_for_the_probe_and_goes_on_when_it_is_answered() -> None:
    """One of thirty passes; the others in the moment of its answer."""

    async def main() -> None:
        pacer, passed = Pacer(1000, dice=Random(1)), []
        pressure = pacer.pressure
        await fail(pressure, READ)

        async def reader() -> None:
            await pacer.wait(pressure.reads)
            passed.append(anyio.current_time())
            turn = pressure.reads.breaker.begin()
            await anyio.sleep(20)
            pressure.note(READ, turn, GOOD)

        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(reader)
            await anyio.sleep(15)
            assert len(passed) == 1
        assert 0.9 <= passed[0] <= 1.01
        assert 20.9 <= min(passed[1:]) <= max(passed) <= 21.2

    run(main)


def test_a_probe_that_never_begins_does_not_shut_the_gate_for_good() -> None:
    """Whoever passed and had nothing to send after all; whoever was cancelled in the queue."""

    async def main() -> None:
        pacer = Pacer(0.9, dice=Random(1))
        await pacer.wait()
        await fail(pacer.pressure, WRITE)
        with anyio.move_on_after(1):
            await pacer.wait(pacer.pressure.writes)
        await pacer.wait(pacer.pressure.writes)
        assert anyio.current_time() < 3
        await pacer.wait(pacer.pressure.writes)
        assert anyio.current_time() < 14

    run(main)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def client_of(answer: Handler, rate: float = 1000, **options: object) -> AsyncIterator[Client]:
    """A client of a server with this handler."""
    app = web.Application()
    app.router.add_route("*", "/a", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    origin = "http://{}:{}".format(*runner.addresses[0])
    try:
        async with connect(origin, {"X-KEY": "k"}, connections=64, timeout_s=30) as transport:
            yield Client(transport, Pacer(rate, dice=Random(1)), dice=Random(1), **options)  # type: ignore[arg-type]
    finally:
        await runner.cleanup()


def test_a_write_is_not_sent_when_silence_was_asked_for_since_the_gate() -> None:
    """Writing the intent takes time; to wait with it would send what was looked at long ago."""
    arrived: list[float] = []

    async def answer(_request: web.Request) -> web.Response:
        arrived.append(anyio.current_time())
        return web.Response()

    async def main() -> None:
        async with client_of(answer) as client:
            assert await client.admit()
            client.pacer.hold(600)
            assert await client.send(WRITE) is None
            assert anyio.current_time() < 1
            assert (arrived, client.progress.requests) == ([], 0)

    run(main)


@settings(max_examples=20)
@given(silence_s=st.integers(1, 900), readers=st.integers(1, 16), status=st.sampled_from([429, 503]))
def test_no_read_arrives_before_the_second_that_was_asked_for(silence_s: int, readers: int, status: int) -> None:
    """Of any worker, whatever it was about to do."""
    arrived: list[float] = []
    asked: list[float] = []

    async def answer(_request: web.Request) -> web.Response:
        arrived.append(anyio.current_time())
        if len(arrived) != 20:
            return web.json_response({})
        asked.append(anyio.current_time())
        return web.Response(status=status, headers={"Retry-After": str(silence_s)})

    async def main() -> None:
        async with client_of(answer, rate=10) as client:

            async def reader() -> None:
                while len(arrived) < 60:
                    await client.read(READ)

            async with anyio.create_task_group() as group:
                for _ in range(readers):
                    group.start_soon(reader)

    run(main)
    assert not [at for at in arrived if asked[0] + 1e-3 < at < asked[0] + silence_s]
    assert asked[0] + silence_s <= arrived[20] <= asked[0] + silence_s + 1


@pytest.mark.parametrize("answered", [False, True])
def test_a_service_that_answers_nothing_but_429_is_given_up_when_patience_ends(*, answered: bool) -> None:
    """A job that nobody watches would stand still for ever; one good answer in between, and it has all its patience again."""
    count = 0

    async def answer(_request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if answered and count == 8:
            return web.json_response({})
        return web.Response(status=429, headers={"Retry-After": "60"})

    async def main() -> float:
        async with client_of(answer, patience_s=600) as client:
            if answered:
                await client.read(READ)
            began = anyio.current_time()
            with pytest.raises(ServiceError, match=r"takes no request any more: 429.*limits: patience"):
                await client.read(READ)
            return anyio.current_time() - began

    assert 600 <= run(main) < 670


def test_a_pause_ends_at_once_when_draining_begins() -> None:
    """Ctrl-C does not wait a minute."""

    async def main() -> None:
        control = Control()
        pacer = Pacer(10, dice=Random(1))
        async with anyio.create_task_group() as group:
            await fail(pacer.pressure, WRITE)
            group.start_soon(control.wait, lambda: pacer.wait(pacer.pressure.writes))
            await anyio.sleep(0.5)
            control.drain()
        assert anyio.current_time() < 0.6

    run(main)


def test_a_service_that_was_never_there_is_not_waited_for() -> None:
    """Seconds; but one that was there and has gone is given the time that patience allows."""

    async def main() -> None:
        async with connect("http://127.0.0.1:9", {}, connections=1, timeout_s=5) as transport:
            client = Client(transport, Pacer(10, dice=Random(1)), dice=Random(1), patience_s=600)
            with pytest.raises(ServiceError, match="cannot be reached"):
                await client.read(READ)
            assert anyio.current_time() < 15
            began = anyio.current_time()
            client.pacer.pressure.note(READ, client.pacer.pressure.reads.breaker.begin(), GOOD)
            with pytest.raises(ServiceError, match=r"cannot be reached.*limits: patience"):
                await client.read(READ)
            assert 590 < anyio.current_time() - began < 700

    run(main)


class Crowded:
    """A service that answers 503 when it has more than so many requests at once."""

    def __init__(self, room: int) -> None:
        """`room` requests are answered well, each in a tenth of a second."""
        self.room = room
        self.inside = self.most = self.refused = self.served = 0

    async def answer(self, _request: web.Request) -> web.Response:
        """As long as there is room."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        full = self.inside > self.room
        try:
            await anyio.sleep(0.1)
        finally:
            self.inside -= 1
        self.refused += full
        self.served += not full
        return web.Response(status=503) if full else web.json_response({})


@pytest.mark.parametrize("room", [1, 2, 5, 16, 100])
def test_reads_find_the_number_that_the_service_takes(room: int) -> None:
    """From four up or down; at least half of what it can take is used, little is refused, and nothing fails."""
    service = Crowded(room)

    async def main() -> tuple[float, float]:
        async with client_of(service.answer) as client:
            wanted = iter(range(3000))

            async def reader() -> None:
                for _ in wanted:
                    await client.read(READ)

            async with anyio.create_task_group() as group:
                for _ in range(64):
                    group.start_soon(reader)
            return client.flight.level, anyio.current_time()

    level, took_s = run(main)
    assert service.most <= max(START, min(room + 1, MOST))
    assert service.refused <= 0.1 * service.served
    assert level <= min(room + 1, MOST)
    assert took_s <= 2 * 3000 * 0.1 / min(room, MOST)


def test_failures_of_one_round_halve_the_number_once() -> None:
    """Eight requests that meet one hiccup are one piece of news; it never falls below one nor rises above its limit."""

    async def main() -> None:
        flight = Flight(8)
        began = flight.round
        for _ in range(8):
            flight.learn(began, well=False)
        assert flight.level == START / 2
        for _ in range(8):
            flight.learn(flight.round, well=False)
        assert flight.level == 1
        for _ in range(2000):
            await flight.enter()
            flight.learn(flight.round, well=True)
            flight.leave()
        assert flight.level < 3, "one at a time does not show that more would do"

    run(main)
