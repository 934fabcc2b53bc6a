"""`schedule install`: units that systemd, cron, GitHub and Kubernetes take, and that start the right command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml  # kubernetes-validate's own reader, by the rules of YAML 1.1 as Kubernetes has it
from cronsim import CronSim
from ruamel.yaml import YAML

from engine.schedule.cover import in_own_zone, merged, second_time
from engine.schedule.when import Schedule
from jobs.units.times import calendar_lines
from tests.e2e.rig import DELETE, EVALUATE, Done, Rebatch

ROOT = Path(__file__).parents[2]
ENTRY = """
import sys
from jobs.cli import main
main._COMMANDS["install"] = main._Entry("install_command", "")
sys.argv[0] = sys.argv.pop(1)
main.main()
"""
TARGETS = ("systemd", "cron", "github", "kubernetes")
NIGHTLY = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
GUARDS = {"max_items": 100}
ODD = "odd 100% 'quoted' \"twice\" $HOME ${{ github.token }} $(HOME)"
STUB = """#!/bin/sh
{ pwd; printf '%s\\n' "$@"; echo "key $CEKURA_API_KEY"; echo "state $REBATCH_STATE_DIR"; } >"$RECORD"
"""
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


class Install:
    """`rebatch schedule install`, called by a path of the test's own."""

    def __init__(self, rebatch: Rebatch) -> None:
        self.rebatch, self.home = rebatch, rebatch.home
        self.command = self._stub(self.home / "bin" / "rebatch")

    def __call__(self, *words: str | Path, code: int = 0, **environment: str) -> Done:
        command = [sys.executable, "-c", ENTRY, self.command, "install", *words]
        done = self.rebatch._start(command, {"PYTHONPATH": str(ROOT), **environment}).wait()
        assert done.code == code, f"exit {done.code}, not {code}\n{done.out}\n{done.err}"
        return done

    def files(self, target: str, *specs: Path) -> dict[str, str]:
        """What is written into a directory, by name."""
        where = self.home / f"units for {target}"
        self(f"--{target}", "--directory", where, "--force", *specs)
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(where.iterdir())}

    def odd(self) -> Path:
        """A spec, and from now on a command, in folders of which every format has something to quote."""
        folder = self.home / ODD
        folder.mkdir()
        self.command = self._stub(folder / "bin" / "rebatch")
        return self.spec(name=f"{ODD}/a 100% 'q' $x ${{{{ y }}}}.yaml")

    def spec(self, name: str = "nightly.yaml", **changes: Any) -> Path:
        """A spec with one job that comes round."""
        return self.rebatch.spec(EVALUATE, name=name, **{"schedule": NIGHTLY, **changes})

    @staticmethod
    def _stub(path: Path) -> Path:
        path.parent.mkdir()
        path.write_text(STUB)
        path.chmod(0o755)
        return path


@pytest.fixture
def install(rebatch: Rebatch) -> Install:
    """The command with a home of its own."""
    return Install(rebatch)


def recorded(script: str, home: Path, shell: str = "/bin/sh", cwd: Path | None = None, **environment: str) -> list[str]:
    """What the stub was started with by a line of shell, with as little around it as cron gives."""
    record = home / "record"
    given = {"PATH": "/usr/bin:/bin", "HOME": str(home), "RECORD": str(record), **environment}
    subprocess.run([shell, "-c", script], env=given, cwd=cwd or home, check=True)
    return record.read_text(encoding="utf-8").splitlines()


# ── systemd


def verified(folder: Path, *mode: str) -> str:
    """What systemd-analyze has to say against the units of a folder."""
    assert ANALYZE
    units = sorted(str(path) for path in folder.iterdir() if path.suffix in {".service", ".timer"})
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder.parent)}  # without one, no manager of a person's
    command = [ANALYZE, *mode, "verify", *units]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("mode", ["--user", "--system"])
def test_systemd_finds_nothing_wrong_with_the_units(install: Install, mode: str) -> None:
    """Not even where paths hold what its syntax gives a meaning to: it looks for the command, so it has read its path."""
    specs = install.spec(), install.odd()
    install.command = install._stub(install.home / "bin 100% $HOME ${HOME} %h" / "rebatch")
    install.files("systemd", *specs)
    folder = install.home / "units for systemd"
    assert verified(folder, mode) == ""
    assert len(list(folder.iterdir())) == 4
    install.command.unlink()
    assert "is not executable" in verified(folder, mode)


