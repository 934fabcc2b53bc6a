"""The ids that the sandbox keeps for each filter, while results and runs come and go."""

from __future__ import annotations

import tracemalloc
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.sandbox.churn import Churn
from jobs.sandbox.drf import Filters
from jobs.sandbox.listing import MOST_CACHED, Listing
from jobs.sandbox.sql import column
from jobs.sandbox.state import build

FILTERS = (
    Filters(),
    Filters(agent_id=101),
    Filters(project_id=43),
    Filters(search="e"),
    Filters(search="newcomer"),
    Filters(scenarios=(24270, 24271, 24271)),
    Filters(agent_id=101, scenarios=tuple(range(24270, 24282))),
    Filters(agent_id=999),
)
RESULTS, FIRST, LAST = 40, 20011, 20180


class Deed(NamedTuple):
    """Something that happens in the world; `ids` are of results, `places` of runs in the first of them."""

    what: str
    ids: list[int]
    places: list[int]


deeds = st.lists(
    st.builds(
        Deed,
        what=st.sampled_from(["delete results", "delete runs", "churn", "evaluate", "ask anew"]),
        ids=st.lists(st.integers(FIRST, LAST), min_size=1, max_size=30),
        places=st.lists(st.integers(0, 5), max_size=3),
    ),
    max_size=12,
)


@settings(deadline=None, derandomize=True, database=None, max_examples=150)
@given(deeds=deeds)
def test_the_kept_ids_are_always_those_of_a_fresh_query(deeds: list[Deed]) -> None:
    """Whatever is deleted, inserted or evaluated, and in whatever order it is asked for."""
    sandbox = build(results=RESULTS)
    listing, store, churn = sandbox.store.listing, sandbox.store, Churn(sandbox.store, seed=7)
    kept = {filters: listing.matching(filters) for filters in FILTERS}
    for at_s, (what, ids, places) in enumerate(deeds, start=1):
        alive = column(store.db, "SELECT id FROM result WHERE deleted_us IS NULL AND agent < 900")
        if what == "delete results":
            store.delete_results(ids, at_s)
        elif what == "delete runs" and alive:
            result = min(alive, key=lambda each: abs(each - ids[0]))
            store.delete_runs(result, [result * 6 + place for place in places], at_s, 1000)
        elif what == "churn":
            churn.advance(at_s, 1.0)
        elif what == "evaluate" and alive:
            store.evaluate(alive[:3], [11], at_s, 1000)
        fresh = Listing(store.db)
        for filters in FILTERS:
            assert listing.matching(filters) == fresh.matching(filters), (what, filters)
            assert listing.matching(filters) is kept[filters], "it was asked for again"
    sandbox.store.db.close()


def test_what_a_trigger_keeps_is_still_listed() -> None:
    """So that a test can make a service that says 204 and deletes nothing; `forget` is for changes behind its back."""
    store = build(results=RESULTS).store
    everything = list(store.listing.matching(Filters()))
    store.db.execute("""CREATE TRIGGER keep AFTER UPDATE OF deleted_us ON result WHEN new.id % 2 = 0
      BEGIN UPDATE result SET deleted_us = NULL WHERE id = new.id; END""")
    store.delete_results(everything, 1)
    kept = [each for each in everything if each % 2 == 0]
    assert 0 < len(kept) < len(everything)
    assert list(store.listing.matching(Filters())) == kept
    store.db.execute("DROP TRIGGER keep; UPDATE result SET deleted_us = 1")
    store.listing.forget()
    assert list(store.listing.matching(Filters())) == []


def test_the_kept_filters_are_few() -> None:
    """The one that has been kept the longest makes room; what is asked for again is right."""
    sandbox = build(results=RESULTS)
    listing = sandbox.store.listing
    everything = listing.matching(Filters())
    others = [listing.matching(Filters(search=f"{number}")) for number in range(MOST_CACHED)]
    assert listing.matching(Filters(search=f"{MOST_CACHED - 1}")) is others[-1]
    again = listing.matching(Filters())
    assert again is not everything
    assert again == everything


def test_a_deletion_from_a_long_list_copies_none_of_it() -> None:
    """A hundred results of 100,000: the memory is that of the hundred."""
    listing = build(results=100_000).store.listing
    tracemalloc.start()
    ids = listing.matching(Filters())
    gone = list(ids[50:90_000:900])
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    listing.gone(gone)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(ids) == 100_000 - len(gone)
    assert not set(ids) & set(gone)
    assert peak - before < 100_000, "the ids take 800,000 bytes"
