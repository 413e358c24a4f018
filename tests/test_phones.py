"""phonenumbers is the judge: the fast path says what the slow one says, and both what the library says."""

import random
import re

import phonenumbers
import polars as pl
import pytest
from phone_texts import COMMON, REGIONS, phone_texts, valid_numbers

from importer.phone_patterns import WORTH_ASKING, answer
from importer.phones import judge, parse_phones


def test_the_fast_path_answers_as_the_judge_does() -> None:
    made = phone_texts(50_000, 20_261)
    frame = pl.DataFrame(made, schema={"text": pl.String, "region": pl.String}, orient="row")
    answered = 0
    for (region,), part in frame.partition_by("region", as_dict=True).items():
        fast = answer(part["text"], region, missing_plus="refuse", worth=10)  # type: ignore[arg-type]
        for text, phone in zip(part["text"], fast, strict=True):
            if phone is not None:
                answered += 1
                assert judge(text, region) == (phone, None, None), (text, region)  # type: ignore[arg-type]
    assert answered > 10_000


@pytest.mark.parametrize("missing_plus", ["refuse", "restore", "national"])
def test_a_column_is_answered_as_each_text_by_itself(missing_plus: str) -> None:
    made = [one for one in phone_texts(30_000, 20_262) if one[1] in COMMON[:6]]
    assert len(made) > 6 * WORTH_ASKING
    texts = pl.Series([text for text, _ in made], dtype=pl.String)
    regions = pl.Series([region for _, region in made], dtype=pl.String)
    found = parse_phones(texts, regions, missing_plus=missing_plus)  # type: ignore[arg-type]
    for (text, region), got in zip(made, found.iter_rows(), strict=True):
        assert got == judge(text, region, missing_plus=missing_plus), (text, region)  # type: ignore[arg-type]


def test_what_is_accepted_is_what_phonenumbers_calls_valid() -> None:
    made = phone_texts(6_000, 7)
    accepted = [(text, region, phone) for text, region in made if (phone := judge(text, region)[0])]
    assert len(accepted) > 1_000
    for text, region, phone in accepted:
        number = phonenumbers.parse(phone)
        assert phonenumbers.is_valid_number(number), (text, region, phone)
        assert phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) == phone


@pytest.mark.parametrize("region", random.Random(5).sample(REGIONS, 40))
def test_a_number_with_its_country_is_itself_however_it_is_read(region: str) -> None:
    numbers = list(valid_numbers(region, 5, 11))
    other = "US" if region != "US" else "DE"
    for spelled in (numbers, [number.replace("+", "+ ") for number in numbers]):
        found = parse_phones(pl.Series(spelled), other)
        assert found["phone"].to_list() == numbers


# The traps that is_valid_number lets through.


@pytest.mark.parametrize(
    ("text", "region", "code"),
    [
        ("1-800-FLOWERS", "US", "phone_letters"),
        ("+1 212 555 0100 ext 5", "US", "phone_extension"),
        ("+1 212 555 0100 x12", "US", "phone_extension"),
        ("491701234567", "DE", "phone_plus_lost"),
        ("447911123456", "DE", "phone_plus_lost"),
        ("+1 212 555 0100 / +1 212 555 0101", "US", "phone_several"),
        ("4.91E+11", "DE", "phone_scientific"),
        ("3023125.5", "DE", "phone_float"),
        ("493023125017.25", "DE", "phone_float"),
        ("3023125017.0", "DE", "phone_float"),
        ("212 555", "US", "phone_too_short"),
        ("07700 900123", "GB", "phone_not_in_use"),
        ("212 555 0100", None, "phone_no_region"),
        ("Mobile: +1 212 555 0100", "US", "phone_label"),
        ("2026-01-31", "US", "phone_not_a_number"),
    ],
)
def test_a_trap_is_refused_with_its_own_code(text: str, region: str | None, code: str) -> None:
    phone, found, reason = judge(text, region)
    assert (phone, found) == (None, code)
    assert text in (reason or "")


@pytest.mark.parametrize(
    ("text", "region", "advice"),
    [
        ("3333-4444", "BR", "The area code may be missing."),
        ("99999-7777", "BR", "The area code may be missing."),
        ("11 00000-7777", "BR", "Check its digits and its country."),
    ],
)
def test_a_local_number_that_is_as_long_as_special_ones_is_told_what_it_may_lack(
    text: str, region: str, advice: str
) -> None:
    _, code, reason = judge(text, region)
    assert code == "phone_not_in_use"
    assert str(reason).endswith(advice)


@pytest.mark.parametrize("country", ["GB", "FR", "CH", "AT", "PL", "IT", "NL"])
def test_a_foreign_number_that_lost_its_plus_never_becomes_a_german_one(country: str) -> None:
    for number in valid_numbers(country, 90, 3):
        phone = judge(number.removeprefix("+"), "DE")[0]
        assert phone in (None, number)
        assert judge(number.removeprefix("+"), "DE", missing_plus="restore")[0] in (None, number)


@pytest.mark.parametrize("text", ["2125550100", "12125550100", "(212) 555-0100", "1 212-555-0100", "+1 (212) 555-0100"])
def test_ten_and_eleven_digits_have_one_reading_in_north_america(text: str) -> None:
    assert judge(text, "US")[0] == "+12125550100"


def test_equal_texts_are_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from importer import phones

    judged: list[str] = []
    real = phones.judge

    def counting(text: str, *rest: object, **more: object) -> object:
        judged.append(text)
        return real(text, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(phones, "judge", counting)
    found = phones.parse_phones(pl.Series(["call 12", "nobody"] * 5_000), "US")
    assert found["code"].n_unique() >= 1
    assert sorted(judged) == ["call 12", "nobody"]


def test_several_first_takes_the_first_number_that_can_be_called() -> None:
    for text in ("212 555 0100 / 212 555 0101", "Fax: 212 555 0101; Mobile: 212 555 0100", "n/a, 2125550100"):
        assert judge(text, "US", several="first")[0] == "+12125550100", text
    assert re.match("phone_", judge("12 / 13", "US", several="first")[1] or "")
