"""A real sandbox in a process of its own, and how to talk to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp

V1 = "/test_framework/v1"


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Sandbox:
    """A running sandbox and how to talk to it; each request has a connection of its own."""

    url: str
    key: str
    facts: dict[str, Any]
    process: subprocess.Popen[str]

    async def send(self, method: str, path: str, *, timeout_s: float = 10, **details: Any) -> Answer:
        """Send any request, with the key unless headers are given."""
        details.setdefault("headers", {"X-CEKURA-API-KEY": self.key})
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, self.url + path, **details) as response,
        ):
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **query: Any) -> Answer:
        """GET an API path."""
        return await self.send("GET", V1 + path, params=query)

    async def post(self, path: str, body: object, **details: Any) -> Answer:
        """POST JSON to an API path."""
        return await self.send("POST", V1 + path, json=body, **details)

    async def results(self, **query: Any) -> list[dict[str, Any]]:
        """One page of results."""
        return list((await self.get("/results/", page_size=100, **query)).json["results"])

    async def audit(self, part: str = "", **query: Any) -> Any:
        """What really happened."""
        return (await self.send("GET", f"/sandbox/audit{part}", params=query)).json

    async def change(self, **settings: object) -> Answer:
        """Change settings."""
        return await self.send("PATCH", "/sandbox/faults", json=settings)


Start = Callable[..., Sandbox]


@contextmanager
def running(*options: str) -> Iterator[Sandbox]:
    """A sandbox process that ends with the block, or with us however we end."""
    command = [
        sys.executable,
        "-m",
        "jobs.cli.sandbox_command",
        "--port=0",
        "--json",
        "--die-with-parent",
        *options,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        yield Sandbox(facts["url"], facts["key"], facts, process)
        process.stdin.close()
        assert process.wait(10) in {0, -9}, "it ended by itself, or a test killed it"
