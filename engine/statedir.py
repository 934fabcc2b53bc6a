"""Where checkpoints live, and which one a person means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from platformdirs import user_state_path

from .checkpoint import SUFFIX
from .errors import RebatchError, UsageError
from .jobledger import JobLedger


def default() -> Path:
    """The place that the system has for such files: `~/.local/state/rebatch` on Linux."""
    return user_state_path("rebatch")


def find(state_dir: Path, name: str) -> Path:
    """The checkpoint that an id, a unique prefix of one, or a path names. Raises UsageError."""
    if not name:
        raise UsageError(
            "A job is named by its id, the beginning of its id, or the path of its checkpoint; this is empty."
        )
    if name.endswith(SUFFIX) or "/" in name:
        return Path(name)
    matches = sorted(path for path in state_dir.glob(f"*{SUFFIX}") if path.stem.startswith(name))
    exact = [path for path in matches if path.stem == name]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        raise UsageError(
            f"“{name}” begins several jobs: {', '.join(path.stem for path in matches)}.", "Write more of it."
        )
    raise UsageError(f"There is no job “{name}” in {state_dir}.", "See: rebatch list")


def names_spec(state_dir: Path, word: str) -> bool:
    """Whether a word names a spec file rather than a job."""
    if word.endswith((".yaml", ".yml")):
        return True
    return Path(word).is_file() and not word.endswith(SUFFIX) and not (state_dir / (word + SUFFIX)).exists()


def jobs(state_dir: Path, unreadable: Callable[[str], None] = lambda _why: None) -> list[JobLedger]:
    """Every job there is, newest first, read and closed again; `unreadable` is told of files that cannot be read."""
    if state_dir.exists() and not state_dir.is_dir():
        raise UsageError(f"{state_dir}: this is not a folder.", "Choose another place: --state-dir DIR.")
    found = []
    for path in state_dir.glob(f"*{SUFFIX}"):
        try:
            ledger = JobLedger.look(path)
        except RebatchError as error:
            unreadable(str(error))
            continue
        ledger.checkpoint.close()  # there may be more of them than a process may have open files
        found.append(ledger)
    return sorted(found, key=lambda ledger: str(ledger.job["created_at"]), reverse=True)
