"""Other people at work: results come at the head of the list and go anywhere in it while a client pages."""

from dataclasses import dataclass

from .dice import roll
from .listing import OURS
from .sql import column, select
from .store import Store
from .world import PRIME, add_result

MOST_AT_ONCE = 1000


@dataclass
class Churn:
    """Does, when a request arrives, what was due since the last one."""

    store: Store
    seed: int
    last_s: float = 0.0
    owed: float = 0.0
    done: int = 0

    def advance(self, now_s: float, per_second: float) -> None:
        """Insert and delete as many results as the time since the last call asks for."""
        self.owed = min(self.owed + (now_s - self.last_s) * per_second, MOST_AT_ONCE)
        self.last_s = now_s
        while self.owed >= 1:
            self.owed -= 1
            self.done += 1
            self._one()

    def _one(self) -> None:
        chance = roll(self.seed, self.done, "churn")
        self._delete(chance)
        with self.store.db as db:
            now_us = self.store.clock()
            added = add_result(db, number=self.done, start=1 + int(chance * (PRIME - 1)), now_us=now_us)
            db.execute("INSERT INTO effect(at_us, kind, result) VALUES (?, 'churn_insert', ?)", (now_us, added))
        self.store.listing.came(added)

    def _delete(self, chance: float) -> None:
        # Two questions: in one, SQLite reads every row for an answer that stands at either end.
        low, high = (select(self.store.db, f"SELECT ifnull({end}(id), 0) FROM result")[0][0] for end in ("min", "max"))
        nearest = f"SELECT id FROM result WHERE id >= ? AND {OURS} ORDER BY id LIMIT 1"
        aim = low + int(chance * (high - low))
        self.store.delete_results(column(self.store.db, nearest, aim), 0, "churn")
