"""The command without one of its optimisations, to see what each is worth: `python -m benchmarks.without uvloop plan spec.yaml`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import anyio

from engine import plansql
from engine.checkpoint import Checkpoint
from engine.kind import Page
from jobs.cli import loop
from jobs.cli.main import main
from jobs.results import Results


def uvloop() -> None:
    """On the event loop that Python brings."""

    def run(main: Any, *args: Any, **_options: Any) -> Any:
        return anyio.run(main, *args)

    vars(loop)["anyio"] = SimpleNamespace(run=run)


def frozen_imports() -> None:
    """Garbage is looked for as Python does by itself."""
    vars(loop)["gc"] = SimpleNamespace(freeze=lambda: None, set_threshold=lambda _new: None)


def skimming() -> None:
    """Every page is decoded whole, by orjson."""

    def whole(self: Results, fields: Collection[str]) -> Callable[[bytes], Page]:  # noqa: ARG001 - all of them
        return self.read_page

    Results.reader = whole  # type: ignore[method-assign]


def jotting() -> None:
    """Rows of the walk are written like what must be durable: in another thread, with a commit that is synced."""
    Checkpoint.jot = Checkpoint.write  # type: ignore[method-assign]


def keys_in_order() -> None:
    """Rows of the walk have their id for a key, and come from its end."""
    vars(plansql)["SEE"] = plansql.SEE.replace("-?", "?")


OPTIMISATIONS = {
    "uvloop": uvloop,
    "frozen imports": frozen_imports,
    "skimming": skimming,
    "jotting": jotting,
    "keys in order": keys_in_order,
}
OF_PAGES = {"skimming", "jotting", "keys in order"}  # these concern walks alone

if __name__ == "__main__":
    OPTIMISATIONS[sys.argv.pop(1)]()
    main()
