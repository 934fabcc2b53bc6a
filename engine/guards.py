"""What a plan must keep to before anything is changed. Pure: from numbers to the sentences of what trips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .ledger import Tally
from .spec import Guards

NARROW = "Narrow `scope` or `where`, or raise the guard if you mean it, and plan again."
LOWER = "Narrow `where`, or lower the guard if you mean it, and plan again."
LEAVE_OUT = "Leave out by `where` what does not tell its cost, or take the guard out if you accept not to know."
ACCEPT = (
    "Plan again when the list is quieter, or set `guards: {require_complete: false}` "
    "if you accept to miss items, or not to know."
)
DIGITS = 6  # of credits: prices are added up as floats, and 0.1 + 0.2 must keep within 0.3


@dataclass(frozen=True, slots=True)
class Tripped:
    """A guard that forbids a plan: what is so, and what a person can do."""

    sentence: str
    remedy: str


def check_guards(guards: Guards, found: Tally, unproven: str | None, *, irreversible: bool) -> list[Tripped]:
    """Every guard that a plan trips. `unproven` is why the list is not known to be whole, None when it is.

    A plan with nothing to do exceeds nothing and takes nothing away: only `require_complete` can forbid it.
    """
    tripped = list(_exceeded(guards, found)) if found.selected else []
    if unproven and guards.must_be_complete(irreversible=irreversible):
        sentence = f"It is not proven that the list was read completely ({unproven}); `guards: require_complete` asks for that."
        tripped.append(Tripped(sentence, ACCEPT))
    return tripped


def _exceeded(guards: Guards, found: Tally) -> Iterator[Tripped]:
    selected, in_scope = found.selected, found.in_scope
    if guards.max_items is not None and selected > guards.max_items:
        yield Tripped(f"The plan has {selected:,} items; `guards: max_items` allows {guards.max_items:,}.", NARROW)
    percent = 100 * selected / in_scope
    if guards.max_percent is not None and percent > guards.max_percent:
        share = f"The plan has {selected:,} of the {in_scope:,} items in scope, {percent:.1f} %"
        yield Tripped(f"{share}; `guards: max_percent` allows {guards.max_percent:g}.", NARROW)
    remaining = in_scope - selected
    if guards.min_remaining is not None and remaining < guards.min_remaining:
        left = f"The plan leaves {remaining:,} of the {in_scope:,} items in scope alone"
        yield Tripped(f"{left}; `guards: min_remaining` asks for {guards.min_remaining:,}.", LOWER)
    if guards.max_credits is not None:
        yield from _too_dear(guards.max_credits, found)


def _too_dear(most: float, found: Tally) -> Iterator[Tripped]:
    if round(found.credits, DIGITS) > most:
        what = f"The plan costs {show_credits(found)} credits"
        yield Tripped(f"{what}; `guards: max_credits` allows {most:,.10g}.", NARROW)
    if found.untold:
        which = f"Of the {found.selected:,} items of the plan, {found.untold:,} do not tell what they cost"
        yield Tripped(f"{which}; `guards: max_credits` allows {most:,.10g}.", LEAVE_OUT)


def show_credits(found: Tally) -> str:
    """The estimate as a person reads it: `about 543.2`, or `at least 540.1` when some items do not tell."""
    return f"{'at least' if found.untold else 'about'} {round(found.credits, DIGITS):,.10g}"
