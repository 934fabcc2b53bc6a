"""A bare loop of aiohttp, tuned, that does nothing else: the least that a client of this sort can take.

`bare.py pages 1000` gets pages, `decoded` decodes them too, `chunks 1000` posts chunks of 100 ids; 32 at once.
"""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp
import orjson
import uvloop
from yarl import URL

AT_ONCE = 32
LIST = URL(f"{os.environ['CEKURA_API_URL']}/test_framework/v1/results/")
HEADERS = {"X-CEKURA-API-KEY": os.environ["CEKURA_API_KEY"], "Content-Type": "application/json"}


async def main(what: str, number: int) -> None:
    """Send so many requests."""
    numbers = iter(range(number))
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    jar, never = aiohttp.DummyCookieJar(), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS, cookie_jar=jar, timeout=never) as session:

        async def get() -> None:
            for each in numbers:
                async with session.get(LIST, params={"page": str(each % 100 + 1), "page_size": "100"}) as answer:
                    body = await answer.read()
                    if what == "decoded":
                        orjson.loads(body)

        async def post() -> None:
            target = LIST / "bulk_evaluate_metrics/"
            for each in numbers:
                first = 1_000_000 + 100 * (each % 100)
                body = orjson.dumps({"result_ids": list(range(first, first + 100)), "metric_ids": [11]})
                async with session.post(target, data=body) as answer:
                    await answer.read()

        await asyncio.gather(*((post if what == "chunks" else get)() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
