"""Cutting secrets out of text and bytes, in every form in which a service or a library may repeat them.

A body can hold a secret as it is, percent-encoded, as JSON or HTML writes it, as Python's `repr`, mixed, or in base64.
What a hostile service makes of it beyond that, say by encoding it twice, nobody can recognise: but such a service has
the secret already.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from functools import cached_property

REDACTED = "(secret)"
_ANY_ESCAPE = ("\\", "%", "&")
_ESCAPE = r"%[2-7]|\\u00[2-7]|\\x[2-7]|&#"  # of an ASCII character: without one there is no escaped form, and
_PUNCTUATION_ESCAPE = r"|\\[\"'/\\]|&[a-z]"  # most text has none; these are common, but few secrets need them
_PUNCTUATION = frozenset("\"'/\\<>&")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
_SHORTEST_BASE64 = 8  # of a secret: shorter, its base64 would be found by chance


class Redactor:
    """Replaces secrets by `REDACTED`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """`secrets` are ASCII texts; empty ones count for nothing."""
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        plain = dict.fromkeys(form for secret in self._secrets for form in (secret, *_base64(secret)))
        self._plain = [(form, form.encode()) for form in plain]

    def text(self, text: str) -> str:
        """The text without the secrets."""
        for form, _ in self._plain:
            if form in text:
                text = text.replace(form, REDACTED)
        if any(mark in text for mark in _ANY_ESCAPE) and self._secrets and re.search(self._mark, text):
            text = re.sub(self._escaped, REDACTED, text)
        return text

    def data(self, data: bytes) -> bytes:
        """The bytes without the secrets."""
        for _, form in self._plain:
            if form in data:
                data = data.replace(form, REDACTED.encode())
        if (
            any(mark.encode() in data for mark in _ANY_ESCAPE)
            and self._secrets
            and re.search(self._mark.encode(), data)
        ):
            data = re.sub(self._escaped.encode(), REDACTED.encode(), data)
        return data

    @cached_property
    def _mark(self) -> str:
        return _ESCAPE + (_PUNCTUATION_ESCAPE if _PUNCTUATION & set("".join(self._secrets)) else "")

    @cached_property
    def _escaped(self) -> str:
        return "|".join("".join(map(_any_form, secret)) for secret in self._secrets)


def _any_form(char: str) -> str:
    r"""A pattern for one character: `c`, `\c`, `%63`, `\x63`, `\u0063`, `&#99;`, `&#x63;`, `&lt;`."""
    code = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{ord(char):02x}")
    named = f"|{_HTML[char]}" if char in _HTML else ""
    # A secret's own backslash may be doubled; before any character some may come of a nested `repr`.
    return rf"(?:\\{{0,8}}{re.escape(char)}|%{code}|\\{{1,2}}(?:u00|x){code}|&#0*{ord(char)};|&#[xX]0*{code};{named})"


def _base64(secret: str) -> Iterable[str]:
    """What surely stands in the base64 of any text that holds the secret, for each of the three ways it can fall."""
    if len(secret) < _SHORTEST_BASE64:
        return
    for shift in range(3):
        bits = 8 * shift, 8 * (shift + len(secret))
        first, end = -(-bits[0] // 6), bits[1] // 6  # the digits that are made of the secret alone
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(b"\0" * shift + secret.encode() + b"\0\0")[first:end].decode()
