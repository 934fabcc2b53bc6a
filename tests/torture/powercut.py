"""Power cuts by the thousand: crash images of a checkpoint, each opened as `resume` opens it, each held to its promises."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Self

import anyio
import apsw

from engine.errors import RebatchError, UsageError
from engine.jobledger import JobLedger
from tests.torture.disk import Disk, Record
from tests.torture.images import POWER_CUTS, Damage, image
from tests.torture.session import Session, as_if_on_network, commits, scripted

State = tuple[object, ...]


@dataclass
class Findings:
    """How many images were looked at, and what was wrong: a replay of each."""

    images: int = 0
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)

    def __iadd__(self, other: Self) -> Self:
        self.images += other.images
        self.lost += other.lost
        self.corrupt += other.corrupt
        return self


class History:
    """A recorded session, and what the checkpoint said behind each of its transactions."""

    def __init__(self, session: Session, folder: Path) -> None:
        """`folder` is for copies of the files."""
        self.records: list[Record] = session.disk.records
        self._promises = session.promises
        self._folder = folder
        self.commits = commits(self.records)
        self._states: list[State | None] = [self._state_behind(number) for number in self.commits]

    def promised(self, cut: int) -> int:
        """The last transaction that was called durable before the cut, by number; -1 if none was."""
        begun = max((promise.begun for promise in self._promises if promise.told <= cut), default=-1)
        return next((place for place, number in enumerate(self.commits) if number > begun), -1) if begun >= 0 else -1

    def judge(self, cut: int, files: dict[str, bytes]) -> str | None:
        """What is wrong with an image, if something is: *lost* or *corrupt*, and how."""
        at_least = self.promised(cut)
        allowed = [state for state, number in zip(self._states, self.commits, strict=True) if number <= cut]
        path = lay_out(files, self._folder)
        if path is None:
            return None if at_least < 0 else "lost: the file is not there"
        try:
            state = opened(path)
        except RebatchError as error:
            return None if at_least < 0 and isinstance(error, UsageError) else f"lost: refused: {error}"
        except (
            apsw.Error,
            ValueError,
            CorruptImageError,
        ) as error:  # ValueError: what is there is not what was written
            return f"corrupt: {error!r}"
        if state not in allowed:
            return "corrupt: a state that never was"
        return None if state in allowed[max(0, at_least) :] else "lost: what was called durable"

    def _state_behind(self, number: int) -> State | None:
        path = lay_out(image(self.records[:number], Damage.KILL, Random(0)), self._folder)
        try:
            return opened(path) if path else None
        except UsageError:  # not a job yet
            return None


class CorruptImageError(Exception):
    """SQLite finds the file damaged."""


def lay_out(files: dict[str, bytes], folder: Path) -> Path | None:
    """Write the files of an image into an empty folder; the checkpoint's path, or None if it is not among them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return next(folder.glob("*.rebatch"), None)


def opened(path: Path) -> State:
    """Everything that the checkpoint says when it is opened to work on its job. Raises what `resume` raises, CorruptImageError."""
    ledger = JobLedger.resume(path)
    try:
        return ledger.checkpoint.read_now(_everything)
    finally:
        ledger.checkpoint.close()


def _everything(db: apsw.Connection) -> State:
    (verdict,) = db.execute("PRAGMA integrity_check").fetchone() or ("?",)
    if verdict != "ok":
        raise CorruptImageError(verdict)
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")]
    return tuple((table, tuple(db.execute(f'SELECT * FROM "{table}" ORDER BY 1'))) for table in tables)


def record(seed: int, folder: Path, *, network: bool = False, syncs_work: bool = True) -> History:
    """Play a scripted job by the seed, and keep what happened."""
    live = folder / f"live-{seed}"
    live.mkdir(parents=True)
    session = Session(Disk(live.resolve(), syncs_work=syncs_work))
    with as_if_on_network(network=network), session.witnessed():
        anyio.run(scripted, live, Random(seed))
    return History(session, folder / "image")


def cut(history: History, images: int, seed: int, replay: str, damages: Sequence[Damage] = POWER_CUTS) -> Findings:
    """Cut the power so many times, at moments and with losses by the seed."""
    findings = Findings()
    for number in range(images):
        dice = Random(f"{seed}/{number}")
        behind = dice.randint(1, len(history.records))
        files = image(history.records[:behind], dice.choice(damages), dice)
        findings.images += 1
        if wrong := history.judge(behind, files):
            (findings.lost if wrong.startswith("lost") else findings.corrupt).append(
                f"{replay} image {number}: {wrong}"
            )
    return findings


def run(images: int, seed: int, folder: Path, *, network: bool = False) -> Findings:
    """Play the job of this seed, and look at so many images of it."""
    with as_if_on_network(network=network):
        history = record(seed, folder, network=network)
        return cut(history, images, seed, f"seed {seed} {'journal' if network else 'wal'}")
