"""What becomes of a refused chunk: the culprits fail with their own words, the innocent go through, and it is told when enough is enough."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.exchange import Reply
from engine.fates import ItemFate, Outcome, decipher
from engine.ledger import Chunk
from engine.narrow import MOST_BAD, SAME_COMPLAINT, Narrower, named
from jobs.kinds.delete_results import DeleteResults
from jobs.kinds.evaluate_metrics import EvaluateMetrics

VAGUE = {"detail": "One of the results can not be processed."}


def refusal(body: object, status: int = 400) -> tuple[Outcome, bytes]:
    """The outcome of a refusal, and its body."""
    text = orjson.dumps(body)
    return decipher(Reply(status, body=text)), text


class Service:
    """Refuses what holds a bad id, with or without naming it, and counts."""

    def __init__(self, bad: set[int], *, says: str) -> None:
        self.bad, self.says = bad, says
        self.requests, self.accepted = 0, set[int]()

    def take(self, ids: tuple[int, ...]) -> tuple[Outcome, bytes] | None:
        """None when it takes them."""
        self.requests += 1
        found = [place for place, item in enumerate(ids) if item in self.bad]
        if not found:
            self.accepted |= set(ids)
            return None
        if self.says == "id":
            return refusal({"result_ids": [f"Result {ids[place]} is archived." for place in found]})
        if self.says == "place":
            return refusal({"result_ids": {str(place): ["Archived."] for place in found}})
        return refusal(VAGUE)


def work_through(
    service: Service, ids: tuple[int, ...], narrower: Narrower | None = None, root: int = 1
) -> dict[int, str]:
    """Send a chunk as the pool does; what is said of each item that failed."""
    narrower = narrower or Narrower()
    queue, failed = [Chunk(root, root + len(ids) - 1, 7, 0, ids, root=root)], dict[int, str]()
    while queue:
        chunk = queue.pop(0)
        if why := narrower.refusal(chunk):
            failed |= dict.fromkeys(chunk.ids, why[1])
            continue
        answer = service.take(chunk.ids)
        if answer is None:
            continue
        cut = narrower.cut(chunk, *answer, about_items=True)
        failed |= cut.failed
        if not cut.parts:
            failed |= {item: cut.rest or "" for item in chunk.ids if item not in cut.failed}
        queue = sorted(
            queue + [Chunk(part[0], part[-1], 7, 0, part, root=root) for part in cut.parts],
            key=lambda part: len(part.ids),
        )
    return failed


@pytest.mark.parametrize("culprit", range(100))
def test_one_unnamed_culprit_of_a_hundred_costs_at_most_fifteen_requests(culprit: int) -> None:
    """Wherever it stands; the ninety-nine others go through, and it keeps the service's words."""
    ids = tuple(range(1000, 1100))
    service = Service({ids[culprit]}, says="nothing")
    failed = work_through(service, ids)
    assert service.requests <= 15
    assert failed.keys() == {ids[culprit]}
    assert "can not be processed" in failed[ids[culprit]]
    assert service.accepted == set(ids) - service.bad


@pytest.mark.parametrize("says", ["id", "place"])
def test_named_culprits_cost_one_more_request(says: str) -> None:
    """Named by id, or by place as DRF does; each keeps what was said of it."""
    ids = tuple(range(1000, 1100))
    service = Service({1003, 1050, 1099}, says=says)
    failed = work_through(service, ids)
    assert service.requests == 2
    assert failed.keys() == service.bad
    assert all("rchived." in words for words in failed.values())
    if says == "id":
        assert "1050" in failed[1050]


@given(st.sets(st.integers(1, 300), min_size=1, max_size=100), st.data(), st.sampled_from(["id", "place", "nothing"]))
def test_each_item_goes_through_or_fails_and_never_both(ids: set[int], data: st.DataObject, says: str) -> None:
    """Up to eight bad ones, the innocent always go through; beyond, the batch may be given up, and says so."""
    bad = data.draw(st.sets(st.sampled_from(sorted(ids))))
    service = Service(bad, says=says)
    failed = work_through(service, tuple(sorted(ids)))
    assert not service.accepted & failed.keys()
    assert service.accepted | failed.keys() == ids
    assert not service.accepted & bad
    if len(bad) <= MOST_BAD:
        assert failed.keys() == bad
    else:
        assert any("given up" in words for words in failed.values()) or failed.keys() == bad


