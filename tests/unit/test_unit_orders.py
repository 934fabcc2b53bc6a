"""The file of orders: what may stand in it, how it is written, and what a process makes of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from engine import orders
from engine.backlog import Backlog
from engine.client import Client
from engine.control import Control
from engine.ear import Ear
from engine.errors import CheckpointError, PausedError, UsageError
from engine.ledger import Chunk
from engine.orders import Orders
from engine.pace import Pacer
from engine.progress import Progress
from tests.virtual_time import run

GIVEN = st.builds(
    Orders, paused=st.booleans(), cancelled=st.booleans(), rate=st.sampled_from([None, "20/s", "60/m", "1.5/h"])
).map(lambda some: replace(some, paused=some.paused and not some.cancelled))
JUNK = [
    b"",
    b"\x00\xff",
    b"[]",
    b"null",
    b'"cancelled"',
    b'{"cancelled": "yes"}',
    b'{"cancelled": 1}',
    b'{"paused": null}',
    b'{"rate": 5}',
    b'{"rate": "fast"}',
    b'{"rate": "0/s"}',
    b'{"canceled": true}',
    b'{"cancelled": true',
    b'{"cancelled": true}' + b" " * 5000,
    b"[" * 4000,
]


def give(path: Path, **changes: object) -> Orders:
    """Change some orders."""
    return orders.give(path, lambda before: replace(before, **changes))  # type: ignore[arg-type]


class Working:
    """A process at work on the job of a checkpoint, as far as orders matter."""

    def __init__(self, path: Path, rate: float = 10) -> None:
        """With a gate of its own."""
        self.control, self.pacer, self.progress = Control(), Pacer(rate, clock=lambda: 0.0), Progress()
        self.ear = Ear(path, self.control, self.pacer, self.progress)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a checkpoint might be."""
    return tmp_path / "abc.rebatch"


@given(given_orders=GIVEN)
def test_what_was_ordered_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, given_orders: Orders) -> None:
    """Through the file and back; no orders leave no file."""
    path = tmp_path_factory.mktemp("orders") / "abc.rebatch"
    orders.give(path, lambda _before: given_orders)
    assert orders.read(path) == given_orders
    assert orders.orders_path(path).exists() == (given_orders != Orders())


