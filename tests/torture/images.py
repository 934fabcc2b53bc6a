"""What a power cut may leave of the files of a folder: what was synced, and of the rest anything in any order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from random import Random

from tests.torture.disk import Name, Record, Sync, SyncFolder, Truncate, Write

SECTOR = 512


class Damage(StrEnum):
    """What becomes of writes that were not synced."""

    KILL = "kill"  # all are there: no power cut, the process alone died
    LOST = "lost"  # none is there
    PREFIX = "prefix"  # the first some
    SUBSET = "subset"  # any
    TORN = "torn"  # any sectors of any, in any order
    GROWN = "grown"  # as torn, and the file has its length with noise where data never came


POWER_CUTS = tuple(damage for damage in Damage if damage is not Damage.KILL)


@dataclass
class _File:
    """What surely is in a file, and what was done to it since. `adrift`: its sync failed, no later one vouches for it."""

    history: list[tuple[str, Write | Truncate]] = field(default_factory=list)

    def synced(self, state: str) -> None:
        self.history = [(state if now == "pending" else now, change) for now, change in self.history]


def image(records: Sequence[Record], damage: Damage, dice: Random) -> dict[str, bytes]:
    """The folder after the power was cut behind these records: its files by name."""
    files: dict[int, _File] = {}
    names: dict[str, list[int | None]] = {}  # what each may mean: the first is what was synced
    for record in records:
        match record:
            case Write() | Truncate():
                files.setdefault(record.file, _File()).history.append(("pending", record))
            case Sync():
                files.setdefault(record.file, _File()).synced("there" if record.kept else "adrift")
            case Name():
                names.setdefault(record.name, [None]).append(record.file)
            case SyncFolder():
                names = {name: [history[-1]] for name, history in names.items()}
    chosen = {name: _choose(history, damage, dice) for name, history in names.items()}
    return {name: _content(files.get(file, _File()), damage, dice) for name, file in chosen.items() if file is not None}


def _choose(history: list[int | None], damage: Damage, dice: Random) -> int | None:
    if damage is Damage.KILL:
        return history[-1]
    return history[0] if damage is Damage.LOST else dice.choice(history)


def _content(file: _File, damage: Damage, dice: Random) -> bytes:
    content = bytearray()
    pending: list[Write | Truncate] = []
    for state, change in file.history:
        if state == "pending":
            pending.append(change)
        elif state == "there" or damage is Damage.KILL or (damage is not Damage.LOST and dice.random() < 0.5):
            _apply(content, change)
    for change in _survivors(pending, damage, dice):
        _apply(content, change, dice)
    if damage is Damage.GROWN:
        length = max((change.offset + len(change.data) for change in pending if isinstance(change, Write)), default=0)
        content += dice.randbytes(max(0, length - len(content)))
    return bytes(content)


def _survivors(pending: list[Write | Truncate], damage: Damage, dice: Random) -> Iterable[Write | Truncate]:
    match damage:
        case Damage.KILL:
            return pending
        case Damage.LOST:
            return []
        case Damage.PREFIX:
            return pending[: dice.randint(0, len(pending))]
        case Damage.SUBSET:
            return [change for change in pending if dice.random() < 0.5]
        case Damage.TORN | Damage.GROWN:
            share = dice.choice((0.1, 0.5, 0.9))
            kept = [part for change in pending for part in _sectors(change) if dice.random() < share]
            if dice.random() < 0.5:
                dice.shuffle(kept)
            return kept


def _sectors(change: Write | Truncate) -> Iterable[Write | Truncate]:
    """A write as the sectors it touches, each of which comes whole or not at all; a truncation is metadata."""
    if isinstance(change, Truncate):
        return [change]
    cuts = [0, *range(SECTOR - change.offset % SECTOR, len(change.data), SECTOR), len(change.data)]
    return [Write(change.file, change.offset + begin, change.data[begin:end]) for begin, end in pairwise(cuts)]


def _apply(content: bytearray, change: Write | Truncate, dice: Random | None = None) -> None:
    """Do it; what lies between the end of the file and a write beyond it is zeros, or what was on the disk before."""
    if isinstance(change, Truncate):
        del content[change.size :]
        content += bytes(change.size - len(content))
        return
    gap = change.offset - len(content)
    if gap > 0:
        content += dice.randbytes(gap) if dice and dice.random() < 0.5 else bytes(gap)
    content[change.offset : change.offset + len(change.data)] = change.data
