"""Narrowing a refused chunk down to the items it was refused for, so that the innocent go through.

A refusal that names ids costs one more request; one that does not is halved, at most 14 more for one bad id of 100. Never
halved: what is not about items (balance, metrics, credentials). Half a batch may be affordable, and would spend the rest
of the balance on arbitrary items.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from .fates import MAX_DEPTH, MAX_ERROR_TEXT, ItemFate, Outcome
from .ledger import Chunk, Cut
from .text import harmless

MOST_BAD = 8  # bad items in one chunk of the plan, before it is given up
SAME_COMPLAINT = 3  # chunks of a group of which nothing went through, for one reason, before the group is given up
_NUMBER = re.compile(r"\d+")


class Narrower:
    """Remembers what was refused, so as to know when to give up. Of one process: whoever resumes brings new patience."""

    def __init__(self) -> None:
        """Nothing was refused yet."""
        self._bad: Counter[int] = Counter()  # by the chunk of the plan
        self._given_up: dict[int, str] = {}  # chunks of the plan, and why
        self._groups: dict[int, str] = {}  # groups of which nothing more is sent, and why
        self._complaints: defaultdict[tuple[int, str], set[int]] = defaultdict(set)

    def cut(self, chunk: Chunk, outcome: Outcome, body: bytes, *, about_items: bool) -> Cut:
        """Decide what becomes of a chunk that was refused with `outcome`."""
        if not about_items:
            self._complain(chunk, outcome)
            return Cut(rest=outcome.error)
        failed = named(chunk.ids, outcome, body)
        if not failed and len(chunk.ids) == 1:
            failed = {chunk.ids[0]: outcome.error or "refused"}
        left = tuple(item for item in chunk.ids if item not in failed)
        self._bad[chunk.root] += len(failed)
        if self._bad[chunk.root] > MOST_BAD:
            why = f"given up: more than {MOST_BAD} items of its batch were refused ({outcome.error})"
            self._given_up[chunk.root] = why
            self._complain(chunk, outcome)
            return Cut(failed, rest=why)
        if failed:
            return Cut(failed, (left,) if left else ())
        middle = len(left) // 2
        return Cut(parts=(left[:middle], left[middle:]))

    def refusal(self, chunk: Chunk) -> tuple[ItemFate, str] | None:
        """Why a chunk is not worth sending any more, and what its items become; None if it is."""
        if why := self._given_up.get(chunk.root):
            return ItemFate.FAILED, why
        if why := self._groups.get(chunk.group):
            return ItemFate.SKIPPED, why
        return None

    def _complain(self, chunk: Chunk, outcome: Outcome) -> None:
        """Note that a chunk of the plan was refused for good."""
        complaint = outcome.error or ""
        same = self._complaints[chunk.group, _NUMBER.sub("#", complaint)]
        same.add(chunk.root)
        if len(same) >= SAME_COMPLAINT:
            self._groups[chunk.group] = f"not sent: {len(same)} batches like it were refused ({complaint})"


def named(ids: Sequence[int], outcome: Outcome, body: bytes) -> dict[int, str]:
    """The items that a refusal names, by id or, as DRF does for lists, by place; each with what is said of it."""
    try:
        problem = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    known = frozenset(ids)
    found: dict[int, str] = {}
    for place, message in _messages(problem, None, 0):
        if place is None:
            told = [item for item in map(int, _NUMBER.findall(message[:1_000_000])) if item in known]
        else:
            told = [ids[place]] if place < len(ids) else []
        words = harmless(f"{outcome.status}: {message}"[:MAX_ERROR_TEXT])
        found |= {item: words for item in told if item not in found}
    return found


def _messages(problem: Any, place: int | None, depth: int) -> Iterator[tuple[int | None, str]]:
    """Every message, with the place in a list that it stands under: `{"result_ids": {"3": ["…"]}}`."""
    if depth > MAX_DEPTH:
        return
    if isinstance(problem, dict):
        places = depth > 0 and all(key.isascii() and key.isdigit() for key in problem)
        for key, value in problem.items():
            yield from _messages(value, int(key[:9]) if places else place, depth + 1)
    elif isinstance(problem, list):
        for value in problem:
            yield from _messages(value, place, depth + 1)
    elif isinstance(problem, str):
        yield place, problem
