"""The fast accept of e-mail addresses says nothing that email-validator does not say."""

import polars as pl
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given, settings
from hypothesis import strategies as st

from importer.emails import _PLAIN, invalid_emails


def accepts(text: str) -> bool:
    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True


LABEL = st.text("abcXYZ019-_", min_size=0, max_size=24)
ATOM = st.text("abcXYZ019+_-.!#'", min_size=0, max_size=26)
ENDING = st.sampled_from(
    ["com", "COM", "de", "uk", "io", "test", "local", "arpa", "invalid", "c", "museum", "xn--p1ai"]
)
LIKELY = st.builds(
    lambda atom, labels, end: f"{atom}@{'.'.join([*labels, end])}", ATOM, st.lists(LABEL, max_size=4), ENDING
)


@given(st.lists(st.one_of(LIKELY, st.emails(), st.text(max_size=40)), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
@example(
    ["ada@example.com", "a..b@example.com", ".a@example.com", "a@-x.com", "a@x-.com", "a@xn--a.com", "a@ab--c.com"]
)
@example(
    [
        "x" * 65 + "@example.com",
        "ada@localhost",
        "ada@example.test",
        "ada@[127.0.0.1]",
        '"a b"@example.com',
        "a@b@c.com",
    ]
)
def test_the_fast_path_accepts_only_what_email_validator_accepts(texts: list[str]) -> None:
    column = pl.Series(texts, dtype=pl.String)
    fast = column.str.contains(_PLAIN)
    for text, is_fast in zip(texts, fast, strict=True):
        assert not is_fast or accepts(text), text
    assert set(invalid_emails(column)) == {text for text in texts if not accepts(text)}


@pytest.mark.parametrize("text", ["ada@example.com", "Ada.Byron+news@mail-1.example.co.uk", "a_b@x.de", "1@2.io"])
def test_usual_addresses_take_the_fast_path(text: str) -> None:
    assert pl.Series([text]).str.contains(_PLAIN).all()
