"""Phone text → E.164, or why not.

`phonenumbers` decides what a number is; this module refuses first what it would let through: letters read as keypad
digits, extensions dropped, a second number ignored, a lost plus read as a stranger's number.
"""

import re
import unicodedata
from typing import Literal

import phonenumbers
import polars as pl
from phonenumbers import NumberParseException, PhoneNumber, ValidationResult

MissingPlus = Literal["refuse", "restore", "national"]

_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\ufeff\u00ad]")
_DASHES = re.compile("[\u2010-\u2015\u2212\uff0d]")
_EXTENSION = re.compile(r"(?i)(?:;?\s*ext(?:ension|n)?\.?\s*[:=]?|\bx\.?|#|\bdurchwahl|\bdw\.?|\bramal)\s*\d{1,7}\s*$")
_LABEL = re.compile(r"(?i)^\s*(?:tel:|(?:[^\W\d_][\w. -]{0,20}?)\s*:)\s*(?=[+(\d])")
_SCIENTIFIC = re.compile(r"^[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d+$")
_FLOAT = re.compile(r"^\+?\d+[.,]0+$")
_SEVERAL = re.compile(r"\s*(?:[;,|\n\r]+|\s/\s|\bor\b|\band\b|\boder\b|\bund\b|\bou\b|\be\b|\by\b|&)\s*", re.IGNORECASE)
_PLAIN = re.compile(r"^\+?[\d\s().\-/]+$")


def parse_phones(
    texts: pl.Series,
    regions: pl.Series | str | None,
    *,
    missing_plus: MissingPlus = "refuse",
    several: Literal["refuse", "first"] = "refuse",
) -> pl.DataFrame:
    """Judge each text; equal texts of one region are judged once.

    `regions` are ISO 3166 alpha-2 codes for numbers without a `+`: one for all, one per text, or None. Returns
    `phone` (String, E.164 or null), `code` and `reason` (String, why not); all null for an empty text.
    """
    by_text = (
        regions
        if isinstance(regions, pl.Series)
        else pl.Series([regions], dtype=pl.String).new_from_index(0, texts.len())
    )
    asked = pl.DataFrame({"text": texts, "region": by_text.str.strip_chars().str.to_uppercase()})
    unique = asked.unique().filter(pl.col("text").is_not_null())
    judged = [_judge(text, region or None, missing_plus, several) for text, region in unique.iter_rows()]
    answers = pl.DataFrame(judged, schema={"phone": pl.String, "code": pl.String, "reason": pl.String}, orient="row")
    return asked.join(
        unique.hstack(answers), on=["text", "region"], how="left", nulls_equal=True, maintain_order="left"
    ).select("phone", "code", "reason")


_Answer = tuple[str | None, str | None, str | None]


def _judge(text: str, region: str | None, missing_plus: MissingPlus, several: str) -> _Answer:
    shown = repr(text[:60])
    clean = _tidy(text)
    if not clean:
        return None, None, None
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        return (
            None,
            "phone_region_unknown",
            f"the country {region!r} is none that is known. Right are two-letter codes such as US, DE or GB.",
        )
    if several == "first":
        return _first(clean, region, missing_plus, shown)
    if _SCIENTIFIC.match(clean):
        return (
            None,
            "phone_scientific",
            f"{shown} was damaged by Excel: the last digits are lost. Take the number from its source, in a column formatted as text.",
        )
    if _FLOAT.match(clean):
        return (
            None,
            "phone_float",
            f"{shown} is a number with decimals, as a spreadsheet export makes it. Export the column as text.",
        )
    if _LABEL.match(clean):
        return None, "phone_label", f"{shown} has a label before the number. Take it out, or set phone.several: first."
    parts = [part for part in _split(clean) if part]
    if len(parts) > 1 and sum(len(_digits(part)) >= 5 for part in parts) > 1:
        return None, "phone_several", f"{shown} holds several numbers. Leave one, or set phone.several: first."
    if _EXTENSION.search(clean) and len(_digits(_EXTENSION.sub("", clean))) >= 5:
        return None, "phone_extension", f"{shown} has an extension, which can't be dialled. Write the number alone."
    if "\ufffd" in clean or not _digits(clean):
        return None, "phone_not_a_number", f"{shown} is no phone number. Right is, for instance, +49 30 …"
    if any(letter.isalpha() for letter in clean):
        return None, "phone_letters", f"{shown} holds letters. Write the number in digits."
    if not _PLAIN.match(clean):
        return (
            None,
            "phone_not_a_number",
            f"{shown} holds signs that no phone number has. Right is, for instance, +49 30 …",
        )
    return _parse(clean, region, missing_plus, shown)


