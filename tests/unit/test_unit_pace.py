"""The gate in virtual time: never more than the rate in any second, hardly less over a minute."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import ceil
from random import Random

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.pace import Pacer
from tests.virtual_time import run

RATES = st.one_of(st.floats(0.5, 20), st.integers(1, 3000).map(float), st.floats(20, 3000))


async def send(pacer: Pacer) -> float:
    """Send one request as the engine does; when it went out."""
    while True:
        await pacer.wait()
        if await pacer.leave():
            return anyio.current_time()


def passages(rate: float, waiters: int, number: int, *, idle_s: float = 0.0) -> list[float]:
    """When `number` requests of `waiters` workers go out; halfway through, everybody rests for `idle_s`."""
    times: list[float] = []

    async def worker(pacer: Pacer) -> None:
        while len(times) < number:
            times.append(await send(pacer))
            if idle_s and len(times) == number // 2:
                pacer.hold(idle_s)

    async def main() -> None:
        pacer = Pacer(rate)
        async with anyio.create_task_group() as group:
            for _ in range(waiters):
                group.start_soon(worker, pacer)

    run(main)
    return times


def busiest(times: list[float], *, closed: bool) -> int:
    """The most passages in any window of one second, with or without both of its ends."""
    end = bisect_right if closed else bisect_left
    return max(end(times, start + 1.0) - index for index, start in enumerate(times))


@settings(max_examples=60)
@given(rate=RATES, waiters=st.integers(1, 64), idle_s=st.sampled_from([0.0, 0.3, 5.0]))
@example(rate=1.0, waiters=8, idle_s=0.0)
@example(rate=3000.0, waiters=64, idle_s=0.3)
def test_no_second_carries_more_than_the_rate(rate: float, waiters: int, idle_s: float) -> None:
    """Not at the start, not after a silence, however many wait; 1.5/s is two in some second or other."""
    times = passages(rate, waiters, min(800, ceil(rate * 2.5) + 6), idle_s=idle_s)
    assert times == sorted(times)
    assert busiest(times, closed=False) <= ceil(max(1.0, rate))
    assert busiest(times, closed=True) <= ceil(max(1.0, rate)) + 1e-9


@settings(max_examples=60)
@given(
    rate=RATES,
    waiters=st.integers(1, 64),
    disk_s=st.sampled_from([0.002, 0.05, 0.4]),
    dial_s=st.sampled_from([0.001, 0.15, 0.9, 5.0]),
    seed=st.integers(0, 99),
)
@example(rate=50.0, waiters=16, disk_s=0.05, dial_s=0.001, seed=0)
@example(rate=50.0, waiters=16, disk_s=0.002, dial_s=0.15, seed=0)
def test_no_second_carries_more_however_long_intents_and_connections_take(
    rate: float, waiters: int, disk_s: float, dial_s: float, seed: int
) -> None:
    """Between the turn of a request and its going out an intent is synced, and now and then a connection is opened."""
    times: list[float] = []
    dice, number = Random(seed), min(800, ceil(rate * 2.5) + 6)

    async def worker(pacer: Pacer) -> None:
        while len(times) < number:
            await pacer.wait()
            await anyio.sleep(disk_s * dice.random())
            await anyio.sleep(dial_s * dice.random() if dice.random() < 0.1 else 0.0)
            assert await pacer.leave()
            times.append(anyio.current_time())

    async def main() -> None:
        pacer = Pacer(rate)
        async with anyio.create_task_group() as group:
            for _ in range(waiters):
                group.start_soon(worker, pacer)

    run(main)
    assert busiest(times, closed=True) <= ceil(max(1.0, rate))


@settings(max_examples=25)
@given(rate=RATES, waiters=st.integers(1, 64))
@example(rate=0.5, waiters=1)
@example(rate=3000.0, waiters=64)
def test_the_rate_is_nearly_reached(rate: float, waiters: int) -> None:
    """Over a long time at least 97 % of what is asked goes through."""
    times = passages(rate, waiters, 800)
    assert (len(times) - 1) / (times[-1] - times[0]) >= 0.97 * rate


@settings(max_examples=40)
@given(rate=RATES, waiters=st.integers(1, 32), silence_s=st.floats(0.01, 100), shorter=st.floats(0, 1))
def test_nothing_passes_while_silence_was_asked_for(
    rate: float, waiters: int, silence_s: float, shorter: float
) -> None:
    """Also of those who queued before, and a shorter silence does not cut a longer one short."""
    times: list[float] = []
    quiet = [0.0, 0.0]

    async def worker(pacer: Pacer) -> None:
        while len(times) < 60 + rate / 10:
            times.append(await send(pacer))

    async def main() -> None:
        pacer = Pacer(rate)
        async with anyio.create_task_group() as group:
            for _ in range(waiters):
                group.start_soon(worker, pacer)
            await anyio.sleep(10 / rate)
            quiet[:] = anyio.current_time(), anyio.current_time() + silence_s
            pacer.hold(silence_s)
            pacer.hold(silence_s * shorter)
            assert pacer.held_s == pytest.approx(silence_s)

    run(main)
    assert not [moment for moment in times if quiet[0] < moment < quiet[1]]
    assert times[-1] > quiet[1]


def test_a_longer_silence_prolongs_a_shorter_one() -> None:
    """The later end counts."""

    async def main() -> None:
        pacer = Pacer(10)
        pacer.hold(2)
        async with anyio.create_task_group() as group:
            group.start_soon(pacer.wait)
            await anyio.sleep(1)
            pacer.hold(5)
        assert anyio.current_time() == pytest.approx(6, abs=1e-3)

    run(main)


def test_the_first_request_does_not_wait() -> None:
    """An empty bucket lets one through at once, even of a rate of one an hour."""

    async def main() -> None:
        await Pacer(1 / 3600).wait()
        assert anyio.current_time() < 1e-3

    run(main)


def test_a_waiter_that_gives_up_costs_the_others_nothing() -> None:
    """Cancelled waiters leave the queue; the rest pass in time."""

    async def main() -> None:
        pacer = Pacer(10)
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(pacer.wait)
            with anyio.move_on_after(0.05):
                async with anyio.create_task_group() as inner:
                    for _ in range(20):
                        inner.start_soon(pacer.wait)
        assert anyio.current_time() < 1

    run(main)


@settings(max_examples=40)
@given(before=RATES, after=RATES, waiters=st.integers(1, 32), at_s=st.floats(0, 3))
def test_a_changed_rate_holds_at_once_and_makes_no_burst(
    before: float, after: float, waiters: int, at_s: float
) -> None:
    """For those who wait already too: no second carries more than the larger rate, none after it more than the new one."""
    times: list[float] = []
    changed: list[int] = []  # when so many had passed

    async def worker(pacer: Pacer) -> None:
        while not changed or len(times) - changed[0] < min(400, after * 2 + 4):
            times.append(await send(pacer))

    async def main() -> None:
        pacer = Pacer(before)
        async with anyio.create_task_group() as group:
            for _ in range(waiters):
                group.start_soon(worker, pacer)
            await anyio.sleep(at_s)
            changed.append(len(times))
            pacer.change(after)
            assert pacer.rate == after

    run(main)
    since = times[changed[0] :]
    assert busiest(times, closed=False) <= ceil(max(1.0, before, after))
    assert busiest(since, closed=False) <= ceil(max(1.0, after))
    if before != after:
        assert since[0] - at_s <= max(1.0, 1 / after) + 0.02
        assert (len(since) - 1) / (since[-1] - since[0]) >= 0.95 * after


def test_a_changed_rate_begins_with_a_gap_for_who_waits_and_for_who_comes() -> None:
    """What has just passed at the old rate does not count at the new one."""
    times: list[float] = []

    async def main() -> None:
        pacer = Pacer(1 / 3600)
        await pacer.wait()

        async def passes() -> None:
            await pacer.wait()
            times.append(anyio.current_time())

        async with anyio.create_task_group() as group:
            group.start_soon(passes)
            await anyio.sleep(5)
            pacer.change(0.5)
            group.start_soon(passes)

    run(main)
    assert times == [pytest.approx(7, abs=1e-3), pytest.approx(9, abs=0.1)]


def test_a_changed_rate_keeps_the_silence_that_was_asked_for() -> None:
    """And those who waited for a slot of an hour wait no longer."""

    async def main() -> None:
        pacer = Pacer(1 / 3600)
        await pacer.wait()
        async with anyio.create_task_group() as group:
            group.start_soon(pacer.wait)
            await anyio.sleep(1)
            pacer.hold(7)
            pacer.change(20)
        assert 8 <= anyio.current_time() <= 8.1

    run(main)
