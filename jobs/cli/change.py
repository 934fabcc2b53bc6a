"""Before and after as a person reads it. Pure: from what a report says to lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .words import word


def change_text(change: Mapping[str, Any] | None) -> list[str]:
    """What a job changed, and whom most."""
    if change is None:
        return []
    whole = f"{change['before']:.3f} → {change['after']:.3f} over {change['items']:,} confirmed"
    numbers = f"{change['improved']:,} improved, {change['fell']:,} fell, {change['stayed']:,} stayed"
    lines = [f"  {change['measure']}  {whole}: {numbers}"]
    for words, movers in zip(("most improved", "most fallen"), _sides(change), strict=True):
        listed = ", ".join(f"{mover['id']} {moved(mover)}" for mover in movers)
        lines += [f"    {words + ':':15}{listed}"] if movers else []
    return lines


def change_markdown(change: Mapping[str, Any] | None) -> list[str]:
    """The same as tables."""
    if change is None:
        return []
    cells = (f"{change['before']:.3f} → {change['after']:.3f}", *(f"{change[name]:,}" for name in _NUMBERS))
    movers = [
        f"| {word(str(mover['id']))} | {mover['before']:.2f} | {mover['after']:.2f} |" for mover in change["movers"]
    ]
    return [
        "",
        f"| {' | '.join((word(change['measure']), *_NUMBERS))} |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| {' | '.join(cells)} |",
        *(["", "| largest movers | before | after |", "| ---: | ---: | ---: |", *movers] if movers else []),
    ]


def moved(item: Mapping[str, Any]) -> str:
    """One item's measure before and after."""
    return f"{item['before']:.2f} → {item['after']:.2f}"


_NUMBERS = ("items", "improved", "fell", "stayed")


def _sides(change: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """The movers that improved, and those that fell."""
    movers = change["movers"]
    return [m for m in movers if m["after"] > m["before"]], [m for m in movers if m["after"] < m["before"]]
