"""What `python -m tests.torture` does: sections of many small trials, each of which a worker process can do by itself."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random

import anyio
import structlog

from tests.torture import killpoints, lives, powercut
from tests.torture.killpoints import Point
from tests.torture.tally import Tally

_RAM = Path("/dev/shm")
_IMAGES_A_SESSION = 250
_POINTS_A_BATCH = 8


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each."""

    seeds: int = 300
    images: int = 20_000
    points: int = 300
    schedules: int = 100_000


@dataclass(frozen=True, slots=True)
class Trial:
    """One piece of work: what a worker process is handed."""

    section: str
    seed: int
    number: int = 1


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: power cuts are simulated, so its syncs need not be real."""
    with tempfile.TemporaryDirectory(prefix="torture-", dir=_RAM if os.access(_RAM, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


def _storms(trial: Trial) -> Tally:
    weather = import_module("tests.torture.walk_storms").weather
    try:
        return Tally(weather(trial.number, number=trial.seed, spans=bool(trial.seed % 2))["storms"])
    except AssertionError as lied:
        replay = f"python -m tests.torture walk --seed {trial.seed} --schedules {trial.number}  # {lied}"
        return Tally(trial.number, lost=1, replays=[replay])


def _life(sort: str) -> Callable[[Trial], Tally]:
    def one(trial: Trial) -> Tally:
        with scratch() as folder:
            tally = lives.live(sort, trial.seed, folder / "life")
        if not tally.whole:
            tally.replays.append(f"python -m tests.torture {trial.section} --seed {trial.seed} --seeds 1")
        return tally

    return one


def _images(*, network: bool) -> Callable[[Trial], Tally]:
    def some(trial: Trial) -> Tally:
        with scratch() as folder:
            found = powercut.run(trial.number, trial.seed, folder, network=network)
        replay = f"python -m tests.torture {trial.section} --seed {trial.seed} --images {trial.number}"
        replays = [f"{replay}  # {what}" for what in (found.lost + found.corrupt)[:1]]
        return Tally(found.images, lost=len(found.lost), corrupt=len(found.corrupt), replays=replays)

    return some


def _points(trial: Trial) -> Tally:
    async def strike() -> Tally:
        with scratch() as folder:
            dice, action = Random(trial.seed), "delete" if trial.seed % 4 == 3 else "evaluate"
            names = await killpoints.steps(folder, action, trial.seed)
            failures = trial.seed % 4 == 2
            points = (
                killpoints.choose_failures(names, trial.number, dice)
                if failures
                else killpoints.choose(names, trial.number, dice, action)
            )
            return await killpoints.strike_all(points, folder)

    return anyio.run(strike)


def replay(point: str) -> Tally:
    """Strike at one point again, as a failure named it."""
    action, how, step, seed = point.split(":")

    async def strike() -> Tally:
        with scratch() as folder:
            return await killpoints.trial(Point(action, how, int(step), int(seed)), folder)

    return anyio.run(strike)


@dataclass(frozen=True, slots=True)
class Section:
    """A line of the table."""

    title: str
    act: Callable[[Trial], Tally]
    cut: Callable[[Sizes], tuple[int, int]]  # how many trials, and how large each is


def _in_batches(whole: int, size: int) -> tuple[int, int]:
    size = min(size, max(1, whole))
    return -(-whole // size), size


SECTIONS = {
    "walk": Section("lists that move while they are read", _storms, lambda sizes: _in_batches(sizes.schedules, 500)),
    "kills": Section("jobs among faults, killed at any instant", _life("kills"), lambda sizes: (sizes.seeds, 1)),
    "power": Section("jobs among faults, power cut at any step on the disk", _life("power"), lambda sizes: (sizes.seeds, 1)),
    "disk": Section("jobs on a disk that fails or is full, then loses power", _life("disk"), lambda sizes: (sizes.seeds, 1)),
    "clocks": Section("jobs among faults and kills while the clock jumps", _life("clocks"), lambda sizes: (sizes.seeds // 2, 1)),
    "wal": Section(
        "power-cut images of a checkpoint (WAL)", _images(network=False), lambda sizes: _in_batches(sizes.images // 2, _IMAGES_A_SESSION)
    ),
    "journal": Section(
        "power-cut images of a checkpoint (rollback journal)", _images(network=True), lambda sizes: _in_batches(sizes.images // 2, _IMAGES_A_SESSION)
    ),
    "points": Section(
        "the real command, struck at a step of its journal or of HTTP", _points, lambda sizes: _in_batches(sizes.points, _POINTS_A_BATCH)
    ),
}  # fmt: skip


def trials(names: list[str], sizes: Sizes, seed: int) -> Iterator[Trial]:
    """All the work of these sections."""
    for name in names:
        number, size = SECTIONS[name].cut(sizes)
        yield from (Trial(name, seed + place, size) for place in range(number))


def work(trial: Trial) -> tuple[Trial, Tally]:
    """Do one trial, in a worker process. What stops it is a finding like any other."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    try:
        return trial, SECTIONS[trial.section].act(trial)
    except Exception as error:  # noqa: BLE001 - hours of other trials go on
        which = {"wal": "--images", "journal": "--images", "points": "--points", "walk": "--schedules"}.get(
            trial.section, "--seeds"
        )
        command = f"python -m tests.torture {trial.section} --seed {trial.seed} {which} {trial.number}"
        return trial, Tally(trial.number, corrupt=1, replays=[f"{command}  # {type(error).__name__}: {error}"])


def available() -> list[str]:
    """The sections that can be done here."""
    return [name for name in SECTIONS if name != "walk" or find_spec("tests.torture.walk_storms")]
