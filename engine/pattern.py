"""Regular expressions that cannot take for ever: names are matched that somebody else has chosen.

Python's `re` tries every way to match, cannot be interrupted, and for `(a+)+$` there are 2 ** n ways in a name of n
letters. So a pattern that may repeat a choice is refused, and a text beyond reason is not matched. What is left takes at
most n ** (repetitions in a row + 1) steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from warnings import catch_warnings, simplefilter

from .errors import ServiceError

# There is no public way to see a pattern's structure.
_constants: Any = import_module("re._constants")
_parser: Any = import_module("re._parser")

MAX_TEXT = 1000  # characters
_FEW = 9  # times that a choice may be repeated
_REPEATS = {_constants.MAX_REPEAT, _constants.MIN_REPEAT}


def matcher(source: Any) -> Callable[[str], bool]:
    """A test whether a pattern is found anywhere in a text. Raises ValueError for what is no pattern, or a dangerous one."""
    try:
        with catch_warnings():
            simplefilter("error")
            pattern = re.compile(source)
            tree = _parser.parse(source)
    except (re.error, TypeError, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    repeats = _repeats(tree)
    if _repeats_a_choice(tree, 1):
        raise ValueError(
            "repeats what may itself match in several ways, as (a+)+ does: that can take for ever; write it simpler"
        )

    def found(text: str) -> bool:
        if repeats and len(text) > MAX_TEXT:
            raise ServiceError(
                f"The service sent a text of {len(text):,} characters, too long to be matched with a pattern.",
                "Select without “matches”.",
            )
        return pattern.search(text) is not None

    return found


def _repeats(tree: Any) -> bool:
    """Whether anything in it may be repeated; what may not is matched in no time, however long a text is."""
    return any(op in _REPEATS or any(map(_repeats, _below(argument))) for op, argument in tree)


def _repeats_a_choice(tree: Any, times: int) -> bool:
    """Whether something that can match in several ways stands in repetitions that come to more than a few times."""
    for op, argument in tree:
        inner = times
        choice = op is _constants.BRANCH
        if op in _REPEATS:
            least, most, _ = argument
            choice = least != most
            inner = times * max(1, min(int(most), _FEW + 1))
        if (choice and times > _FEW) or any(_repeats_a_choice(below, inner) for below in _below(argument)):
            return True
    return False


def _below(argument: Any) -> Iterator[Any]:
    """The patterns in the argument of an operation, in whatever tuples and lists they stand."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, tuple | list):
        for part in argument:
            yield from _below(part)
