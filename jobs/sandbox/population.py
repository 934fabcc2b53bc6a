"""Who and what the world is about: projects, agents, metrics with their scopes, scenarios, names."""

from collections.abc import Iterable

import apsw

ORGANIZATION = 1
"""Ours: what the key can reach. Organization 2 exists so that there is something it cannot."""

FOREIGN_AGENT = 901

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "invoice\u202egnp.exe",
    '=HYPERLINK("http://evil.example","click")',
    "<script>alert(1)</script>",
    "line\nbreak\ttab | pipe",
    "[bold red]markup[/] {{ 7*7 }}",
)
"""Names that a careless client would run, obey or be fooled by."""

PLEASANT = ("Nightly regression", "Smoke test", "Release candidate", "Prompt experiment", "Load rehearsal")

_AGENTS = {
    42: (
        (101, "Booking desk", 1),
        (102, "Outbound reminders", 0),
        (103, "Support line", 1),
        (104, "Renewals", 0),
    ),
    43: (
        (105, "Clinic reception", 1),
        (106, "Surveys", 0),
        (107, "Order status", 1),
        (108, "Collections", 0),
    ),
    99: ((FOREIGN_AGENT, "Somebody else's agent", 1),),
}
_METRICS = {
    11: "Latency",
    12: "Expected outcome",
    13: "Empathy",
    14: "Compliance",
    15: "Tool calls",
    16: "Pronunciation",
}
_SCENARIOS = (
    "Books a table",
    "Cancels",
    "Asks for a human",
    "Speaks very fast",
    "Silent caller",
    "Wrong number",
)


def populate(db: apsw.Connection) -> None:
    """Fill every table that does not grow."""
    db.execute("INSERT INTO account VALUES (?, 0, 0), (2, 0, 0)", (ORGANIZATION,))
    projects = ((42, ORGANIZATION, "Restaurants"), (43, ORGANIZATION, "Services"), (99, 2, "Somebody else's"))
    db.executemany("INSERT INTO project VALUES (?, ?, ?)", projects)
    agents = [(agent, project, name, inbound) for project, some in _AGENTS.items() for agent, name, inbound in some]
    db.executemany("INSERT INTO agent(id, project, name, inbound) VALUES (?, ?, ?, ?)", agents)
    db.executemany("INSERT INTO metric VALUES (?, ?)", list(_METRICS.items()))
    db.executemany("INSERT INTO scope VALUES (?, ?)", [(a[0], metric) for a in agents for metric in metrics_of(a[0])])
    scenarios = [(24270 + n, f"{_SCENARIOS[n % 6]}{' again' if n > 5 else ''}") for n in range(12)]  # noqa: PLR2004
    db.executemany("INSERT INTO scenario VALUES (?, ?)", scenarios)


def metrics_of(agent: int) -> Iterable[int]:
    """The metrics in an agent's scope: 11 and 12 for every agent, each of the others for some."""
    return (metric for metric in _METRICS if metric <= 12 or (agent + metric) % 3 == 0)  # noqa: PLR2004