def _tidy(text: str) -> str:
    text = _DASHES.sub("-", _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)))
    return text.strip().removeprefix("'").strip()


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())


def _split(text: str) -> list[str]:
    parts = _SEVERAL.split(text)
    if len(parts) == 1 and "/" in text:
        # "030/23125017" is one number with its area code, "03023125017/03023125018" are two.
        halves = text.split("/")
        if all(len(_digits(half)) >= 7 for half in halves):
            return halves
    return parts


def _first(text: str, region: str | None, missing_plus: MissingPlus, shown: str) -> _Answer:
    """Return the first usable number of a cell that may hold several, with labels."""
    last: _Answer = (None, "phone_not_a_number", f"{shown} holds no phone number that can be used.")
    for part in _split(text):
        answer = _judge(_LABEL.sub("", part), region, missing_plus, "refuse")
        if answer[0] is not None:
            return answer
        if answer[1] is not None:
            last = answer
    return last


def _parse(text: str, region: str | None, missing_plus: MissingPlus, shown: str) -> _Answer:
    digits = _digits(text)
    if text.count("+") > 1 or ("+" in text and not text.lstrip("( ").startswith("+")):
        return None, "phone_not_a_number", f"{shown} has a + inside the number. Right is one + in front."
    if "+" not in text and region is None:
        if digits.startswith("00"):
            text = "+" + digits[2:]
        else:
            return None, "phone_no_region", f"{shown} has no country. Set phone.region, or write it as +49…."
    if "+" in text and digits.startswith("0"):
        return None, "phone_not_a_number", f"{shown}: no country's code begins with 0. Right is, for instance, +49 30 …"
    number, problem = _read(text, region, shown)
    if number is None:
        international = _valid("+" + digits, None) if "+" not in text and missing_plus == "restore" else None
        return (international, None, None) if international else problem
    phone = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if not digits.endswith(str(number.national_number)):
        return None, "phone_not_a_number", f"{shown} could be read only by leaving out digits. Write it as +49…."
    if "+" in text or not _could_have_lost_plus(digits, number, region):
        return phone, None, None
    other = _valid("+" + digits, None)
    if other is None or other == phone or missing_plus == "national":
        return phone, None, None
    if missing_plus == "restore":
        return other, None, None
    return (
        None,
        "phone_plus_lost",
        f"{shown} may be {phone} or, with its + lost, {other}. Write it with its +, or set phone.missing_plus.",
    )


def _read(text: str, region: str | None, shown: str) -> tuple[PhoneNumber | None, _Answer]:
    """Return the number, or None and why it is none."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException as error:
        code = {
            NumberParseException.TOO_SHORT_NSN: "phone_too_short",
            NumberParseException.TOO_SHORT_AFTER_IDD: "phone_too_short",
            NumberParseException.TOO_LONG: "phone_too_long",
        }.get(error.error_type, "phone_not_a_number")
        words = {
            "phone_too_short": "is too short for a phone number",
            "phone_too_long": "is too long for a phone number",
        }.get(code, "has no country code that exists")
        return None, (None, code, f"{shown} {words}. Right is, for instance, +49 30 …")
    if phonenumbers.is_valid_number(number):
        return number, (None, None, None)
    country = phonenumbers.region_code_for_country_code(number.country_code or 0)
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible in (ValidationResult.TOO_SHORT, ValidationResult.IS_POSSIBLE_LOCAL_ONLY):
        return None, (
            None,
            "phone_too_short",
            f"{shown} is too short for a number of {country}; digits seem to be missing.",
        )
    if possible in (ValidationResult.TOO_LONG, ValidationResult.INVALID_LENGTH):
        return None, (
            None,
            "phone_too_long" if possible == ValidationResult.TOO_LONG else "phone_too_short",
            f"{shown} has a length that no number of {country} has.",
        )
    return None, (
        None,
        "phone_not_in_use",
        f"{shown} has the right length for {country}, but no such numbers are in use.",
    )


def _could_have_lost_plus(digits: str, number: PhoneNumber, region: str | None) -> bool:
    """Tell digits that may be international from those with a prefix that only national numbers have."""
    assert region is not None
    if number.country_code == 1:  # ten digits are national, and eleven from 1 have one reading only
        return False
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
    prefix = metadata.national_prefix if metadata is not None else None
    return not (prefix and digits.startswith(prefix)) and not digits.startswith("00")


def _valid(text: str, region: str | None) -> str | None:
    """Return the E.164 of a valid number, else None."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return None
    return (
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        if phonenumbers.is_valid_number(number)
        else None
    )
