"""Trouble by the seed, in virtual time: every fault of the sandbox, and kills at any instant."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from engine.fates import ItemFate
from tests import virtual_time
from tests.simulation.world import World, world

SPEC = """
version: 1
jobs:
  - name: simulated
    resource: results
    where: {status: [completed, failed]}
    action: {type: evaluate_metrics, metrics: [11]}
    limits: {rate: 50/s, concurrency: 4, timeout: 5s, settle: 20s, verify: 60s}
"""
FAULTS = {
    "latency": 0.1,
    "jitter": 0.3,
    "errors": 0.04,
    "errors_after": 0.06,
    "reset_before": 0.04,
    "reset_after": 0.06,
    "hang_after": 0.03,
    "truncate": 0.04,
}
LONGEST_LIFE_S = 6.0  # of a process that is killed; a quiet job of this size takes about as long


@pytest.mark.parametrize("seed", range(24))
def test_no_trouble_and_no_kill_doubles_or_loses_an_evaluation(seed: int, tmp_path: Path) -> None:
    """Whatever befalls requests and processes, each eligible run is evaluated exactly once."""

    async def scenario() -> None:
        async with world(tmp_path, seed, results=700, **FAULTS) as here:
            here.read(SPEC)
            counts = await _live_until_done(here, kills=seed % 4)
            audit = here.audit()
            assert audit["evaluations"]["evaluated_twice"] == 0
            assert set(here.evaluated()) == here.eligible
            assert counts[ItemFate.ACCEPTED] + counts[ItemFate.CONFIRMED] == sum(counts.values()) > 500

    virtual_time.run(scenario)


async def _live_until_done(here: World, kills: int) -> dict[str, int]:
    """Processes that are killed after a while, then one that is left alone."""
    for _ in range(kills):
        if counts := await here.live(lambda: anyio.sleep(here.dice.uniform(0, LONGEST_LIFE_S))):
            return counts
    counts = await here.live()
    assert counts is not None
    return counts
