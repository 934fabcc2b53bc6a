"""Text from elsewhere, made harmless: what a service says may end up in a terminal, a table or a spreadsheet."""

from __future__ import annotations

import re
import unicodedata

_UNSAFE = {
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Cn",
    "Zl",
    "Zp",
}  # control, format (bidi marks among them), surrogates, unassigned
_FORMULA = re.compile(r"(^|;) *(?=[=+\-@\t\r\n＝＋－＠])")  # full-width signs count where Japanese is the language


def harmless(text: str) -> str:
    """One line of printable text: every character that could move a cursor or turn the writing shows as its code."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"<{ord(char):04x}>" if unicodedata.category(char) in _UNSAFE else char for char in text)


def spreadsheet(text: str) -> str:
    """Text for a CSV cell: what a spreadsheet would take for a formula begins with an apostrophe (OWASP, CSV injection).

    After a semicolon, too: where the comma is for decimals, that is what separates cells, whatever is quoted.
    """
    return _FORMULA.sub(r"\g<0>'", text)
