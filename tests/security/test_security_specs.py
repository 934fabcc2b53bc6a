"""Specs and foreign checkpoints that mean harm: refused with place and remedy, in little time and memory."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import apsw
import pytest

from engine.pattern import matcher
from tests.security.canary import HOSTILE
from tests.security.conftest import DELETE, Command
from tests.security.hostile import Hostile, page

LAUGHS = "a: &a [x]\n" + "\n".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "aliases"), ("a: &a {b: 1}\nc: *a", "aliases"), ("a: &a {b: 1}\nc:\n  <<: *a", "aliases"), ("<<: {version: 1}", "is not read"),
        ("a: &a [*a]", "aliases"), ("!!python/object/apply:os.system ['touch owned']", "spec begins with"), ("version: !!python/name:os.system x", "tag"),
        ("version: !!binary aGk=", "version"), ("[" * 5000, "nested too deeply"), ("{a: " * 5000, "nested too deeply"), ("- " * 5000, "nested too deeply"),
        ("version: 1\n" + "# \n" * 400_000, "larger than"), ("version: " + "9" * 100_000, "cannot be read"), ("\x00", ""), ("a: \x1b[2J\u202e", ""), ("%YAML 9.9\n---\na", ""), ("\ufeffversion: 2", ""),
        ("version: 1\nversion: 1", "twice"), ("? [a]\n: 1", "a key must be a word"), ("a" * 1_000_000, "spec begins with"), ('"' + "\\n" * 400_000 + '"', "spec begins with"),
    ],
)  # fmt: skip
def test_a_spec_that_means_harm_is_refused(command: Command, text: str, words: str) -> None:
    """Exit 2, in a few seconds, with little memory."""
    path = command.home / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    began = time.monotonic()
    done = command("--debug", "check", path)
    assert (done.code, words in done.err, "Traceback" in done.err) == (2, True, False), done.err[:500]
    assert (time.monotonic() - began, done.memory) < (15.0, 400.0)
    assert done.memory < 400
    assert not (command.home / "owned").exists()


def test_a_spec_that_never_ends_is_not_read_for_ever(command: Command) -> None:
    """A device, and a hundred thousand jobs."""
    done = command("check", "/dev/zero")
    assert (done.code, "larger than 1024 KiB" in done.err) == (2, True)
    path = command.spec(*({**DELETE, "name": f"job-{number}"} for number in range(100_000)))
    done = command("check", path)
    assert (done.code, "larger than 1024 KiB" in done.err) == (2, True)
    assert done.memory < 300


@pytest.mark.parametrize("name", ["\x1b[2J.yaml", "a\nb.yaml", "\u202elmay.yaml", "\x9b31m.yaml", "=1+1.yaml"])
def test_the_name_of_a_file_is_harmless(command: Command, name: str) -> None:
    """In messages of specs and of checkpoints; that nothing harmful is shown the rig looks at."""
    spec = command.spec(DELETE).rename(command.home / name)
    command("check", spec)
    assert command("plan", spec).code == 0
    spec.write_text("x")
    assert command("check", spec, "missing" + name).code == 2
    (command.state_dir / f"{name}.rebatch").write_text("no checkpoint")
    command("list")
    command("status", command.state_dir / f"{name}.rebatch")
    command("report", name)


def test_what_a_foreign_checkpoint_says_is_harmless(command: Command) -> None:
    """It may come from another machine, and every text in it may be anything."""
    assert command("plan", command.spec(DELETE)).code == 0
    (path,) = command.state_dir.glob("*.rebatch")
    db = apsw.Connection(str(path))
    for key in ("spec", "kind", "state", "unproven_because", "refused_because", "completeness", "job", "source"):
        db.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (key, json.dumps(HOSTILE)))
    db.execute("UPDATE chunk SET error = ?, fate = 'failed'", (HOSTILE,))
    db.close()
    for arguments in (
        ("list",),
        ("status",),
        ("status", path),
        ("report", path, "--items"),
        ("report", path, "--format", "csv"),
        ("resume", path, "--yes"),
    ):
        command(*arguments)
    for row in command("report", path, "--format", "md").out.splitlines():
        assert "<script" not in "".join(row.split("`")[::2])


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|aa)+$", "(a|a)*$", "(a*)*b", "(?:a?){30}a{30}", "((a{0,9}){0,9}){0,9}b", r"(\w+\s?)*$", "(?=(a+)+$)", "(a+){10}b", "(.*a){25}", "(?i)(x+x+)+y"],
)  # fmt: skip
def test_a_pattern_that_can_take_for_ever_is_refused(pattern: str) -> None:
    """Some of these take 2 ** 30 steps for a name of thirty letters."""
    with pytest.raises(ValueError, match="for ever"):
        matcher(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["nightly", r"^Support .* v\d+$", r"(\d{1,3}\.){3}", "(foo|bar)", "[ab]+", "(a|b)*", "(ab)+", r"^(Run|Test) #\d+ (a|b)$", r"(\d{4}-)?\d+", "(?i)a.*b|c+"],
)  # fmt: skip
def test_patterns_as_people_write_them_are_read_and_quick(pattern: str) -> None:
    """And match what they match, in no time even where they nearly match."""
    found = matcher(pattern)
    for text in (
        "",
        "nightly Support x v12",
        "10.0.0.1",
        "foo",
        "abab",
        "Run #12 a",
        "2026-01",
        "a" * 999 + "!",
        "1" * 1000,
        "Support " * 125,
    ):
        assert found(text) == bool(re.search(pattern, text))


def test_a_name_beyond_reason_stops_the_plan_where_a_pattern_repeats(command: Command, service: Hostile) -> None:
    """Cut short it might be selected wrongly; without repetition it is no trouble."""
    service.be(reads=lambda asked: page(asked, name="a" * 100_000))
    done = command("plan", command.spec(DELETE, where={"name": {"matches": "a*b$"}}))
    assert (done.code, "too long to be matched" in done.err) == (6, True)
    assert command("plan", command.spec(DELETE, where={"name": {"matches": "b$"}})).code == 0
    assert command("check", command.spec(DELETE, where={"name": {"matches": "(a+)+$"}})).code == 2


def test_what_is_typed_is_harmless_when_it_is_said_again(command: Command, tmp_path: Path) -> None:
    """Arguments may have been pasted."""
    for word in ("\x1b[2J", "\u202ex", "a\x9bb"):
        for arguments in (
            ("run", word, "--yes"),
            ("status", word),
            ("plan", f"{tmp_path}/{word}.yaml"),
            ("plan", "x.yaml", "--api-url", f"https://{word}/x"),
        ):
            assert command(*arguments).code == 2
