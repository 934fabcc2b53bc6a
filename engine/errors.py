"""What stops a job or a command. What happens to an *item* is never an exception: see `engine.fates`."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of the command; `docs/reference.md` explains each."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    ITEMS_FAILED = 3
    CREDENTIALS = 4
    GUARD = 5
    STOPPED = 6
    SOMETHING_TO_DO = 8
    LOCKED = 11
    SIGINT = 130
    SIGTERM = 143


class RebatchError(Exception):
    """A fault of configuration, credentials, disk or service: one sentence of what happened, one of what to do."""

    exit_code = Exit.UNEXPECTED

    def __init__(self, message: str, remedy: str = "") -> None:
        """`message` says what happened and to what; `remedy` what a person can do next."""
        super().__init__(message)
        self.message = message.removesuffix("..") + "." if message.endswith("..") else message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class UsageError(RebatchError):
    """The command, or what it was pointed at, makes no sense as given."""

    exit_code = Exit.USAGE


class CredentialsError(RebatchError):
    """No usable key, or the service refused it."""

    exit_code = Exit.CREDENTIALS


class GuardError(RebatchError):
    """A guard of the spec forbids the plan. Nothing was changed."""

    exit_code = Exit.GUARD


class StoppedError(RebatchError):
    """The job cannot go on now; its checkpoint is whole and it can be resumed."""

    exit_code = Exit.STOPPED


class PausedError(StoppedError):
    """Somebody has ordered the job to pause, and nobody works on it: nothing is sent."""

    def __init__(self, job: str) -> None:
        """`job` is its id."""
        super().__init__(f"Job {job} is paused.", f"Go on with: rebatch unpause {job}, then: rebatch resume {job}")


class SignalledError(StoppedError):
    """A person, or the system, asked the process to stop."""

    def __init__(self, code: Exit) -> None:
        """`code` is the exit code that tells which signal it was."""
        super().__init__("Stopped.")
        self.exit_code = code


class ServiceError(StoppedError):
    """The service cannot be reached, or keeps failing, or speaks another language."""


class UnreadableError(ServiceError):
    """One thing cannot be read, again and again, while the service answers."""


class CheckpointError(StoppedError):
    """The checkpoint cannot be read or written: disk full, not writable, not ours."""


class OutputError(StoppedError):
    """What a job brings home cannot be written or read: disk full, not writable, a name that is taken, a store that refuses."""


class LockedError(RebatchError):
    """Another process works on this job."""

    exit_code = Exit.LOCKED

    def __init__(self, message: str, remedy: str = "", *, pid: int | None = None) -> None:
        """`pid` is the owner's process id, where it could be read."""
        super().__init__(message, remedy)
        self.pid = pid
