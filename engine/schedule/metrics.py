"""How schedules stand, as Prometheus reads it: scraped over HTTP, or from a file by node_exporter.

Names follow Prometheus' conventions (prometheus.io/docs/practices/naming): base units, `_total` for what only grows,
`_timestamp_seconds` for moments, so that `time() - …` is an age. What is not known is left out: a 0 would be a moment in
1970, or a success. prometheus_client is imported when it is needed: it costs 50 ms, and most commands need none of it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError, UsageError
from ..fates import ItemFate
from ..files.disk import TEMPORARY, hidden_head
from ..text import harmless
from .entry import FOR_GOOD, Standing, Tick

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of the text format, as every Prometheus reads it
SUFFIX = ".prom"  # node_exporter reads no other file
_MODE = 0o644  # node_exporter is another user, and a service's umask would keep it out; there is no secret in the file
_EACH = "rebatch_schedule_"

_Value = Callable[[Standing], float | None]

# What one number says of each schedule: name, help, value.
_GAUGES: tuple[tuple[str, str, _Value], ...] = (
    ("next_tick_timestamp_seconds", "When the schedule is due next.", lambda it: it.next[0] if it.next else None),
    ("last_tick_timestamp_seconds", "The latest tick that ran, was skipped or missed.", lambda it: _of(it.last, "at")),
    ("last_end_timestamp_seconds", "When the latest job ended.", lambda it: _of(it.last_ran, "ended_at")),
    (
        "last_success_timestamp_seconds",
        "When a job last ended as a success.",
        lambda it: _of(it.last_success, "ended_at"),
    ),
    ("late", "Whether a tick should have begun long ago and nobody has decided on it.", lambda it: it.late),
    ("paused", "Whether the schedule is paused.", lambda it: it.entry.paused_because is not None),
    ("running_jobs", "Jobs at work now.", lambda it: len(it.running)),
    ("waiting_ticks", "Ticks that wait for the job before to end.", lambda it: len(it.waiting)),
    ("undelivered_notices", "Notices that have not arrived yet.", lambda it: it.undelivered),
    ("last_job_duration_seconds", "How long the latest job that ended took.", lambda it: _duration(it.last_ran)),
    ("last_job_requests", "Requests that it sent.", lambda it: _said(it.last_ran, "requests")),
    ("last_job_retries", "Of these, sent again.", lambda it: _said(it.last_ran, "retries")),
    (
        "last_job_credits_estimated",
        "Credits that its plan was estimated to cost.",
        lambda it: _said(it.last_ran, "credits_estimated"),
    ),
    ("last_job_exit_code", "The exit code of its command; 0 is a success.", lambda it: _of(it.last_ran, "exit_code")),
)


def exposition(standings: Sequence[Standing], clock: Callable[[], float] = time.time) -> bytes:
    """The metrics of these schedules in the text format 0.0.4, whose content type is `CONTENT_TYPE`.

    Each schedule is here once, by its name; those that are gone from their specs are left out. `clock` gives the moment
    of the heartbeat, in seconds since the epoch.
    """
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - see above
    from prometheus_client.registry import Collector  # noqa: PLC0415 - see above

    families = [*_of_all(clock()), *_of_each([each for each in standings if not each.entry.gone])]

    class Snapshot(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from families

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Snapshot())
    return generate_latest(registry)


def write_textfile(path: Path, standings: Sequence[Standing], clock: Callable[[], float] = time.time) -> None:
    """The same as a file for node_exporter's textfile collector, put in place in one step.

    Raises UsageError for a name that node_exporter would pass over, OutputError for what the disk does.
    """
    check_name(path)
    data = exposition(standings, clock)
    beside = path.with_name(f"{hidden_head(path)}{os.getpid()}{TEMPORARY}")
    try:
        _put(beside, path, data)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        what = harmless(error.strerror or type(error).__name__)
        raise OutputError(
            f"{harmless(str(path))}: the metrics cannot be written: {what}.", "Check the folder and its permissions."
        ) from None


def check_name(path: Path) -> None:
    """Raise UsageError for a name that node_exporter would pass over."""
    if path.suffix != SUFFIX:
        raise UsageError(
            f"{harmless(str(path))}: node_exporter reads only files whose names end in {SUFFIX}.",
            f"Name it {harmless(path.with_suffix(SUFFIX).name)}." if path.name else "Name a file.",
        )


def _put(beside: Path, path: Path, data: bytes) -> None:
    """Not synced: after a power cut a new one is written before anybody has missed it."""
    with suppress(FileNotFoundError):
        beside.unlink()  # a killed process had our number
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _MODE)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a Path cannot open a descriptor
        os.fchmod(descriptor, _MODE)
        file.write(data)
    beside.replace(path)


def _of_all(now: float) -> Iterator[Metric]:
    """What is said whether or not there is a schedule."""
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - see above

    yield GaugeMetricFamily("rebatch_heartbeat_timestamp_seconds", "When these metrics were made.", value=now)
    info = GaugeMetricFamily("rebatch_build_info", "The version of rebatch; always 1.", labels=["version"])
    with suppress(PackageNotFoundError):  # not installed: from a folder of sources
        info.add_metric([version("rebatch")], 1)
    yield info


def _of_each(standings: Sequence[Standing]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - see above

    for name, words, value in _GAUGES:
        gauge = GaugeMetricFamily(_EACH + name, words, labels=["schedule"])
        for each in standings:
            if (found := value(each)) is not None:
                gauge.add_metric([_label(each.entry.name)], float(found))
        yield gauge
    words = "Ticks by what became of them."
    ticks = CounterMetricFamily(_EACH + "ticks", words, labels=["schedule", "fate"])
    items = GaugeMetricFamily(
        _EACH + "last_job_items", "Items of the latest job that ended, by fate.", labels=["schedule", "fate"]
    )
    for each in standings:
        for fate in FOR_GOOD:
            ticks.add_metric([_label(each.entry.name), fate], each.totals.get(fate, 0))
        for item_fate, number in _items(each.last_ran):
            items.add_metric([_label(each.entry.name), item_fate], number)
    yield from (ticks, items)
    broken = GaugeMetricFamily("rebatch_spec_broken", "Whether a spec file cannot be read now.", labels=["file"])
    files = {each.entry.source: False for each in standings}  # one file may hold several schedules
    files |= {each.entry.source: True for each in standings if each.broken is not None}
    for file, is_broken in files.items():
        broken.add_metric([_label(file)], is_broken)
    yield broken


def _label(text: str) -> str:
    """Text that has a UTF-8 form, which a file name need not have; different for different names. The library escapes."""
    return text.encode(errors="backslashreplace").decode()


def _of(tick: Tick | None, name: str) -> float | None:
    return None if tick is None else getattr(tick, name)


def _duration(tick: Tick | None) -> float | None:
    if tick is None or tick.begun_at is None or tick.ended_at is None:
        return None
    took = tick.ended_at - tick.begun_at
    return took if took >= 0 else None  # the clock was set back meanwhile


def _said(tick: Tick | None, name: str) -> float | None:
    """A number of the report."""
    return None if tick is None or tick.report is None else _number(tick.report.get(name))


def _items(tick: Tick | None) -> Iterator[tuple[ItemFate, float]]:
    counts = tick.report.get("counts") if tick and tick.report else None
    if not isinstance(counts, Mapping):
        return
    for fate in ItemFate:
        if (number := _number(counts.get(fate.value))) is not None:
            yield fate, number


def _number(value: Any) -> float | None:
    """A report is kept as JSON and may be older than we are: what is no number is not known."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
