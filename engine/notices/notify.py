"""What a spec asks to be told of, and where to: `notify: [{on: [failure], urls: ["${SLACK_WEBHOOK_URL}"]}]`. Pure.

A secret stands only in the environment: a spec, a checkpoint and the book hold `${NAME}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from ..kind import Strict

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_HOSTS = ("hooks.slack.com", "discord.com", "discordapp.com", "webhook.office.com", "api.telegram.org")
WEB = ("http", "https")


class Event(StrEnum):
    """What can be told of."""

    FAILURE = "failure"  # stopped, an error, items failed, a deadline
    HELD = "held"
    GUARD = "guard"
    MISSED = "missed"
    SUCCESS = "success"
    CHANGED = "changed"  # another outcome than the job before


def _address(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value or not value:
        raise ValueError("this is no address; write https://… or ${NAME} for one in the environment")
    bare = _VARIABLE.sub("", value)
    if "${" in bare or "$" in bare:
        raise ValueError(f"“{value}”: a variable of the environment is written ${{NAME}}")
    if _VARIABLE.match(value):
        return value
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("this is no address; write https://… or ${NAME} for one in the environment") from None
    if parts.scheme not in WEB or not host:
        raise ValueError("only http(s) addresses stand in a spec; any other holds a secret: write ${NAME}")
    secret = "@" in parts.netloc or any(host == each or host.endswith("." + each) for each in _SECRET_HOSTS)
    if secret and not _VARIABLE.search(value):
        raise ValueError(
            "this address holds a secret, and specs are kept: write ${NAME}, and set NAME in the environment"
        )
    return value


Address = Annotated[str, AfterValidator(_address)]


class Notify(Strict):
    """Whom to tell of what."""

    on: list[Annotated[Event, Field(strict=False)]] = Field([], description="Of what `urls` are told.")
    urls: list[Address] = Field([], description="Webhooks (http, https), or whatever apprise knows, as ${NAME}.")
    ping: Address | None = Field(
        None, description="A heartbeat: told of each start, success and failure as healthchecks.io defines it."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.urls and self.ping is None:
            raise ValueError("“urls” or “ping” is needed")
        if bool(self.urls) != bool(self.on):
            raise ValueError("“on” and “urls” belong together")
        return self


class UnsetError(Exception):
    """A variable that an address names is not set. The message names it."""


def resolve(address: str, environment: Mapping[str, str]) -> str:
    """The address with what the environment holds in place of `${NAME}`. Raises UnsetError."""

    def value(match: re.Match[str]) -> str:
        if not (found := environment.get(match[1], "").strip()):
            raise UnsetError(f"{match[1]} is not set")
        return found

    return _VARIABLE.sub(value, address)


def secrets(addresses: Iterable[str], environment: Mapping[str, str]) -> set[str]:
    """What the environment holds for these addresses, so that it can be cut out of whatever is said."""
    names = {name for address in addresses for name in _VARIABLE.findall(address)}
    return {found for name in names if (found := environment.get(name, "").strip())}
