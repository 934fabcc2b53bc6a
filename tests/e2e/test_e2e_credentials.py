"""Keys and addresses: which is used, where it goes, and that it is written nowhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import EVALUATE, KEY, Rebatch, World

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def test_a_wrong_key_is_one_sentence_and_leaves_nothing_behind(rebatch: Rebatch, quiet_world: World) -> None:
    """Exit 4; the state directory is empty; the wrong key is not repeated either."""
    done = rebatch.at(quiet_world.url, "wrong-key-of-mine")("run", rebatch.spec(EVALUATE), "--yes", code=4)
    said = [line for line in done.err.splitlines() if not line.startswith("planning")]
    assert len(said) == 1
    assert said[0].startswith("The service refused the API key (401 Unauthorized: Invalid API key.")
    assert "wrong-key-of-mine" not in done.err
    assert "resume" not in said[0], "no job was kept, so there is none to resume"
    assert done.out == ""
    assert list(rebatch.state_dir.iterdir()) == []


def test_without_a_key_nothing_is_begun(rebatch: Rebatch, quiet_world: World) -> None:
    """Exit 4, with what to do; nothing is sent and nothing kept."""
    before = len(quiet_world.requests())
    done = rebatch.at(quiet_world.url, None)("run", rebatch.spec(EVALUATE), "--yes", code=4)
    assert done.err == "No API key was found. Set CEKURA_API_KEY, or log in with: cekura auth login\n"
    assert not rebatch.state_dir.exists()
    assert len(quiet_world.requests()) == before


def test_a_job_interrupted_by_a_refused_key_is_resumed_with_the_right_one(rebatch: Rebatch, open_world: Open) -> None:
    """The plan is kept; exit 4 says what to do; then it goes on."""
    world = open_world("--results=60", "--evaluation-time=20ms")
    rebatch.at(world.url)("plan", rebatch.spec(EVALUATE))
    done = rebatch("run", rebatch.job(), "--yes", code=4, CEKURA_API_KEY="expired")
    assert f"rebatch resume {rebatch.job()}" in done.err
    report = rebatch("resume", rebatch.job(), "--format", "json").json
    assert report["counts"]["confirmed"] == report["counts"]["planned"] > 0
    assert world.audit()["evaluations"]["evaluated_twice"] == 0


def test_the_login_file_of_the_vendor_serves_when_the_environment_has_no_key(
    rebatch: Rebatch, quiet_world: World
) -> None:
    """Key and address; the environment comes first; -v says which is in use."""
    login = rebatch.home / ".cekura" / "config.toml"
    login.parent.mkdir()
    login.write_text(f'access_token = "other"\napi_key = "{KEY}"\napi_url = "{quiet_world.url}"\n')
    done = rebatch.at(None, None)("plan", rebatch.spec(EVALUATE), "-v")
    assert f"Key of ~/.cekura/config.toml, at {quiet_world.url}" in done.err
    login.write_text(f'api_key = "wrong"\nbase_url = "{quiet_world.url}"\n')
    assert "Key of CEKURA_API_KEY" in rebatch("plan", rebatch.spec(EVALUATE), "-v", CEKURA_API_KEY=KEY).err


def test_the_most_talkative_log_has_every_exchange_and_never_the_key(rebatch: Rebatch, open_world: Open) -> None:
    """The rig looks for the key in all that is said and in every file, in every test; here there is much to look at."""
    world = open_world("--results=60", "--evaluation-time=20ms")
    done = rebatch.at(world.url)("-vv", "--log-format", "json", "run", rebatch.spec(EVALUATE), "--yes")
    logged = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert {entry["event"] for entry in logged} >= {"exchange", "attempt"}
    assert all({"level", "timestamp"} <= entry.keys() for entry in logged)
    assert sum(entry["event"] == "exchange" for entry in logged) == len(world.requests())
    assert "exchange" in rebatch("-vv", "--log-format", "console", "plan", rebatch.spec(EVALUATE)).err


def test_checkpoints_are_for_their_owner_alone(rebatch: Rebatch, quiet_world: World) -> None:
    """Directory 0700, files 0600."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE))
    assert rebatch.state_dir.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in rebatch.state_dir.iterdir()} == {0o600}


def test_a_job_is_not_carried_out_elsewhere_than_it_was_planned(rebatch: Rebatch, open_world: Open) -> None:
    """Ids of one service mean something else at another: exit 2, and nothing is sent there."""
    planned_at, other = open_world("--results=60"), open_world("--results=60")
    rebatch.at(planned_at.url)("plan", rebatch.spec(EVALUATE))
    done = rebatch("run", rebatch.job(), "--yes", "--api-url", other.url, code=2)
    assert f"was planned at {planned_at.url}" in done.err
    assert f"the address in use is {other.url}." in done.err
    assert other.requests() == []
    assert planned_at.count("POST") == 0


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://192.0.2.1:80", "The API key is not sent over plain HTTP to 192.0.2.1."),
        ("https://me:secret@api.cekura.ai", "(with a user name in it)"),
    ],
)
def test_an_address_that_must_not_get_the_key_is_refused(rebatch: Rebatch, address: str, words: str) -> None:
    """Exit 2, before anything is sent or kept."""
    done = rebatch.at(None)("plan", rebatch.spec(EVALUATE), "--api-url", address, code=2)
    assert words in done.err
    assert "secret" not in done.err
    assert not rebatch.state_dir.exists()
