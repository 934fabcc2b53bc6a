"""What a spec asks to be told of, and where to: `notify: [{on: [failure], urls: ["${SLACK_WEBHOOK_URL}"]}]`. Pure.

A secret stands only in the environment: a spec, a checkpoint and the book hold `${NAME}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, model_validator

from ..kind import Strict

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_ONLY_VARIABLES = re.compile(rf"(?:[^:]*:)?(?:{_VARIABLE.pattern})+")  # of `user:password`: the user may stand there
# Whoever knows the address may write there. In others the token stands out by itself.
_SECRET_HOSTS = (
    "hooks.slack.com",
    "discord.com",
    "discordapp.com",
    "webhook.office.com",
    "logic.azure.com",
    "api.telegram.org",
    "chat.googleapis.com",
    "hooks.zapier.com",
    "maker.ifttt.com",
    "hc-ping.com",
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_RUN = re.compile(r"[A-Za-z0-9]{16,}")  # a token if there are letters and digits in it; words have no digits
_PARAMETER = re.compile(r"([^?&;=]*)=([^&;#]*)")
_SECRET_NAME = re.compile(r"(?:token|key|secret|sig|signature|passw(?:or)?d|pass|pwd|auth|code)$", re.IGNORECASE)
_SHORTEST = 8  # part of an address that is cut out of what is said: shorter, it would be found by chance
_NO_ADDRESS = "this is no address; write https://… or ${NAME} for one in the environment"
_SECRET = "this address holds a secret, and specs are kept: write ${NAME}, and set NAME in the environment"  # noqa: S105 - words about secrets
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
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(_NO_ADDRESS)
    if "$" in _VARIABLE.sub("", value):  # the address is not repeated: what should be a variable may be a secret
        raise ValueError("a variable of the environment is written ${NAME}, and $ itself %24")
    literal = _VARIABLE.sub(" ", value)
    if _VARIABLE.match(value):
        if "://" in literal:
            raise ValueError("write all of an address as ${NAME}, or what comes after https://")
        secret = "@" in literal
    else:
        secret = _web_secret(value)
    if secret or next(_tokens(literal), None):
        raise ValueError(_SECRET)
    return value


def _web_secret(value: str) -> bool:
    """Whether an address that begins with its scheme holds a secret where such addresses have one."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        if not _VARIABLE.search(parts.netloc):
            _ = parts.port  # it raises
    except ValueError:
        raise ValueError(_NO_ADDRESS) from None
    if parts.scheme not in WEB or not host:
        raise ValueError("only http(s) addresses stand in a spec; any other holds a secret: write ${NAME}")
    user, at, _host = parts.netloc.rpartition("@")
    if at and not _ONLY_VARIABLES.fullmatch(user):
        return True
    known = any(host == each or host.endswith("." + each) for each in _SECRET_HOSTS)
    return known and not _VARIABLE.search(parts.path + parts.query)


def _tokens(text: str) -> Iterator[str]:
    """What looks like a secret in an address: random characters, and parameters that are called so."""
    yield from _UUID.findall(text)
    for run in _RUN.findall(text):
        if not run.isalpha() and not run.isdigit():
            yield run
    for name, value in _PARAMETER.findall(text.partition("?")[2]):
        if value.strip() and _SECRET_NAME.search(name):
            yield value.strip()


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


def variables(addresses: Iterable[str]) -> list[str]:
    """The names of the environment's variables that these addresses take, each once, in their order."""
    return list(dict.fromkeys(name for address in addresses for name in _VARIABLE.findall(address)))


def secrets(addresses: Iterable[str], environment: Mapping[str, str]) -> set[str]:
    """What the environment holds for these addresses, so that it can be cut out of whatever is said.

    Of what is an address itself, its password and tokens too: a library may name no more of it than a path.
    """
    found = {value for name in variables(addresses) if (value := environment.get(name, "").strip())}
    return found.union(*map(_parts, found))


def _parts(value: str) -> set[str]:
    try:
        password = urlsplit(value).password or ""
    except ValueError:
        password = ""
    return {part for part in (password, unquote(password), *_tokens(value)) if len(part) >= _SHORTEST}
