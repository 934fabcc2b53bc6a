"""All that a sandbox is while it works, in one object."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import apsw
from aiohttp import web

from . import world
from .audit import Arrivals
from .churn import Churn
from .faults import Window
from .listing import OURS
from .settings import Settings, amount, changed
from .sql import column, select
from .store import Store

PLENTY = 1_000_000_000.0
_CACHE_KIB = 64 * 1024  # while the world is made
_SERVING_KIB = 8 * 1024  # a commit to a temporary file counts all changed pages in the cache: with 64 MiB, for 1 ms


class NotASandboxError(ValueError):
    """The database file named is something else, or was not finished."""


@dataclass
class Sandbox:
    """The world, the settings, and what has arrived. Times are seconds since the start unless named otherwise."""

    store: Store
    settings: Settings
    seed: int
    key: str
    elapsed: Callable[[], float]
    churn: Churn
    arrivals: Arrivals = field(default_factory=Arrivals)
    window: Window = field(default_factory=Window)

    @property
    def evaluation_us(self) -> int:
        """How long a result stays running."""
        return round(self.settings.evaluation_time * 1e6)

    def size(self) -> tuple[int, int]:
        """How many results and runs the key can see."""
        results, runs = select(self.store.db, f"SELECT count(*), total(total_runs) FROM result WHERE {OURS}")[0]
        return results, int(runs)

    def advance(self) -> None:
        """Let happen what is due by now."""
        self.store.settle()
        self.churn.advance(self.elapsed(), self.settings.churn)

    def change(self, texts: Mapping[str, object]) -> None:
        """Change settings by name, `balance` among them. Raises ValueError, and changes none, for a wrong one."""
        balance = texts.get("balance")
        credit = PLENTY if balance is None else amount(str(balance))
        self.settings = changed(self.settings, {name: text for name, text in texts.items() if name != "balance"})
        if "balance" in texts:
            self.store.balance = credit


SANDBOX = web.AppKey("SANDBOX", Sandbox)


def build(
    *,
    results: int = 5000,
    seed: int = 7,
    key: str = "sandbox-key",
    balance: float | None = None,
    now: datetime | None = None,
    path: Path | None = None,
    settings: Settings | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Sandbox:
    """Make the world, or carry on with the one in the file `path`.

    Without a path it lies in SQLite's own temporary file, which is gone with the process, however that ends.
    `monotonic` is the only clock in use: a simulation hands in its own. Raises NotASandboxError.
    """
    started = monotonic()
    now_us = round((now.timestamp() if now else time.time()) * 1e6)
    db = _open(path)
    if not column(db, "PRAGMA application_id")[0]:
        world.seed(db, results=results, seed=seed, now_us=now_us)
        balance = PLENTY if balance is None else balance
    db.execute(f"PRAGMA cache_size = -{_SERVING_KIB}")
    db.execute(f"PRAGMA journal_mode = {'WAL' if path else 'MEMORY'}")
    seed, then_us = select(db, "SELECT seed, now_us FROM about")[0]

    def elapsed() -> float:
        return monotonic() - started

    store = Store(db, lambda: max(now_us, then_us) + round(elapsed() * 1e6))
    if balance is not None:
        store.balance = balance
    return Sandbox(store, settings or Settings(), seed, key, elapsed, Churn(store, seed))


def _open(path: Path | None) -> apsw.Connection:
    try:
        db = apsw.Connection(str(path) if path else "")
        db.set_progress_handler(lambda: False, 1_000_000)  # lets Python see a Ctrl-C during long statements
        for pragma in ("synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            db.execute(f"PRAGMA {pragma}")
        mark = column(db, "PRAGMA application_id")[0]
        empty = not column(db, "SELECT count(*) FROM sqlite_schema")[0]
        ours = mark == world.APPLICATION_ID
    except apsw.Error as error:
        raise NotASandboxError(f"{path}: {error}") from error
    if not ours and not empty:
        raise NotASandboxError(f"{path} is not a sandbox's database: name another file, or remove it")
    return db
