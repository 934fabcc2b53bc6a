"""Chance that repeats: every throw is a hash of the seed, of what it decides, and of a counter."""

from hashlib import blake2b

from .settings import Settings

BEFORE = ("reset_before", "hang", "errors")
AFTER = ("reset_after", "hang_after", "errors_after", "truncate")


def roll(seed: int, number: int, name: str) -> float:
    """A number from 0 to below 1, the same for the same three."""
    digest = blake2b(f"{seed}:{number}:{name}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48


def draw(settings: Settings, seed: int, number: int, method: str) -> str | None:
    """The fault that befalls request `number`, if any; at most one does."""
    kind = "reads" if method in {"GET", "HEAD", "OPTIONS"} else "writes"
    if settings.only not in {"all", kind}:
        return None
    for name in BEFORE + AFTER:
        chance = getattr(settings, name)
        if chance and roll(seed, number, name) < chance:
            return name
    return None
