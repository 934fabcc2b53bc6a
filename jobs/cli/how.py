"""How a job is to be carried out and told of: the options that `run` and `resume` share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

import rich_click as click

from engine.ledger import PLAN_TTL_S
from engine.units import parse_duration

Decision = Literal["release", "retry"]


@dataclass(frozen=True, slots=True)
class How:
    """`yes` answers every question; without `wait` a job ends while the service may still be at work for it.

    A plan older than `plan_ttl_s` is not begun. `decide` is what a person has decided about held items. `style` and
    `items` say how the report is printed.
    """

    yes: bool = False
    wait: bool = True
    plan_ttl_s: float = PLAN_TTL_S
    decide: Decision | None = None
    style: str = "table"
    items: bool = False


def _seconds(_ctx: click.Context, _option: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value).total_seconds()
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


FORMAT = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json"]),
    default="table",
    help="Of what is printed on stdout.",
)
_OPTIONS = (
    click.option("-y", "--yes", is_flag=True, help="Agree to the plan: for automation."),
    FORMAT,
    click.option("--items", is_flag=True, help="With --format json: every item, too."),
    click.option(
        "--plan-ttl",
        "plan_ttl_s",
        metavar="DURATION",
        default="24h",
        show_default=True,
        callback=_seconds,
        help="How old a plan may be when it is begun.",
    ),
    click.option(
        "--wait/--no-wait",
        default=True,
        help="Wait until the service is done with what it took (the default), or look once.",
    ),
)


def how_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options; it receives them as one argument, `how`."""

    @wraps(command)
    def packed(*args: Any, **given: Any) -> Any:
        how = {name: given.pop(name) for name in ("yes", "wait", "plan_ttl_s", "style", "items")}
        return command(*args, how=How(**how), **given)

    for option in reversed(_OPTIONS):
        packed = option(packed)
    return packed
