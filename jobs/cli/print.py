"""What goes to stdout: reports in every format, item by item without holding them all."""

from __future__ import annotations

import sys
from typing import Any

import click
import orjson

from engine.jobledger import JobLedger
from engine.report import each_item

from .show import csv_lines, item_line, report_markdown, report_text


async def print_report(ledger: JobLedger, summary: dict[str, Any], style: str, *, items: bool) -> None:
    """A report as text, JSON, newline-delimited JSON, CSV or Markdown; the last three but one are lists of items."""
    if style == "json":
        await _json_report(ledger, summary, items=items)
    elif style == "ndjson":
        async for item in each_item(ledger):
            _line(item)
    elif style == "csv":
        click.echo(csv_lines([], header=True), nl=False)
        async for item in each_item(ledger):
            click.echo(csv_lines([item], header=False), nl=False)
    else:
        click.echo(report_markdown(summary) if style == "md" else report_text(summary))
        if items:
            async for item in each_item(ledger):
                click.echo(item_line(item))


async def _json_report(ledger: JobLedger, summary: dict[str, Any], *, items: bool) -> None:
    if not items:
        _line(summary)
        return
    out = sys.stdout
    out.write(orjson.dumps(summary).decode()[:-1] + ',"items":[')
    first = True
    async for item in each_item(ledger):
        out.write(("" if first else ",") + "\n" + orjson.dumps(item).decode())
        first = False
    out.write("]}\n")
    out.flush()


def _line(value: Any) -> None:
    click.echo(orjson.dumps(value).decode())
