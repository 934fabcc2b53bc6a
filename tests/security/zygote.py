"""Starts the real command many times in little time: everything is imported once, and each command is a fork of this.

Reads a JSON line for each command, and answers with its exit code and its largest resident size in KiB.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

DEADLINE_S = 20
MODULES = (
    "aiohttp", "apsw", "anyio._backends._asyncio", "engine.job", "engine.spec", "jobs.cli.carrying", "jobs.cli.job_commands", "jobs.cli.look_commands", "jobs.cli.main",
    "jobs.cli.spec_commands", "jobs.kinds.delete_results", "jobs.kinds.evaluate_metrics", "jobs.results",
)  # fmt: skip


def become(order: dict[str, Any]) -> None:
    """Be the command, in its own environment, with its own files for a voice."""
    for number, name in enumerate(("in", "out", "err")):
        flags = os.O_RDONLY if name == "in" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(order[name], flags, 0o600), number)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(":"))
    os.chdir(order["cwd"])
    os.umask(order["umask"])
    signal.alarm(DEADLINE_S)
    sys.argv = ["rebatch", *order["arguments"]]
    if births := order["births"]:
        _write_down_births(Path(births))


def _write_down_births(log: Path) -> None:
    """Of each file that is about to get its mode: the mode it has had since it was made."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.chmod" and isinstance(arguments[0], int):
            name = Path(f"/proc/self/fd/{arguments[0]}").readlink()
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{os.fstat(arguments[0]).st_mode & 0o777:o} {name}\n")

    sys.addaudithook(hook)


def main() -> bool:
    """Serve until there are no more orders; True in a child, which is the command from then on."""
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            become(order)
            return True
        _, status, usage = os.wait4(child, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "maxrss": usage.ru_maxrss}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return False


if __name__ == "__main__":
    for module in MODULES:
        import_module(module)
    gc.freeze()
    if main():
        import_module("jobs.cli.main").main()