def test_a_batch_with_too_many_culprits_is_given_up_and_says_so() -> None:
    """Nine bad ones of a hundred: the rest is not sent any more."""
    service = Service(set(range(1000, 1100, 10)), says="nothing")
    failed = work_through(service, tuple(range(1000, 1100)))
    assert service.requests <= 15 * MOST_BAD
    assert any("given up: more than 8 items of its batch were refused" in words for words in failed.values())


def test_a_group_is_given_up_after_three_batches_with_one_complaint() -> None:
    """Three batches of which nothing goes through for one reason tell of the request, not of the items."""
    narrower = Narrower()
    service = Service(set(range(1000)), says="nothing")
    requests = []
    for root in range(1, 1000, 100):
        work_through(service, tuple(range(root, min(1000, root + 100))), narrower, root)
        requests.append(service.requests)
    assert requests[SAME_COMPLAINT - 1] == requests[-1], "nothing is sent once the group is given up"
    fate, why = narrower.refusal(Chunk(5000, 5000, 7, 0, (5000,), root=5000)) or (None, "")
    assert fate is ItemFate.SKIPPED
    assert "not sent: 3 batches like it were refused" in why
    assert narrower.refusal(Chunk(5000, 5000, 8, 0, (5000,), root=5000)) is None, "another group may fare better"


def test_single_culprits_with_one_complaint_do_not_condemn_a_group() -> None:
    """One bad item in each of ten batches, all for the same reason: the 990 others go through."""
    narrower = Narrower()
    service = Service({root + 50 for root in range(1, 1000, 100)}, says="nothing")
    for root in range(1, 1000, 100):
        assert len(work_through(service, tuple(range(root, root + 100)), narrower, root)) == 1
    assert len(service.accepted) == 990


@pytest.mark.parametrize(
    ("body", "status", "halved"),
    [
        (VAGUE, 400, True),
        ({"result_ids": ["Invalid."]}, 400, True),
        ({}, 413, True),
        ({"detail": "Insufficient balance. Required: 3.0, available: 1.0."}, 400, False),
        ({"metric_ids": ["Metrics [99] are not in the scope of agent 101."]}, 400, False),
        ({"detail": "Invalid token."}, 403, False),
        ({"detail": "Method not allowed."}, 405, False),
    ],
)
def test_what_is_about_balance_metrics_or_credentials_is_never_halved(
    body: object, status: int, *, halved: bool
) -> None:
    """Half a batch may be affordable; the other half is arbitrary."""
    outcome, text = refusal(body, status)
    about_items = EvaluateMetrics().about_items(outcome)
    assert about_items is halved
    cut = Narrower().cut(Chunk(1, 4, 7, 0, (1, 2, 3, 4), root=1), outcome, text, about_items=about_items)
    assert cut.parts == (((1, 2), (3, 4)) if halved else ())
    assert DeleteResults().about_items(outcome) is (status in {400, 413})


def test_numbers_that_are_no_ids_of_the_chunk_name_nobody() -> None:
    """A limit, a balance, an id of another batch."""
    outcome, body = refusal({"result_ids": ["Ensure this field has no more than 100 elements.", "Result 55 is gone."]})
    assert named((1, 2, 3), outcome, body) == {}


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.integers(-9, 9) | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("0123456789ab", max_size=9), inner),
    ).map(orjson.dumps)
)
def test_whatever_a_refusal_looks_like_it_is_read(body: bytes) -> None:
    """Hostile shapes name items of the chunk or nobody."""
    outcome = Outcome(decipher(Reply(400, body=body)).fate, 400, "400")
    assert named((1, 2, 3), outcome, body).keys() <= {1, 2, 3}
