"""How counts are said."""

import pytest

from importer.wording import count_of


@pytest.mark.parametrize(("number", "said"), [(0, "0 leads"), (1, "1 lead"), (2, "2 leads"), (1000, "1,000 leads")])
def test_one_is_no_more_than_one(number: int, said: str) -> None:
    assert count_of(number, "lead") == said


def test_a_noun_may_bring_its_verb() -> None:
    assert [count_of(number, "cell holds", plural="cells hold") for number in (1, 2)] == [
        "1 cell holds",
        "2 cells hold",
    ]
