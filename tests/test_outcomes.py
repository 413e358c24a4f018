"""Outcomes and IDs in a few bytes each come back as they went in."""

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.outcomes import Ids, Outcomes, Place
from importer.records import Outcome, Status

IDS = st.one_of(
    st.integers(1, 10**20).map(str), st.sampled_from(["0", "007", "-5", "²", "٣", "abc", "9" * 18, "9" * 19, " 7", ""])
)
SOME = st.none() | IDS
OUTCOMES = st.builds(
    Outcome,
    status=st.sampled_from(Status),
    run_id=st.sampled_from(["a", "b"]),
    finished_at=st.none() | st.integers(1, 2**32 - 1).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    lead_id=SOME,
    contact_ids=st.lists(SOME, max_size=3).map(tuple),
    code=st.sampled_from([None, "x"]),
    message=st.sampled_from([None, "y", "z"]),
    field=st.sampled_from([None, "phone_number"]),
    http_status=st.sampled_from([None, 201, 422]),
    attempts=st.integers(0, 10),
    absent=st.sampled_from([(), (0,), (0, 2)]),
    column=st.sampled_from([None, "Phone"]),
    in_doubt=st.booleans(),
)
PLACES = st.tuples(st.integers(0, 2), st.integers(0, 40))


@given(st.lists(st.tuples(PLACES, OUTCOMES), max_size=30))
def test_it_is_the_mapping_that_a_dict_would_be(given_: list[tuple[Place, Outcome]]) -> None:
    kept = Outcomes()
    for place, outcome in given_:
        kept[place] = outcome
    wanted = dict(given_)
    assert dict(kept) == dict(kept.items()) == wanted
    assert len(kept) == len(wanted)
    assert all(kept[place] == outcome and place in kept for place, outcome in wanted.items())
    assert sorted(kept.values(), key=repr) == sorted(wanted.values(), key=repr)
    assert dict(Outcomes(kept)) == wanted


@pytest.mark.parametrize("place", [(0, 1), (0, 99), (0, -1), (1, 0)])
def test_what_is_not_there_is_not_there(place: Place) -> None:
    kept = Outcomes({(0, 0): Outcome(Status.CREATED, "a", None), (0, 2): Outcome(Status.CREATED, "a", None)})
    assert place not in kept
    assert kept.get(place) is None


@given(st.lists(st.tuples(PLACES, OUTCOMES), max_size=30))
def test_the_frame_of_a_table_says_the_same(given_: list[tuple[Place, Outcome]]) -> None:
    wanted = dict(given_)
    kept = Outcomes(wanted)
    for number in range(3):
        frame = kept.frame(number)
        rows = {row["lead"]: row for row in frame.iter_rows(named=True)}
        assert set(rows) == {lead for table, lead in wanted if table == number}
        for lead, row in rows.items():
            outcome = wanted[number, lead]
            at = outcome.finished_at
            assert row == {
                "lead": lead,
                "status": outcome.status.value,
                "lead_id": outcome.lead_id,
                "code": outcome.code,
                "message": outcome.message,
                "column": outcome.column,
                "http_status": outcome.http_status,
                "attempts": outcome.attempts or None,
                "finished_at": at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None,
                "run_id": outcome.run_id,
            }
        assert dict(kept.with_contacts(number)) == {
            lead: outcome for (table, lead), outcome in wanted.items() if table == number and outcome.contact_ids
        }


def test_an_empty_frame_has_its_types() -> None:
    kept = Outcomes({(0, 3): Outcome(Status.CREATED, "a", None, lead_id="5")})
    assert kept.frame(1).schema == kept.frame(0).schema
    assert kept.frame(1).height == 0
    assert kept.frame(0).schema["lead"] == pl.UInt32


def test_the_last_outcome_of_a_lead_counts() -> None:
    first = Outcome(Status.UNKNOWN, "a", None, message="who knows")
    kept = Outcomes({(0, 0): first})
    kept[0, 0] = replace(first, status=Status.CREATED, message=None, lead_id="7")
    assert len(kept) == 1
    assert kept[0, 0].lead_id == "7"


@given(st.lists(IDS, unique=True, max_size=60), st.lists(IDS, max_size=20), st.integers(1, 9))
def test_ids_are_a_set(ids: list[str], others: list[str], latest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importer.outcomes._LATEST", latest)
        kept = Ids()
        for one in ids:
            kept.add(one)
    assert len(kept) == len(ids)
    assert all(one in kept for one in ids)
    assert all((one in kept) == (one in ids) for one in others)
