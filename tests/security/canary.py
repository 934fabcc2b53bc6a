"""A key that is looked for in every form in which it could get out, and text that means harm to whoever shows it."""

from __future__ import annotations

import html
import json
import unicodedata
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

CORE = "9f3e2c1Zq7"  # in no other word: what is left of a form that was cut in part
KEY = f"CANARY-{CORE}+/=%\"'&<\\~{CORE}x"
TOKENS = ("access-token-4b7d90aa+/", "refresh-token-77c0e1ff+/")

HOSTILE = "\x1b[2J\x1b]8;;http://x\x07\x9b31m\u202egnp.exe\u2066\u200b\x00\r\n=cmd|`a`;=1+1<script>"


def forms(secret: str) -> dict[str, str]:
    """The secret in every form that counts, by name; made without the code that is tested."""
    wrapped = [b"x" * shift + secret.encode() + b"yz" for shift in range(3)]
    return {
        "raw": secret,
        "percent": quote(secret, safe=""),
        "percent lower": quote(secret, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
        "percent all": "".join(f"%{ord(char):02X}" for char in secret),
        "json": json.dumps(secret)[1:-1],
        "json solidus": json.dumps(secret)[1:-1].replace("/", "\\/"),
        "json unicode": "".join(f"\\u{ord(char):04x}" for char in secret),
        "json unicode upper": "".join(f"\\u{ord(char):04X}" for char in secret),
        "html": html.escape(secret),
        "entities": "".join(f"&#{ord(char)};" for char in secret),
        "hex entities": "".join(f"&#x{ord(char):X};" for char in secret),
        "repr": repr(secret)[1:-1],
        "repr of bytes": repr(secret.encode())[2:-1],
        "repr of repr": repr(repr(secret.encode()))[3:-2],
        **{f"base64 {shift}": b64encode(text).decode() for shift, text in enumerate(wrapped)},
        **{f"base64 for URLs {shift}": urlsafe_b64encode(text).decode() for shift, text in enumerate(wrapped)},
    }


def leaks(said: bytes) -> list[str]:
    """The forms in which the key, or a token of the login file, stands in what was said or written."""
    found = [] if CORE.lower().encode() not in said.lower() else ["a part of it"]
    for secret in (KEY, *TOKENS):
        for name, form in forms(secret).items():
            # Of base64 the first and last digits depend on what stands around.
            needle = form[4:-4] if name.startswith("base64") else form
            if needle.encode() in said:
                found.append(f"{secret[:6]}…: {name}")
    return found


def harmful(said: str) -> list[str]:
    """Characters that could move a cursor, turn the writing, or hide."""
    return [
        f"{ord(char):04x}"
        for char in said
        if char != "\n" and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    ]
