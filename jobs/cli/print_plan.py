"""What goes to stdout of a plan. Apart from reports, since it needs all that a plan is made of, and they need little."""

from __future__ import annotations

import click
import orjson

from engine.jobledger import JobLedger
from engine.spec import JobSpec

from .show_plan import plan_text


async def print_plan(ledger: JobLedger, spec: JobSpec, style: str) -> None:
    """A plan as text or as JSON."""
    groups, chunks = await ledger.groups(), await ledger.chunks()
    if style == "table":
        click.echo(plan_text(spec, ledger.job, groups, chunks))
        return
    names = (
        "job",
        "spec",
        "kind",
        "state",
        "completeness",
        "unproven_because",
        "in_scope",
        "planned",
        "kept",
        "missing",
        "pages",
        "certificate",
        "credits_estimated",
        "credits_untold",
        "canary",
        "plan_hash",
        "planned_at",
        "origin",
    )
    facts = {name: ledger.job.get(name) for name in names}
    listed = [{"group": group, "items": items, "chunks": cut} for group, items, cut in groups]
    click.echo(orjson.dumps({**facts, "chunks": chunks, "groups": listed}).decode())
