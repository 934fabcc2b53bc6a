"""The script that one writes in an afternoon: aiohttp, `AsyncLimiter(rate, 1)`, gather. Beside it rebatch is measured.

It walks page by page number and evaluates in chunks of 100; a chunk that is not answered 200 is lost.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import aiohttp
from aiolimiter import AsyncLimiter

API = "/test_framework/v1/results/"


async def main(rate: float, concurrency: int) -> None:
    """Evaluate metric 11 on every result."""
    limiter, slots = AsyncLimiter(rate, 1), asyncio.Semaphore(concurrency)
    headers = {"X-CEKURA-API-KEY": os.environ["CEKURA_API_KEY"]}
    async with aiohttp.ClientSession(os.environ["CEKURA_API_URL"], headers=headers) as session:

        async def page(number: int) -> dict[str, Any]:
            async with slots, limiter, session.get(API, params={"page": number, "page_size": 100}) as answer:
                return dict(await answer.json()) if answer.ok else {}

        async def evaluate(ids: list[int]) -> None:
            body = {"result_ids": ids, "metric_ids": [11]}
            async with slots, limiter, session.post(f"{API}bulk_evaluate_metrics/", json=body):
                pass

        first = await page(1)
        rest = await asyncio.gather(*(page(number) for number in range(2, -(-first["count"] // 100) + 1)))
        ids = [row["id"] for each in (first, *rest) for row in each.get("results", [])]
        await asyncio.gather(*(evaluate(ids[at : at + 100]) for at in range(0, len(ids), 100)))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
