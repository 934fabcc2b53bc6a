"""A service and a timer of systemd, for a person's own manager as well as for the system's (systemd.service(5))."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.errors import UsageError
from engine.schedule.cover import in_own_zone, merged, second_time

from .installation import File, Installation
from .times import calendar_lines

_SERVICE = """\
# {spec}: starts what is due by its schedules, once. From rebatch {version}; needs systemd 244 or later.
# Belongs into ~/.config/systemd/user/, or for the whole system into /etc/systemd/system/ (then with User=).

[Unit]
Description=rebatch {name}

[Service]
Type=oneshot
#User=whoever owns the spec and the checkpoints
WorkingDirectory={folder}
Environment={state}
# Lines {variables}; readable by you alone (mode 0600).
# Here %E is ~/.config, and /etc for the whole system. The key of `cekura auth login` needs no line.
EnvironmentFile=-%E/rebatch/environment
ExecStart={command}

# Stopped in order (143), or somebody else works on the job (11): nothing is wrong.
SuccessExitStatus=11 143
# Whatever else stops it, it goes on later; but not where a person is needed: 2 spec, 3 items, 4 key, 5 guard.
Restart=on-failure
RestartSec=15min
RestartPreventExitStatus=2 3 4 5
# A job takes as long as it takes; what is in flight finishes before it stops.
TimeoutStartSec=infinity
TimeoutStopSec={drain_s}
KillSignal=SIGTERM
KillMode=mixed

UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""
_TIMER = """\
# {spec}: when to look what is due. Belongs beside rebatch-{name}.service.
# It fires at every tick of the schedules, and when the clocks change sometimes in vain: then nothing is due.

[Unit]
Description=rebatch {name}: timer

[Timer]
{events}
# What a shutdown interrupted goes on soon after the start, and what fell into it is looked at.
OnStartupSec=2min
Persistent=true
AccuracySec=1s

[Install]
WantedBy=timers.target
"""


def systemd(installation: Installation, now: float) -> list[File]:
    """The two units; `now` is in seconds since the epoch. Raises UsageError for a command that systemd would not start."""
    name = f"rebatch-{installation.name}"
    use = f"systemctl --user daemon-reload && systemctl --user enable --now {name}.timer"
    linger = "without a login: loginctl enable-linger"
    return [
        File(f"{name}.service", _service(installation), ""),
        File(f"{name}.timer", _timer(installation, now), f"{use} ({linger})"),
    ]


def _service(installation: Installation) -> str:
    words = installation.words(str(installation.command), str(installation.spec))
    return _SERVICE.format(
        spec=installation.spec,
        version=installation.version,
        name=installation.name,
        folder=_folder(installation.spec.parent),
        state=_quoted(f"REBATCH_STATE_DIR={installation.state_dir}"),
        variables=", ".join(f"{name}=…" for name in installation.variables),
        command=_command(words),
        drain_s=installation.drain_s,
    )


def _timer(installation: Installation, now: float) -> str:
    covers = [in_own_zone(schedule, now) for schedule in installation.schedules]
    twice = [cover for schedule in installation.schedules if (cover := second_time(schedule, now))]
    events = [f"OnCalendar={line}" for cover in merged([*covers, *twice]) for line in calendar_lines(cover)]
    return _TIMER.format(spec=installation.spec, name=installation.name, events="\n".join(events))


def _command(words: Iterable[str]) -> str:
    """Words of ExecStart=. No variable is taken in the first, and there `$$` would stay as it is."""
    program, *arguments = words
    if set(program) & set("\"'\\"):
        raise UsageError(f"systemd starts no program of such a path: {program}", "Install rebatch elsewhere.")
    return " ".join([_quoted(program), *(_quoted(word).replace("$", "$$") for word in arguments)])


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) reads it, with its specifiers (systemd.unit(5)) made plain."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _folder(path: Path) -> str:
    """The value of WorkingDirectory=, which knows no quotes: blanks at its end would go, a backslash join the next line."""
    text = str(path).replace("%", "%%")
    return text + "/" if text.endswith((" ", "\\")) else text
