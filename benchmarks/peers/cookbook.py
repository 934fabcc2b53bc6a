"""In the manner of `examples/api_request_parallel_processor.py` of the OpenAI cookbook, which many have copied.

A loop that turns once a millisecond: it takes a request from the queue of retries, or a new one, and starts it if the
bucket, of a minute's size and full at first, has a request left. After a 429 it starts nothing for 15 s. What fails, for
whatever reason, goes back to the queue until it was tried five times.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import aiohttp

API = "/test_framework/v1/results/"
PAUSE_S = 15


@dataclass
class Task:
    """One request, and how often it may still be tried."""

    method: str
    path: str
    options: dict[str, Any]
    attempts_left: int = 5


@dataclass
class Tracker:
    """Where the processing stands."""

    retries: deque[Task] = field(default_factory=deque)
    answers: list[Any] = field(default_factory=list)
    in_progress: int = 0
    failed: int = 0
    last_rate_limit_error: float = 0.0


async def process(session: aiohttp.ClientSession, tasks: list[Task], requests_per_minute: float) -> Tracker:
    """Send all tasks."""
    tracker, new, running = Tracker(in_progress=len(tasks)), iter(tasks), set[asyncio.Task[None]]()
    available, updated, next_task = requests_per_minute, time.monotonic(), None
    while tracker.in_progress:
        if next_task is None:
            next_task = tracker.retries.popleft() if tracker.retries else next(new, None)
        now = time.monotonic()
        available = min(available + requests_per_minute * (now - updated) / 60, requests_per_minute)
        updated = now
        if next_task and available >= 1:
            available -= 1
            next_task.attempts_left -= 1
            call = asyncio.create_task(_call(session, next_task, tracker))
            running.add(call)
            call.add_done_callback(running.discard)
            next_task = None
        await asyncio.sleep(0.001)
        pause_s = tracker.last_rate_limit_error + PAUSE_S - time.monotonic()
        if tracker.last_rate_limit_error and pause_s > 0:
            await asyncio.sleep(pause_s)
    return tracker


async def _call(session: aiohttp.ClientSession, task: Task, tracker: Tracker) -> None:
    try:
        async with session.request(task.method, task.path, **task.options) as answer:
            if answer.status == 429:
                tracker.last_rate_limit_error = time.monotonic()
            answer.raise_for_status()
            found = await answer.json()
    except Exception:  # noqa: BLE001 - as it does
        if task.attempts_left:
            tracker.retries.append(task)
            return
        tracker.failed += 1
    else:
        tracker.answers.append(found)
    tracker.in_progress -= 1


async def main(rate: float) -> bool:
    """Evaluate metric 11 on every result; whether all went well."""
    headers = {"X-CEKURA-API-KEY": os.environ["CEKURA_API_KEY"]}
    async with aiohttp.ClientSession(os.environ["CEKURA_API_URL"], headers=headers) as session:

        def page(number: int) -> Task:
            return Task("GET", API, {"params": {"page": number, "page_size": 100}})

        def evaluation(ids: list[int]) -> Task:
            body = {"result_ids": ids, "metric_ids": [11]}
            return Task("POST", f"{API}bulk_evaluate_metrics/", {"json": body})

        first = await process(session, [page(1)], 60 * rate)
        count = first.answers[0]["count"]
        rest = await process(session, [page(number) for number in range(2, -(-count // 100) + 1)], 60 * rate)
        ids = [row["id"] for answer in first.answers + rest.answers for row in answer["results"]]
        chunks = [evaluation(ids[at : at + 100]) for at in range(0, len(ids), 100)]
        evaluated = await process(session, chunks, 60 * rate)
    return not first.failed + rest.failed + evaluated.failed


if __name__ == "__main__":
    sys.exit(not asyncio.run(main(float(sys.argv[1]))))
