"""`retention`: checkpoints of jobs that are over go when they are old enough; nothing else ever does."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.jobledger import JobLedger
from tests.e2e.nightly import jobs_made, just_due
from tests.e2e.rig import EVALUATE, Rebatch, World, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

RETENTION_S = 5.0  # what ends now is younger for as long as the pass takes that ends it


NOTHING: dict[str, Any] = {**EVALUATE, "where": {"id": 1}}  # a job that is over as soon as its plan is made


@dataclass
class Makers:
    """Makes jobs, each in its own way, and tells their ids."""

    rebatch: Rebatch
    seen: set[str] = field(default_factory=set)

    def by(self, *arguments: str | Path, code: int = 0) -> str:
        """The job that this command makes."""
        self.rebatch(*arguments, code=code)
        return self.newest()

    def newest(self) -> str:
        """The only job that was not there before."""
        (job,) = set(jobs_made(self.rebatch)) - self.seen
        self.seen.add(job)
        return job

    def interrupted(self, world: World) -> str:
        """A job that was killed at work."""
        world.change(latency="100ms")
        live = self.rebatch.start("run", self.rebatch.spec(EVALUATE), "--yes")
        until(lambda: world.count("POST") >= 2, "some chunks")
        assert live.kill().code == -signal.SIGKILL
        world.change(latency="0s")
        return self.newest()

    def held(self, world: World) -> str:
        """A job whose requests were never answered: a person has to decide on its items."""
        limits = {**EVALUATE["limits"], "attempts": 1, "timeout": "1s", "settle": "0s"}
        job = self.by("plan", self.rebatch.spec(EVALUATE, scope={"agent_id": 101}, limits=limits))
        world.change(reset_before="1", only="writes")
        self.rebatch("run", job, "--yes", code=3)
        world.change(reset_before="0")
        return job


def test_only_old_jobs_that_are_over_are_removed(rebatch: Rebatch, open_world: Open) -> None:
    """Those of this spec; not an interrupted one, nor one with held items, nor those of another, nor its own."""
    world = open_world("--results=300", "--evaluation-time=20ms")
    make = Makers(rebatch.at(world.url))
    old = {
        make.by("run", rebatch.spec(NOTHING), "--yes"),
        make.by("run", rebatch.spec(EVALUATE, guards={"max_items": 1}), "--yes", code=5),
    }
    kept = {
        make.by("run", rebatch.spec({**NOTHING, "name": "another"}), "--yes"),
        make.by("plan", rebatch.spec(EVALUATE)),
        make.interrupted(world),
        held := make.held(world),
    }
    over_at = datetime.fromisoformat(finished_at(rebatch, held)).timestamp()
    until(lambda: time.time() > over_at + RETENTION_S, "all of them are old enough")

    nightly = rebatch.spec(NOTHING, schedule=just_due(), name="nightly.yaml")
    kept.add(make.by("run", "--scheduled", nightly))
    assert set(jobs_made(rebatch)) == old | kept, "nothing goes unless the spec says so"

    rebatch.spec(NOTHING, schedule=just_due(), retention=f"{RETENTION_S:g}s", name="nightly.yaml")
    kept.add(make.by("schedule", "run", "evaluate"))
    assert set(jobs_made(rebatch)) == kept
    leftovers = [path.name for path in rebatch.state_dir.iterdir() if path.name.split(".")[0] in old]
    assert leftovers == [], "neither a journal nor a lock is left of what went"


def finished_at(rebatch: Rebatch, job: str) -> str:
    """When a job ended, by its checkpoint."""
    ledger = JobLedger.look(rebatch.state_dir / f"{job}.rebatch")
    found = str(ledger.job["finished_at"])
    ledger.checkpoint.close()
    return found
