"""What the addresses of `notify` take from the environment."""

from __future__ import annotations

from engine.notices.notify import secrets, variables

ADDRESSES = ["${B}", "https://example.org/${A}/${B}", "https://example.org/"]


def test_the_variables_of_addresses_are_named_once_each_in_their_order() -> None:
    """For whoever must set them."""
    assert variables(ADDRESSES) == ["B", "A"]


def test_what_the_variables_hold_is_known_as_secret() -> None:
    """As it is used: without blanks around it; what is not set is none."""
    assert secrets(ADDRESSES, {"A": " one ", "B": "", "C": "three"}) == {"one"}
