"""The vendor's SDK in a loop that does nothing else: `sdk_requests.py pages 100` gets pages, `chunks 100` posts chunks of 100 ids."""

from __future__ import annotations

import sys

from cekura import Cekura

EVALUATE = "/test_framework/v1/results/bulk_evaluate_metrics/"


def main(what: str, number: int) -> None:
    """Send so many requests."""
    with Cekura() as client:
        for each in range(number):
            if what == "pages":
                client.results.list(page=each % 100 + 1, page_size=100)
            else:
                first = 1_000_000 + 100 * (each % 100)
                body = {"result_ids": list(range(first, first + 100)), "metric_ids": [11]}
                client._http.request("POST", EVALUATE, json_body=body)  # noqa: SLF001 - it has no method for this


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
