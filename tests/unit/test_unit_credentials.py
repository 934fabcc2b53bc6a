"""Which key is used, and where it may be sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CredentialsError, Exit, UsageError
from jobs.api import ORIGIN
from jobs.credentials import Credentials, find, origin_of

KEY = "ck_live_0123456789"


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The vendor's login file in a home of its own; written by the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".cekura" / "config.toml"
    path.parent.mkdir()
    return path


def test_the_environment_comes_first(login: Path) -> None:
    """Key and address alike, and the answer says which was used."""
    login.write_text('api_key = "other"\napi_url = "https://login.example"\n', encoding="utf-8")
    found = find(environment={"CEKURA_API_KEY": KEY, "CEKURA_API_URL": "https://env.example"})
    assert (found.key, found.origin, found.source) == (KEY, "https://env.example", "CEKURA_API_KEY")
    assert (
        find("https://flag.example", {"CEKURA_API_KEY": KEY, "CEKURA_API_URL": "https://env.example"}).origin
        == "https://flag.example"
    )


def test_the_login_file_comes_second(login: Path) -> None:
    """Whoever has logged in needs nothing more."""
    login.write_text(f'access_token = "x"\napi_key = "{KEY}"\napi_url = "https://login.example"\n', encoding="utf-8")
    found = find(environment={})
    assert (found.key, found.origin) == (KEY, "https://login.example")
    assert ".cekura/config.toml" in found.source


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('api_key = "abc"', "abc"), ("api_key = abc", "abc"), ('api_key="abc"', "abc"), ('  api_key  =  "abc"  ', "abc"),
        ('api_key = "a"b\\c"', 'a"b\\c'), ('api_key = "a=b"', "a=b"), ('api_key = "abc"\r', "abc"),
    ],
)  # fmt: skip
def test_the_login_file_is_read_line_by_line(login: Path, line: str, key: str) -> None:
    """Its values are not escaped, so it is not reliably TOML."""
    login.write_text(f"# written by cekura\n[default]\n{line}\nzzz", encoding="utf-8")
    assert find(environment={}).key == key


def test_the_address_may_be_called_base_url(login: Path) -> None:
    """As the vendor's README has it; without any it is the vendor's own."""
    login.write_text('api_key = "abc"\nbase_url = "https://base.example/"\n', encoding="utf-8")
    assert find(environment={}).origin == "https://base.example"
    login.write_text('api_key = "abc"\n', encoding="utf-8")
    assert find(environment={}).origin == ORIGIN


@pytest.mark.parametrize("environment", [{}, {"CEKURA_API_KEY": ""}, {"CEKURA_API_KEY": "  "}])
def test_without_a_key_it_is_said_how_to_give_one(login: Path, environment: dict[str, str]) -> None:
    """Exit code 4 and both ways; a login file without a key is none."""
    for text in ("", 'api_key = ""\n', "\x00\xff"):
        login.write_text(text, encoding="utf-8")
        with pytest.raises(CredentialsError, match="CEKURA_API_KEY") as refused:
            find(environment=environment)
        assert refused.value.exit_code is Exit.CREDENTIALS


def test_a_login_file_that_cannot_be_read_is_none(login: Path) -> None:
    """A directory in its place, or bytes that are no text."""
    login.mkdir()
    assert find(environment={"CEKURA_API_KEY": KEY}).key == KEY


@pytest.mark.parametrize("key", ["a b", "a\nb", "a\x00b", "schlüssel", "a\u200bb", "a\tb"])
def test_a_key_that_cannot_be_a_header_is_refused_without_showing_it(key: str) -> None:
    """A line break in it would begin another header."""
    with pytest.raises(CredentialsError) as refused:
        find(environment={"CEKURA_API_KEY": key})
    assert key not in str(refused.value)


def test_blanks_around_a_key_are_not_part_of_it() -> None:
    """A file read with its line break is a common source."""
    assert find(environment={"CEKURA_API_KEY": f" {KEY}\n"}).key == KEY


def test_the_key_is_in_no_representation() -> None:
    """Whatever prints credentials prints no key."""
    credentials = Credentials(KEY, ORIGIN, "CEKURA_API_KEY")
    assert KEY not in repr(credentials) + str(credentials) + f"{credentials}"
    assert credentials.headers == {"X-CEKURA-API-KEY": KEY}


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://api.cekura.ai", "https://api.cekura.ai"), ("https://api.cekura.ai/", "https://api.cekura.ai"),
        ("HTTPS://API.cekura.ai", "https://api.cekura.ai"), (" https://h:8443 ", "https://h:8443"), ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost", "http://localhost"), ("http://[::1]:80", "http://[::1]:80"), ("https://[2001:db8::1]", "https://[2001:db8::1]"),
    ],
)  # fmt: skip
def test_an_address_is_reduced_to_its_origin(address: str, origin: str) -> None:
    """Scheme, host and port."""
    assert origin_of(address) == origin


@pytest.mark.parametrize(
    "address",
    [
        "", "api.cekura.ai", "ftp://h", "https://", "https:///x", "https://h/path", "https://h?x=1", "https://h#f", "file:///etc/passwd",
        "https://user:secret@h", "https://h:99999", "https://h:x", "https://[::1", "javascript:alert(1)", "//h",
        "http://api.cekura.ai", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://10.0.0.1", "http://[::2]",
        "https://api.cekura.ai\\@evil.example",
    ],
)  # fmt: skip
def test_an_address_that_must_not_get_the_key_is_refused(address: str) -> None:
    """Anything but https://host, plain HTTP but to this machine; a password in it is not repeated."""
    with pytest.raises(UsageError) as refused:
        origin_of(address)
    assert "secret" not in str(refused.value)


@given(text=st.text(max_size=40))
def test_an_address_is_an_origin_or_refused(text: str) -> None:
    """No text raises anything else."""
    for address in (text, f"https://{text}", f"http://{text}"):
        try:
            origin = origin_of(address)
        except UsageError:
            continue
        assert origin.startswith(("https://", "http://localhost", "http://127.0.0.1", "http://[::1]"))
        assert "@" not in origin
