"""The summary of a step of GitHub Actions: what is added to it, within its limit, and that it never matters to a job."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.cli.summary import MOST, VARIABLE, add_step_summary, cut, tell_step
from tests.unit.test_unit_text import summary

NOTE = b"\n\n(Cut here: the summary of a step has at most 1 MiB.)\n"


def test_reports_follow_one_another(tmp_path: Path) -> None:
    """Every command of a step adds to what is there, with a line between."""
    path = tmp_path / "summary.md"
    for text in ("## one", "## two\n\n| a |\n"):
        assert add_step_summary(text, {VARIABLE: str(path)}) is None
    assert path.read_text() == "## one\n\n## two\n\n| a |\n"


def test_without_the_variable_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor with an empty one."""
    monkeypatch.chdir(tmp_path)
    assert add_step_summary("## one", {}) is None
    assert add_step_summary("## one", {VARIABLE: ""}) is None
    assert not list(tmp_path.iterdir())


@given(st.text("ab\né€", max_size=300), st.integers(0, 300))
def test_what_is_cut_has_whole_lines_and_fits(text: str, room: int) -> None:
    """Never more than there is room for, never half a line nor half a character; a note when something is missing."""
    found = cut(text, room)
    assert len(found) <= room
    if len(text.encode()) <= room:
        assert found == text.encode()
    elif found:
        kept = found.removesuffix(NOTE)
        assert kept != found
        assert text.encode().startswith(kept + b"\n")
        rest = text.encode()[len(kept) + 1 :].partition(b"\n")[0]
        assert len(kept) + 1 + len(rest) + len(NOTE) > room  # the next line did not fit


def test_a_step_has_one_mebibyte(tmp_path: Path) -> None:
    """GitHub shows nothing of a summary that is longer; what others have written counts."""
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * (MOST // 2))
    line = "| é | 1 |\n"
    assert add_step_summary(line * (MOST // len(line)), {VARIABLE: str(path)}) is None
    whole = path.read_bytes()
    assert MOST - 20 < len(whole) <= MOST
    assert whole.endswith(f"{line.rstrip()}".encode() + NOTE)
    wrong = add_step_summary("## more\n" * 9, {VARIABLE: str(path)})
    assert wrong == f"Nothing was added to the summary of the step: it has {len(whole):,} bytes already."
    assert path.read_bytes() == whole
    path.write_bytes(b"x" * (MOST + 1))
    assert add_step_summary("more", {VARIABLE: str(path)})
    assert path.stat().st_size == MOST + 1


def test_what_goes_wrong_is_told_and_raises_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No folder, a folder in its place, a name that cannot be, a pipe that nobody reads, a full disk."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    places = {tmp_path / "no" / "such": errno.ENOENT, tmp_path: errno.EISDIR, pipe: errno.ENXIO}
    if Path("/dev/full").exists():
        places[Path("/dev/full")] = errno.ENOSPC
    for place, number in places.items():
        said = add_step_summary("x", {VARIABLE: str(place)})
        assert said == f"Nothing was added to the summary of the step ({VARIABLE}={place}): {os.strerror(number)}."
    said = add_step_summary("x", {VARIABLE: "a\0\n"})
    assert said == f"Nothing was added to the summary of the step ({VARIABLE}=a<0000><000a>): no such name is possible."
    assert capsys.readouterr() == ("", "")


def test_a_report_that_cannot_be_told_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, so that what a command prints stays what it is."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    tell_step(summary(), None)
    out, err = capsys.readouterr()
    assert (out, err.startswith("Nothing was added")) == ("", True)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "summary.md"))
    tell_step(summary(), ValueError("it broke `off`"))
    assert "Stopped: `it broke 'off'`" in (tmp_path / "summary.md").read_text()
    assert capsys.readouterr() == ("", "")
