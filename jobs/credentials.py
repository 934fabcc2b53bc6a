"""Which key to use and where to send it: the environment first, then the vendor's login file.

The login file (`~/.cekura/config.toml`, written by `cekura auth login`) has sorted `key = "value"` lines whose values
are not escaped, so it is not reliably TOML and is read line by line; its address is `api_url`, or `base_url` by its README.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from engine.errors import CredentialsError, UsageError
from engine.text import harmless

from .api import KEY_HEADER, ORIGIN

LOGIN_FILE = Path("~/.cekura/config.toml")
_LINE = re.compile(r'^\s*(\w+)\s*=\s*(?:"(.*)"|([^"#]*?))\s*(?:#.*)?$')
_SECRET = ("api_key", "access_token", "refresh_token")
_SHORTEST = 8  # characters: what is shorter is no key, and would be cut out of words
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key, the origin it may be sent to, and where it was found. The key is in no representation of this."""

    key: str = field(repr=False)
    origin: str
    source: str

    @property
    def headers(self) -> dict[str, str]:
        """The header that carries the key."""
        return {KEY_HEADER: self.key}


def find(api_url: str | None = None, environment: Mapping[str, str] = os.environ) -> Credentials:
    """The credentials in use. Raises CredentialsError without a key, UsageError for an address that must not get it."""
    for name in ("CEKURA_API_KEY", "CEKURA_API_URL"):
        if name in environment and not environment[name].strip():
            raise CredentialsError(f"{name} is set, but empty.", "Set it, or unset it.")
    login = _login_file(LOGIN_FILE)
    if key := environment.get("CEKURA_API_KEY", "").strip():
        source = "CEKURA_API_KEY"
    elif key := login.get("api_key", "").strip():
        source = str(LOGIN_FILE)
    else:
        raise CredentialsError("No API key was found.", "Set CEKURA_API_KEY, or log in with: cekura auth login")
    address = api_url or environment.get("CEKURA_API_URL") or login.get("api_url") or login.get("base_url") or ORIGIN
    return given(key, address, source)


def given(key: str, address: str | None, source: str = "the program") -> Credentials:
    """A key that somebody has handed over, for an address or the vendor's own. Raises as `find` does."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CredentialsError(f"The API key of {source} has characters that no key has.", "Copy it anew.")
    return Credentials(key, origin_of(address or ORIGIN), source)


def secrets(environment: Mapping[str, str] = os.environ) -> set[str]:
    """Everything that must not be shown, whether or not it can be used as a key."""
    login = _login_file(LOGIN_FILE)
    known = [environment.get("CEKURA_API_KEY", ""), *(login.get(name, "") for name in _SECRET)]
    parts = {part for value in known for part in (value.strip(), *value.split())}
    return {part for part in parts if len(part) >= _SHORTEST and part.isascii()}


def origin_of(address: str) -> str:
    """Scheme, host and port of an address; plain HTTP is for this machine alone. Raises UsageError."""
    try:
        parts = urlsplit(address.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    more = "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in {"http", "https"} or not host or more:
        shown = re.split(r"[?#]", harmless(address))[0] if "@" not in address else "(with a user name in it)"
        raise UsageError(
            f"The API address “{shown}” is not of the form https://host.",
            "Check CEKURA_API_URL or --api-url.",
        )
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise UsageError(f"The API key is not sent over plain HTTP to {host}.", "Use https://.")
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}" + (f":{port}" if port is not None else "")


def _login_file(path: Path) -> dict[str, str]:
    try:
        text = path.expanduser().read_text(encoding="utf-8", errors="replace")
    except (OSError, RuntimeError):  # no such file, or no home
        return {}
    return {match[1]: match[2] or match[3] or "" for line in text.splitlines() if (match := _LINE.match(line))}