@needs_systemd
@pytest.mark.parametrize(
    ("unit", "right", "wrong"),
    [("service", "Type=oneshot", "Type=oneshoot"), ("timer", "OnCalendar=*-*-*", "OnCalendar=*-*-32"),
     ("service", "KillMode=mixed", "KillMod=mixed"), ("timer", "Europe/Berlin", "Europe/Nowhere")],
)  # fmt: skip
def test_systemd_finds_what_is_wrong_with_broken_units(install: Install, unit: str, right: str, wrong: str) -> None:
    """So that its silence about ours says something."""
    install.files("systemd", install.spec())
    path = install.home / "units for systemd" / f"rebatch-nightly.{unit}"
    assert verified(path.parent, "--user") == ""
    path.write_text(path.read_text().replace(right, wrong))
    assert verified(path.parent, "--user") != ""


def elapses(line: str, begin: datetime, number: int) -> set[int]:
    """When systemd fires for an event after a moment."""
    assert ANALYZE
    base = f"--base-time={begin:%Y-%m-%d %H:%M:%S} UTC"
    done = subprocess.run(
        [ANALYZE, "calendar", base, f"--iterations={number}", line],
        env={**os.environ, "TZ": "UTC"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.findall(r"(?:Next elapse|Iter\. #\d+): \w+ ([0-9-]+ [0-9:]+) UTC", done.stdout)
    assert found, done.stdout
    return {int(datetime.fromisoformat(each).replace(tzinfo=UTC).timestamp()) for each in found}


@needs_systemd
@pytest.mark.parametrize(
    ("cron", "zone", "begin"),
    [("30 2 * * *", "Europe/Berlin", "2027-03-27"), ("30 2 * * 0", "Europe/Berlin", "2027-10-29"),
     ("*/15 * * * *", "Europe/Berlin", "2027-10-30"), ("*/15 * * * *", "Europe/Berlin", "2027-03-27"),
     ("*/20 1-3 * * 0", "America/New_York", "2027-11-05"), ("15 2 * * *", "Australia/Lord_Howe", "2027-10-01"),
     ("*/15 1 * * *", "Australia/Lord_Howe", "2027-04-02"), ("30 23 * * 6", "America/Nuuk", "2027-03-25"),
     ("30 0 * * 5", "Africa/Cairo", "2027-04-26"), ("*/15 0 * * 5", "Africa/Cairo", "2027-04-28"),
     ("45 5 13 * 5", "Asia/Kathmandu", "2027-01-01"), ("0 0 L * *", "Pacific/Apia", "2027-02-20"),
     ("0 12 29 2 *", "UTC", "2027-06-01"), ("10 4 * * 5L", "America/Havana", "2027-03-01")],
)  # fmt: skip
def test_systemd_fires_at_the_next_ticks(cron: str, zone: str, begin: str) -> None:
    """By its own reckoning, over changes of clocks: also where it leaves out an hour that comes twice."""
    schedule, start = Schedule(cron=cron, timezone=zone), datetime.fromisoformat(begin).replace(tzinfo=UTC)
    wanted = set(islice(schedule.after(start.timestamp()), 100 if cron.startswith("*") else 4))
    twice = second_time(schedule, start.timestamp())
    covers = merged([in_own_zone(schedule, start.timestamp()), *([twice] if twice else [])])
    fired = {each for cover in covers for line in calendar_lines(cover) for each in elapses(line, start, 300)}
    assert wanted - fired == set()


def test_a_command_that_systemd_would_not_start_is_told(install: Install) -> None:
    """It takes no quotes in the path of a program."""
    done = install("--systemd", install.odd(), code=2)
    assert (done.out, "systemd starts no program" in done.err) == ("", True)


# ── cron


def entries(text: str) -> Iterator[tuple[str, str]]:
    """When and what, of each line of a crontab."""
    for line in text.splitlines():
        if not line.startswith("#"):
            fields = 1 if line.startswith("@") else 5
            *when, command = line.split(maxsplit=fields)
            yield " ".join(when), command


def test_the_lines_of_a_crontab_start_the_command_with_the_key_and_where_its_spec_is(install: Install) -> None:
    """Carried out by /bin/sh as cron does it, with an empty environment."""
    spec = install.odd()
    (text,) = install.files("cron", spec).values()
    environment = install.home / ".config" / "rebatch" / "environment"
    for key in ("", "k-1"):
        if key:
            environment.parent.mkdir(parents=True)
            environment.write_text(f"CEKURA_API_KEY={key}\n")
        for _, command in entries(text):
            started = recorded(command.replace("\\%", "%"), install.home)
            state = f"state {install.home / 'state'}"
            assert started == [str(spec.parent), "-q", "run", "--scheduled", str(spec), f"key {key}", state]


def test_the_times_of_a_crontab_are_read_by_cron(install: Install) -> None:
    """By cronsim always, by crontab where it can check; no percent sign is left that would end the command."""
    (text,) = install.files("cron", install.odd()).values()
    times = [when for when, _ in entries(text)]
    assert times == ["0,30 * * * *", "@reboot"]
    assert next(CronSim(times[0], datetime(2027, 1, 1, tzinfo=UTC))).minute == 30
    assert all(not re.search(r"(?<!\\)%", command) for _, command in entries(text))


@pytest.mark.skipif(
    not (shutil.which("crontab") and "-T" in subprocess.run(["crontab", "-h"], capture_output=True, text=True, check=False).stderr),
    reason="no crontab that checks files",
)  # fmt: skip
def test_cron_itself_takes_the_crontab(install: Install) -> None:
    """Where `crontab -T` exists."""
    install.files("cron", install.odd())
    (path,) = (install.home / "units for cron").iterdir()
    subprocess.run(["crontab", "-T", path], check=True)


def test_a_crontab_for_a_machine_of_half_hours_has_every_quarter(install: Install) -> None:
    """Where 02:30 UTC is at 08:00."""
    spec = install.spec(schedule={"cron": "30 2 * * *"})
    times = [next(entries(install("--cron", spec, TZ=zone).out))[0] for zone in ("Asia/Kolkata", "Asia/Tokyo")]
    assert times == ["0,15,30,45 * * * *", "30 * * * *"]


def test_a_path_that_no_crontab_can_hold_is_told(install: Install) -> None:
    """Crons differ about backslashes, and end lines that are too long."""
    (install.home / "back\\slash").mkdir()
    done = install("--cron", install.spec("back\\slash/a.yaml"), code=2)
    assert (done.out, "a crontab cannot hold a path with a backslash" in done.err) == ("", True)
    deep = "/".join(["x" * 200] * 3)
    (install.home / deep).mkdir(parents=True)
    assert "too long for a crontab" in install("--cron", install.spec(f"{deep}/a.yaml"), code=2).err


# ── GitHub


def github_verdict(path: Path) -> tuple[int, str]:
    """What the schema of GitHub's workflows has to say."""
    command = [
        str(Path(sys.executable).with_name("check-jsonschema")),
        "--builtin-schema",
        "vendor.github-workflows",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def workflow(text: str) -> Any:
    """A workflow as GitHub reads it."""
    return YAML(typ="safe", pure=True).load(text)


def test_the_workflow_is_one_by_githubs_schema(install: Install) -> None:
    """And one with a mistake is not."""
    notify = [{"on": ["failure"], "urls": ["${SLACK_URL}"]}, {"ping": "https://example.org/${PING}"}]
    (text,) = install.files("github", install.spec(notify=notify)).values()
    path = install.home / "units for github" / "rebatch-nightly.yml"
    assert github_verdict(path)[0] == 0, github_verdict(path)
    path.write_text(text.replace("runs-on", "run-on"))
    assert github_verdict(path)[0] == 1


def test_the_workflow_has_the_key_and_what_notices_name_as_secrets_and_keeps_its_state(install: Install) -> None:
    """Nothing else of the repository is given to it; two of them never work at once, and none is cut short."""
    notify = [{"on": ["failure"], "urls": ["${SLACK_URL}"]}, {"ping": "https://example.org/${PING}"}]
    spec = install.spec(notify=notify)
    made = workflow(next(iter(install.files("github", spec).values())))
    job = made["jobs"]["rebatch"]
    steps = {step["name"]: step for step in job["steps"] if "name" in step}
    work = steps["Carry out what is due"]
    assert {name: value for name, value in work["env"].items() if name != "REBATCH_STATE_DIR"} == {
        name: f"${{{{ secrets.{name} }}}}" for name in ("CEKURA_API_KEY", "SLACK_URL", "PING")
    }
    assert (made["permissions"], made["concurrency"]["cancel-in-progress"]) == ({"contents": "read"}, False)
    assert [each["cron"] for each in made["on"]["schedule"]] == ["0 1,2 * * *", "30 0,1 * * *", "23 */6 * * *"]
    kept, brought = steps["Keep the state"], steps["Bring back the state"]["with"]
    assert kept["if"] == "always()"
    assert {key: brought[key] for key in ("path", "key")} == kept["with"]
    assert kept["with"]["key"].startswith(brought["restore-keys"])
    assert "'rebatch[apprise]==" in steps["Install"]["run"]


def test_what_a_job_writes_to_the_disk_is_kept_by_github(install: Install) -> None:
    """In the cache, so that it goes on with it, and as an artifact, for people."""
    action = {"type": "delete_results", "backup": "backups/{job}.jsonl.zst"}
    spec = install.rebatch.spec(DELETE, name="clean.yaml", action=action, guards=GUARDS, schedule=NIGHTLY)
    made = workflow(next(iter(install.files("github", spec).values())))
    *_, keep, upload = made["jobs"]["rebatch"]["steps"]
    assert keep["with"]["path"].split() == [".rebatch", "backups"]
    assert (upload["with"]["path"], upload["if"]) == ("backups", "always()")


def test_the_workflow_starts_the_command_on_its_spec(install: Install) -> None:
    """As its shell reads it, from the folder of the spec in the repository; what looks like an expression is none."""
    (install.home / ".git").mkdir()
    spec = install.odd()
    made = workflow(next(iter(install.files("github", spec).values())))
    work = next(step for step in made["jobs"]["rebatch"]["steps"] if step.get("name") == "Carry out what is due")
    script, folder = (evaluated(work[key]) for key in ("run", "working-directory"))
    path = f"{install.command.parent}:/usr/bin:/bin"
    started = recorded(script, install.home, "/bin/bash", install.home / folder, PATH=path)
    assert started[:4] == [str(spec.parent), "run", "--scheduled", spec.name]


def evaluated(text: str) -> str:
    """Text after GitHub has put in its expressions: what is quoted stands for itself, anything else is nothing here."""
    return re.sub(r"\$\{\{ *(?:'([^']*)')?.*?\}\}", r"\1", text)


# ── Kubernetes


def objects(text: str) -> list[Any]:
    """The objects of a manifest, the same by the rules of YAML 1.1 and 1.2."""
    old, new = list(yaml.safe_load_all(text)), list(YAML(typ="safe", pure=True).load_all(text))
    assert old == new
    return old


def kubernetes_verdict(document: Any) -> str:
    """What the schemas of Kubernetes have to say."""
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


def test_the_objects_are_some_by_the_schemas_of_kubernetes(install: Install) -> None:
    """And one with a mistake is not."""
    notify = [{"on": ["failure"], "urls": ["${SLACK_URL}"]}]
    jobs = [{**EVALUATE, "notify": notify, "schedule": NIGHTLY},
            {**EVALUATE, "name": "b", "schedule": {"cron": "0 5 * * 1", "timezone": "Asia/Tokyo"}}]  # fmt: skip
    (text,) = install.files("kubernetes", install.rebatch.spec(*jobs)).values()
    documents = objects(text)
    assert [kubernetes_verdict(each) for each in documents] == [""] * 4
    assert [each["kind"] for each in documents] == ["ConfigMap", "PersistentVolumeClaim", "CronJob", "CronJob"]
    assert len({each["metadata"]["name"] for each in documents[2:]}) == 2
    documents[2]["spec"]["timezone"] = "UTC"
    assert "timezone" in kubernetes_verdict(documents[2])


def test_manifests_of_several_specs_are_printed_as_one(install: Install) -> None:
    """To be piped into kubectl."""
    done = install("--kubernetes", install.spec("a.yaml"), install.spec("b.yaml"))
    names = [each["metadata"]["name"] for each in objects(done.out)]
    assert names == ["rebatch-a"] * 3 + ["rebatch-b"] * 3


def test_the_cron_job_starts_the_command_on_the_very_spec_at_its_times(install: Install) -> None:
    """With the key and what notices name from a secret."""
    spec = install.odd()
    text = f"# a: yes, “ü”\t\n{spec.read_text()} \r\n"
    spec.write_bytes(text.encode())
    (manifest,) = install.files("kubernetes", spec).values()
    config, _, cron = objects(manifest)
    ((file, kept),) = config["data"].items()
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert kept.encode() == text.encode()
    assert container["command"] == ["rebatch", "run", "--scheduled", f"/etc/rebatch/{file}"]
    assert container["image"] == f"rebatch:{install.rebatch('version').out.split()[1]}"
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert (cron["spec"]["schedule"], cron["spec"]["timeZone"]) == ("0,30 2,3 * * *", "Europe/Berlin")
    *_, other = objects(install("--kubernetes", "--image", "registry.example/x:1", spec).out)
    assert other["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/x:1"


# ── the command


def test_units_are_printed_alone_and_can_be_told_apart(install: Install) -> None:
    """On stdout; what to do with them goes to stderr. What is printed is what is written, below a line with its name."""
    spec = install.spec()
    for target in TARGETS:
        files = install.files(target, spec)
        done = install(f"--{target}", spec)
        pieces = dict(piece.split("\n", 1) for piece in done.out.split("# ──── ") if piece)
        assert {name: text.rstrip() for name, text in pieces.items()} == {
            name: text.rstrip() for name, text in files.items()
        }
        assert "rebatch-nightly" in done.err
        assert install(f"--{target}", "-q", spec).err == ""


def test_a_spec_without_a_schedule_is_refused(install: Install) -> None:
    """Nothing is printed, of other specs neither; jobs of a spec that have none are left out."""
    good, none = install.spec(), install.rebatch.spec(EVALUATE, name="none.yaml")
    for target in TARGETS:
        done = install(f"--{target}", good, none, code=2)
        assert (done.out, "none.yaml: no job of it has a schedule." in done.err) == ("", True)
    some = install.rebatch.spec({**EVALUATE, "name": "a"}, {**EVALUATE, "schedule": NIGHTLY}, name="some.yaml")
    assert "OnCalendar=*-*-* 02:30:00" in install("--systemd", some).out


def test_mistakes_of_specs_are_told_as_check_tells_them(install: Install) -> None:
    """Of all specs at once, each at its place."""
    wrong = [install.spec("a.yaml", schedule={"cron": "61 * * * *"}), install.spec("b.yaml", limits={"rat": 1})]
    done = install("--systemd", *wrong, install.home / "missing.yaml", code=2)
    checked = install.rebatch("check", *wrong, install.home / "missing.yaml", code=2, PYTHONPATH=str(ROOT))
    assert (done.out, done.err) == ("", checked.err)
    assert "a.yaml:1:" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "One of: --systemd, --cron, --github, --kubernetes"), (("--systemd", "--cron"), "is needed, once"),
     (("--systemd", "--image", "x"), "--image belongs to --kubernetes"),
     (("--systemd", "--force"), "--force belongs to --directory")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(install: Install, words: tuple[str, ...], said: str) -> None:
    """In one sentence."""
    assert said in install(*words, install.spec(), code=2).err


def test_nothing_is_overwritten_unasked(install: Install) -> None:
    """Not even some of it."""
    spec, where = install.spec(), install.home / "units"
    where.mkdir()
    (where / "rebatch-nightly.timer").write_text("mine")
    done = install("--systemd", "--directory", where, spec, code=2)
    assert "rebatch-nightly.timer exists already. Overwrite with --force." in done.err
    assert [path.name for path in where.iterdir()] == ["rebatch-nightly.timer"]
    install("--systemd", "--directory", where, "--force", spec)
    assert (where / "rebatch-nightly.timer").read_text() != "mine"


def test_specs_whose_units_would_have_one_name_are_refused(install: Install) -> None:
    """One would overwrite the other."""
    done = install("--systemd", install.spec("a b.yaml"), install.spec("a-b.yaml"), code=2)
    assert "would all be called rebatch-a-b. Rename the specs." in done.err


def test_a_path_that_is_no_text_is_refused(install: Install) -> None:
    """It would end a line of a unit, and begin another."""
    for target in TARGETS:
        done = install(f"--{target}", install.spec("a\nExecStart=evil.yaml"), code=2)
        assert (done.out, "cannot be written into units" in done.err) == ("", True)


def test_no_unit_holds_the_key(install: Install) -> None:
    """Even when it is set where they are made; where it comes from is said."""
    for target in TARGETS:
        done = install(f"--{target}", install.spec(), CEKURA_API_KEY="ck-secret-of-the-shell")
        assert "ck-secret" not in done.out + done.err
        assert "CEKURA_API_KEY" in done.out


def test_where_checkpoints_live_and_the_address_go_into_the_units(install: Install) -> None:
    """So that `rebatch status` finds what a timer has begun."""
    given: Mapping[str, str] = {"--state-dir": "here", "--api-url": "https://eu.example"}
    words = [word for pair in given.items() for word in pair]
    service = install("--systemd", *words, install.spec()).out
    assert f'Environment="REBATCH_STATE_DIR={install.home / "here"}"' in service
    assert '"--api-url" "https://eu.example" "run" "--scheduled"' in service
