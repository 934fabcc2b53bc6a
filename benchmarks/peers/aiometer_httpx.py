"""aiometer and httpx: `amap` with a rate and a number at once. What fails is counted and not tried again."""

from __future__ import annotations

import os
import sys
from typing import Any

import aiometer
import anyio
import httpx

API = "/test_framework/v1/results/"


async def main(rate: float, concurrency: int) -> bool:
    """Evaluate metric 11 on every result; whether all went well."""
    failures = 0
    headers = {"X-CEKURA-API-KEY": os.environ["CEKURA_API_KEY"]}
    async with httpx.AsyncClient(base_url=os.environ["CEKURA_API_URL"], headers=headers) as client:

        async def send(request: httpx.Request) -> Any:
            nonlocal failures
            try:
                answer = await client.send(request)
                answer.raise_for_status()
            except httpx.HTTPError:
                failures += 1
                return {}
            return answer.json() if answer.content else {}

        async def every(requests: list[httpx.Request]) -> list[Any]:
            metered = aiometer.amap(send, requests, max_per_second=rate, max_at_once=concurrency)
            async with metered as answers:
                return [answer async for answer in answers]

        def page(number: int) -> httpx.Request:
            return client.build_request("GET", API, params={"page": number, "page_size": 100})

        def evaluation(ids: list[int]) -> httpx.Request:
            body = {"result_ids": ids, "metric_ids": [11]}
            return client.build_request("POST", f"{API}bulk_evaluate_metrics/", json=body)

        first = await send(page(1))
        rest = await every([page(number) for number in range(2, -(-first["count"] // 100) + 1)])
        ids = [row["id"] for each in (first, *rest) for row in each.get("results", [])]
        await every([evaluation(ids[at : at + 100]) for at in range(0, len(ids), 100)])
    return not failures


if __name__ == "__main__":
    sys.exit(not anyio.run(main, float(sys.argv[1]), int(sys.argv[2])))