@given(data=st.one_of(st.binary(max_size=60), st.sampled_from(JUNK)))
def test_whatever_stands_in_the_file_is_orders_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Never another exception, and junk never cancels."""
    path = tmp_path_factory.mktemp("orders") / "abc.rebatch"
    orders.orders_path(path).write_bytes(data)
    with suppress(UsageError):
        assert not orders.read(path).cancelled
    assert not orders.known(path).cancelled


@pytest.mark.parametrize("data", JUNK)
def test_junk_is_refused_by_name_and_nothing_is_written_over_it(path: Path, data: bytes) -> None:
    """Whoever gives an order hears of it, and the file stays as it is."""
    file = orders.orders_path(path)
    file.write_bytes(data)
    with pytest.raises(UsageError, match="these are no orders") as refused:
        give(path, paused=True)
    assert str(file) in refused.value.message
    assert "Remove the file" in refused.value.remedy
    assert file.read_bytes() == data
    assert orders.known(path) == Orders()


def test_a_pipe_or_a_folder_in_place_of_the_file_stops_nobody(path: Path) -> None:
    """Neither is waited for."""
    os.mkfifo(orders.orders_path(path))
    with pytest.raises(UsageError, match="not a file"):
        orders.read(path)
    orders.orders_path(path).unlink()
    orders.orders_path(path).mkdir()
    with pytest.raises(UsageError):
        orders.read(path)
    with pytest.raises(UsageError):
        give(path, paused=True)


def test_the_file_is_readable_by_its_owner_alone_and_nothing_else_is_left(path: Path) -> None:
    """Whatever the umask; also when it is replaced."""
    before = os.umask(0)
    try:
        for rate in ("1/s", "2/s"):
            give(path, rate=rate)
            assert stat.S_IMODE(orders.orders_path(path).stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert [file.name for file in path.parent.iterdir()] == ["abc.rebatch.orders"]


def test_orders_that_cannot_be_written_are_a_clear_error(tmp_path: Path) -> None:
    """A folder that is not there stands for all that can go wrong with a disk."""
    with pytest.raises(CheckpointError, match="cannot be written"):
        give(tmp_path / "nowhere" / "abc.rebatch", paused=True)


def test_orders_given_at_the_same_time_are_all_kept(path: Path) -> None:
    """Each of two who change different things finds his own as he left it: no cancellation is lost to a throttle."""
    lost = []

    def insist(name: str, *values: object) -> None:
        for value in values * 40:
            give(path, **{name: value})
            if getattr(orders.read(path), name) != value:
                lost.append((name, value))

    threads = [Thread(target=insist, args=("rate", "1/s", "2/s")), Thread(target=insist, args=("paused", True, False))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []


def test_a_job_at_work_obeys_each_change_and_its_end(path: Path) -> None:
    """Pause, throttle, go on, back to its own rate; then cancel."""
    job = Working(path)
    job.ear.begin()
    give(path, paused=True)
    job.ear.look()
    assert (job.control.paused, job.progress.order) == (True, "paused")
    give(path, rate="30/m")
    job.ear.look()
    assert (job.control.paused, job.pacer.rate) == (True, 0.5)
    give(path, paused=False, rate=None)
    job.ear.look()
    assert (job.control.paused, job.pacer.rate, job.progress.order) == (False, 10, "")
    give(path, cancelled=True)
    job.ear.look()
    assert (job.control.cancelled, job.control.draining) == (True, False)


def test_a_cancellation_cannot_be_taken_back(path: Path) -> None:
    """Not by removing the file, not by another order."""
    job = Working(path)
    give(path, cancelled=True)
    job.ear.begin()
    orders.remove(path)
    job.ear.look()
    give(path, paused=True)
    job.ear.look()
    assert job.control.cancelled
    assert not job.control.paused, "what was sent is still to be looked after"


def test_a_job_that_is_to_pause_does_not_begin(path: Path) -> None:
    """Whoever resumed it, perhaps cron, is told how to go on."""
    give(path, paused=True)
    with pytest.raises(PausedError, match="rebatch unpause abc, then: rebatch resume abc") as stopped:
        Working(path).ear.begin()
    assert stopped.value.exit_code == 6


@pytest.mark.parametrize("data", JUNK)
def test_junk_changes_nothing_for_a_job_at_work_and_is_logged_once(path: Path, data: bytes) -> None:
    """Neither the pause that was ordered before nor the rate; and above all it does not cancel."""
    job = Working(path)
    give(path, rate="1/s")
    job.ear.begin()
    give(path, paused=True)
    job.ear.look()
    with capture_logs() as logged:
        orders.orders_path(path).write_bytes(data)
        job.ear.look()
        job.ear.look()
    assert [entry["log_level"] for entry in logged] == ["warning"]
    assert (job.control.paused, job.control.cancelled, job.pacer.rate) == (True, False, 1)


def test_the_next_job_of_the_same_process_is_bound_by_none_of_it(path: Path) -> None:
    """Gate and control are shared by the jobs of a command."""
    job = Working(path)
    give(path, rate="1/s", cancelled=True)
    job.ear.begin()
    job.ear.lift()
    assert (job.control.cancelled, job.control.paused, job.pacer.rate, job.progress.order) == (False, False, 10, "")


def test_nothing_passes_the_gate_while_paused_and_nothing_bursts_afterwards() -> None:
    """Those who queued when it began wait too, but for one whose turn it was; then the rate holds from the first request on."""
    times: list[float] = []

    async def main() -> None:
        client = Client(None, Pacer(10))  # type: ignore[arg-type] # nothing is sent

        async def worker() -> None:
            while len(times) < 30:
                assert await client.admit()
                assert await client.pacer.leave()
                times.append(anyio.current_time())

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(worker)
            await anyio.sleep(1)
            client.control.pause()
            await anyio.sleep(100)
            client.control.unpause()

    run(main)
    assert 8 <= len([at for at in times if at <= 1]) <= 10
    assert not [at for at in times if 1.1 < at < 101]
    assert max(len([at for at in times if start <= at < start + 1]) for start in times) <= 10


@pytest.mark.parametrize(("told", "read_admitted"), [("drain", False), ("cancel", True)])
def test_who_waits_at_the_gate_of_a_paused_job_hears_of_its_end(told: str, *, read_admitted: bool) -> None:
    """Draining ends every wait; cancelling ends those before a write, and lets the reads through that settle."""

    async def main() -> None:
        client = Client(None, Pacer(10))  # type: ignore[arg-type] # nothing is sent
        client.control.pause()
        found = {}

        async def read() -> None:
            found["read"] = await client.admit()

        async def write() -> None:
            found["write"] = await client.admit_write()

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            group.start_soon(write)
            await anyio.sleep(50)
            assert found == {}
            getattr(client.control, told)()
        assert found == {"read": read_admitted, "write": False}
        assert anyio.current_time() < 51
        assert not await client.admit_write()

    run(main)


@pytest.mark.parametrize(("told", "read_admitted"), [("drain", False), ("cancel", True)])
def test_who_queues_at_the_gate_hears_of_the_end_at_once(told: str, *, read_admitted: bool) -> None:
    """Not when the gate would have opened: then a read of a cancelled job passes."""
    heard: dict[str, tuple[bool, int]] = {}

    async def main() -> None:
        client = Client(None, Pacer(10))  # type: ignore[arg-type] # nothing is sent
        client.pacer.hold(1000)

        async def wait(name: str, admitted: Callable[[], Awaitable[bool]]) -> None:
            heard[name] = await admitted(), round(anyio.current_time())

        async with anyio.create_task_group() as group:
            group.start_soon(wait, "read", client.admit)
            group.start_soon(wait, "write", client.admit_write)
            await anyio.sleep(50)
            getattr(client.control, told)()

    run(main)
    assert heard == {"write": (False, 50), "read": (read_admitted, 1000 if read_admitted else 50)}


class _Books:
    """A ledger of so many chunks, all to be sent."""

    def __init__(self, chunks: int) -> None:
        self._chunks = [Chunk(number, number, 1, 0, (number,)) for number in range(1, chunks + 1)]

    async def pending(self, after: int, last: int, limit: int) -> list[Chunk]:
        return [chunk for chunk in self._chunks if after < chunk.first <= last][:limit]


async def _as_planned(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    return chunks


def test_a_cancelled_backlog_hands_out_nothing_and_waits_for_what_is_open() -> None:
    """What waits for another try is dropped at once; what is being settled is waited for."""

    async def main() -> None:
        control = Control()
        backlog = Backlog(_Books(9), control, _as_planned, 1, 9)  # type: ignore[arg-type] # of the ledger it needs only this
        waiting, settling, sending = [await backlog.take() for _ in range(3)]
        assert waiting
        assert settling
        assert sending
        backlog.again(waiting, 1000)
        ends: list[float] = []

        async def worker() -> None:
            while await backlog.take():
                raise AssertionError("a chunk was handed out")
            ends.append(anyio.current_time())

        control.cancel()
        async with anyio.create_task_group() as group:
            group.start_soon(worker)
            group.start_soon(worker)
            await anyio.sleep(5)
            backlog.again(sending)  # it came back: surely not carried out
            await anyio.sleep(5)
            assert ends == []
            backlog.over(settling)
        assert ends == [pytest.approx(10, abs=1e-3)] * 2

    run(main)


def test_a_worker_that_waits_for_work_wakes_when_the_job_is_cancelled() -> None:
    """Not only when the next try is due, an hour later."""

    async def main() -> None:
        control = Control()
        backlog = Backlog(_Books(1), control, _as_planned, 1, 1)  # type: ignore[arg-type] # of the ledger it needs only this
        chunk = await backlog.take()
        assert chunk
        backlog.again(chunk, 3600)
        async with anyio.create_task_group() as group:
            group.start_soon(backlog.take)
            await anyio.sleep(1)
            control.cancel()
        assert anyio.current_time() < 2

    run(main)


def test_a_changed_rate_holds_at_once_for_those_who_wait() -> None:
    """A slot of the old rate may be an hour away; and no second after the change carries more than the new rate."""
    times: list[float] = []

    async def main() -> None:
        pacer = Pacer(1 / 3600)

        async def worker() -> None:
            while len(times) < 40:
                await pacer.wait()
                assert await pacer.leave()
                times.append(anyio.current_time())

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(worker)
            await anyio.sleep(10)
            pacer.change(20)

    run(main)
    after = times[1:]
    assert 10 < after[0] <= 11.1
    assert after[-1] < 14
    assert max(len([at for at in after if start <= at < start + 1]) for start in after) <= 20
