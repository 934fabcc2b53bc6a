"""The script that one writes in an afternoon: aiohttp, `AsyncLimiter(rate, 1)`, gather.

It walks page by page number and evaluates in chunks of 100; what is not answered, or not 200, is counted and lost.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import aiohttp
from aiolimiter import AsyncLimiter

API = "/test_framework/v1/results/"


async def main(rate: float, concurrency: int) -> bool:
    """Evaluate metric 11 on every result; whether all went well."""
    limiter, slots, failures = AsyncLimiter(rate, 1), asyncio.Semaphore(concurrency), 0
    headers = {"X-CEKURA-API-KEY": os.environ["CEKURA_API_KEY"]}
    async with aiohttp.ClientSession(os.environ["CEKURA_API_URL"], headers=headers, raise_for_status=True) as session:

        async def send(method: str, path: str, **options: Any) -> Any:
            nonlocal failures
            try:
                async with slots, limiter, session.request(method, path, **options) as answer:
                    return await answer.json()
            except aiohttp.ClientError:
                failures += 1
                return {}

        async def page(number: int) -> Any:
            return await send("GET", API, params={"page": number, "page_size": 100})

        async def evaluate(ids: list[int]) -> None:
            await send("POST", f"{API}bulk_evaluate_metrics/", json={"result_ids": ids, "metric_ids": [11]})

        first = await page(1)
        rest = await asyncio.gather(*(page(number) for number in range(2, -(-first["count"] // 100) + 1)))
        ids = [row["id"] for each in (first, *rest) for row in each.get("results", [])]
        await asyncio.gather(*(evaluate(ids[at : at + 100]) for at in range(0, len(ids), 100)))
    return not failures


if __name__ == "__main__":
    sys.exit(not asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]))))
