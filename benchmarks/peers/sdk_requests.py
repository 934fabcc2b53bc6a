"""The vendor's SDK in a loop that does nothing else.

`sdk_requests.py pages 100` gets pages, `chunks 100` posts chunks of 100 ids, one after the other; with `async` behind it
the SDK's other client does, 32 at once.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from cekura import AsyncCekura, Cekura

AT_ONCE = 32
EVALUATE = "/test_framework/v1/results/bulk_evaluate_metrics/"


def one_by_one(what: str, number: int) -> None:
    """Send so many requests."""
    with Cekura() as client:
        for each in range(number):
            _send(client, what, each)


async def at_once(what: str, number: int) -> None:
    """The same, several under way."""
    numbers = iter(range(number))
    async with AsyncCekura() as client:

        async def worker() -> None:
            for each in numbers:
                await _send(client, what, each)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def _send(client: Any, what: str, each: int) -> Any:
    if what == "pages":
        return client.results.list(page=each % 100 + 1, page_size=100)
    first = 1_000_000 + 100 * (each % 100)
    body = {"result_ids": list(range(first, first + 100)), "metric_ids": [11]}
    return client._http.request("POST", EVALUATE, json_body=body)  # noqa: SLF001 - it has no method for this


if __name__ == "__main__":
    if sys.argv[3:] == ["async"]:
        asyncio.run(at_once(sys.argv[1], int(sys.argv[2])))
    else:
        one_by_one(sys.argv[1], int(sys.argv[2]))
