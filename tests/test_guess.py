"""What columns are taken for: phones and their region, dates, amounts, consents; by their cells, and by headers in six languages."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from init_lists import german, us

from importer.guess import guess
from importer.header_words import language, meaning
from importer.records import Table, no_formats

# Phones and regions.


@pytest.mark.parametrize(
    "headers",
    [
        ("Telefonnummer", "E-Mail"),
        ("Rufnummer", "Mailadresse"),
        ("Telefone", "Correio"),
        ("Nº de teléfono", "Correo electrónico"),
        ("Téléphone portable", "Courriel"),
        ("Cellulare", "Posta elettronica"),
        ("phoneNumber", "emailAddress"),
    ],
)
def test_phone_and_email_are_found_under_headers_of_six_languages(
    headers: tuple[str, str], begin: Callable[..., Any]
) -> None:
    config, _, _ = begin([headers, *((f"+4930231250{number:02d}", f"p{number}@example.com") for number in range(10))])
    assert config.phone.columns == (headers[0],)
    assert config.variables["email"].columns == (headers[1],)


def test_numbers_are_found_under_a_header_that_does_not_say_so(begin: Callable[..., Any]) -> None:
    rows = [["Ref", "Reach at"], *([f"{10_000_000_000 + number * 977}", phone] for number, phone in enumerate(us(8)))]
    assert begin(rows)[0].phone.columns == ("Reach at",)


@pytest.mark.parametrize("written", ['="{}"', "{}.0", "'{}", "\xa0{} "])
def test_numbers_are_found_however_an_export_wraps_them(written: str, begin: Callable[..., Any]) -> None:
    phones = [written.format(f"1212555{number:04d}") for number in range(100, 110)]
    config, _, told = begin([["Name", "Phone"], *(["Ada", phone] for phone in phones)], region="US")
    assert config.phone.columns == ("Phone",)
    assert "sure: 10 of 10" in told
    assert "10 of 10 rows pass" in told


def test_a_plus_that_only_a_number_format_shows_is_seen() -> None:
    cells = pl.DataFrame({"Telefon": [str(493023125000 + number) for number in range(5)]})
    places = pl.DataFrame({"sheet": ["A"] * 5, "row": range(2, 7)}, schema={"sheet": pl.String, "row": pl.Int64})
    formats = pl.DataFrame(
        {"index": range(5), "column": ["Telefon"] * 5, "format": ['"+"0'] * 5}, schema=no_formats().schema
    )
    table = Table(Path("a.xlsx"), "xlsx", ("Telefon",), cells, places, "", formats=formats)
    found = guess(table)
    assert found is not None
    assert (found.numbers, found.region.why) == ((5, 5), "every number carries its country")


def test_a_phone_column_without_phones_is_not_taken(begin: Callable[..., Any]) -> None:
    rows = [["Phone type", "Phone consent", "Tel."], *(["mobile", "yes", phone] for phone in us(6))]
    assert begin(rows)[0].phone.columns == ("Tel.",)


def test_mobile_numbers_are_tried_before_others_and_faxes_never(begin: Callable[..., Any]) -> None:
    rows = [["Phone", "Fax", "Mobile"], *zip(us(5), us(5, 120), us(5, 140), strict=True)]
    assert begin(rows)[0].phone.columns == ("Mobile", "Phone")


@pytest.mark.parametrize(
    ("headers", "phones", "region"),
    [
        (("Name", "Phone"), us(9), "US"),
        (("Vorname", "Telefon"), german(9), "DE"),
        (("Name", "Phone"), [*german(8), "+49 30 23125 900"], "DE"),
        (("Name", "Phone"), [f"+4930231250{number:02d}" for number in range(9)], None),
        (("A", "Phone"), ["12345678"] * 3 + ["+4930231250", "99999999"], None),
    ],
)
def test_a_region_is_set_only_where_the_numbers_show_it(
    headers: tuple[str, str], phones: list[str], region: str | None, begin: Callable[..., Any]
) -> None:
    assert begin([headers, *(["Ada", phone] for phone in phones)])[0].phone.region == region


def test_a_country_column_goes_before_all_and_names_that_are_none_are_told(begin: Callable[..., Any]) -> None:
    rows = [["Telefon", "Land"], *([phone, "Deutschland"] for phone in german(5)), [us(1)[0], "USA"], ["", "Europa"]]
    config, _, told = begin(rows)
    assert config.phone.region.column == "Land"
    assert "'Europa'" in told


def test_region_and_campaign_of_the_command_line_are_written(begin: Callable[..., Any]) -> None:
    config, _, told = begin([["Phone"], *([phone] for phone in us(3))], region="ca", campaign=12)
    assert (config.phone.region, config.campaign_id) == ("CA", 12)
    assert "--campaign" not in told


# What looks like one thing and is another.


@pytest.mark.parametrize("header", ["Email consent", "E-mail opt-in", "E-Mail", "Newsletter per E-Mail"])
def test_a_consent_is_never_taken_for_an_address(header: str, begin: Callable[..., Any]) -> None:
    rows = [
        [header, "Phone", "Kontakt per Mail"],
        *(["yes" if number % 2 else "no", phone, f"p{number}@example.com"] for number, phone in enumerate(us(8))),
    ]
    assert begin(rows)[0].variables["email"].columns == ("Kontakt per Mail",)


@pytest.mark.parametrize(
    ("dates", "pattern"),
    [
        (["31.12.2026", "01.02.2026"], "%d.%m.%Y"),
        (["31/12/2026", "1/2/2026"], "%d/%m/%Y"),
        (["12/31/2026", "1/2/2026"], "%m/%d/%Y"),
        (["2026-12-31", "2026-02-01"], None),
        (["31/12/26", "01/02/26"], "%d/%m/%y"),
        (["31 Dec 2026", "1 Feb 2026"], "%d %b %Y"),
        (["2026-12-31 08:30", "2026-02-01 10:00"], "%Y-%m-%d %H:%M"),
    ],
)
def test_the_notation_of_dates_is_found(dates: list[str], pattern: str | None, begin: Callable[..., Any]) -> None:
    config, _, told = begin([["Phone", "Renewal"], *zip(us(2), dates, strict=True)])
    assert config.variables["renewal"].type == "date"
    assert config.variables["renewal"].format == pattern
    assert "2 of 2 rows pass" in told


def test_dates_that_fit_two_notations_are_left_to_the_person(begin: Callable[..., Any]) -> None:
    config, text, told = begin(
        [["Phone", "Renewal"], *zip(us(3), ["01/02/2026", "03/04/2026", "5/6/2026"], strict=True)]
    )
    assert "renewal" not in config.variables
    assert re.search(r'# renewal: \{column: Renewal, type: date, format: "%d/%m/%Y"\}', text)
    assert "%m/%d/%Y" in text
    assert "please check" in told


def test_numbers_that_only_lack_their_country_are_not_called_unusable(begin: Callable[..., Any]) -> None:
    _, text, told = begin([["Phone", "Name"], *[(f"212555{number:04d}", "Ada") for number in range(100, 108)]])
    assert "8 numbers are usable shows when the region below is set" in told
    assert "8 numbers are usable shows when the region below is set" in text
    assert "0 of 8 looked at" not in told + text


@pytest.mark.parametrize("header", ["Account ID", "Zip", "Kundennr.", "CEP", "Employee number"])
def test_identifiers_are_not_sent_as_amounts(header: str, begin: Callable[..., Any]) -> None:
    config, _, _ = begin([["Phone", header], *zip(us(4), ["10117", "20095", "80331", "50667"], strict=True)])
    assert not config.variables


def test_leading_zeros_are_no_amounts(begin: Callable[..., Any]) -> None:
    assert not begin([["Phone", "Shelf"], *zip(us(3), ["0017", "12", "9"], strict=True)])[0].variables


# Laws.


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_header_has_a_meaning_or_none(header: str) -> None:
    assert meaning(header) == meaning(header.strip())
    assert language([header]) in (None, "de", "en", "es", "fr", "it", "pt")
