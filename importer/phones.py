"""Phone text → E.164, or why not.

`phonenumbers` decides what a number is. It is only ever asked about digits: how they are written is judged here first,
because it would read letters as keypad digits, drop an extension and ignore a second number. Usual notations of
valid numbers are answered by `phone_patterns`, a column at a time.
"""

import gc
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import phonenumbers
import polars as pl
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, ValidationResult

from importer import phone_patterns

MissingPlus = Literal["refuse", "restore", "national"]
Several = Literal["refuse", "first"]
Extension = Literal["refuse", "drop"]

# Python's own cache of patterns holds those of some forty countries; a list from more would have each compiled again
# for every number.
phonenumbers.enable_pattern_cache()

#: Texts judged singly, from which on a column is large.
_MANY = 5_000

_SCHEMA = {"phone": pl.String, "code": pl.String, "reason": pl.String}

_SHAPE = r"^'?(?:tel:)?\(?\+?[\d(][\d\s().\-/\u00a0\u2009\u202f\u2010-\u2014]{5,24}\d\)?$"
_DATE_SHAPE = r"^\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?:[ T].*)?$"
_PLAIN = re.compile(phone_patterns.PLAIN)
_DATE = re.compile(phone_patterns.DATE)
_FLOAT = re.compile(phone_patterns.FLOAT)
_BRACKET_TAIL = re.compile(phone_patterns.BRACKET_TAIL)
_NO_DIGITS = re.compile("[^0-9]+")
_SCIENTIFIC = re.compile(r"[+-]?\d+(?:[.,]\d+)? ?[eE] ?[+-]?\d+")
_EXTENSION_WORDS = r"(?:e?xt(?:ensi[oó]n|n)?|x|durchwahl|dw|ramal|anexo|poste|interno|int|доб)"
_EXTENSION = re.compile(rf"(?i)[\s,;(]*(?:(?<![^\W\d_]){_EXTENSION_WORDS}[\s.:=]*|#\s*)\d{{1,7}}\s*\)?$")
_PARAMETER = re.compile(r"(?i);\s*(?:phone-context|isub)=")
_LABEL_WORDS = (
    r"(?:tel|telefone?|telefono|teléfono|téléphone|phone|ph|mobile?|móvil|movil|handy|cell|cel|celular|fone|fixo"
    r"|whatsapp|home|work|office|büro|buero|privat|direct|call|fax|telefax|t|m|p|h|w|f)"
)
_LABEL = re.compile(rf"(?i)(?:[^\W\d_][^\d+:]{{0,29}}:|{_LABEL_WORDS}(?![^\W_]))[\s./:-]*(?=[+(\d])")
#: Links of a messenger, whose numbers are international and have no plus; and what links have behind their number.
_CHAT_LINK = re.compile(
    r"(?i)(?:https?://)?(?:wa\.me/|api\.whatsapp\.com/send/?\?phone=|whatsapp://send/?\?phone=)(?:\+|%2B)?(?=[1-9])"
)
_LINK_TAIL = re.compile(r"(?i)(?<=\d)(?:\?(?:call|chat)|[?&]text=.*)?>?$")
_TAIL_LABEL = re.compile(r"\s*\([^\W\d_][^\d()]*\)$")
_FAX = re.compile(r"(?i)\b(?:tele)?fax\b")
_SEPARATOR = re.compile(
    rf"(?i)\s*(?:[;,|]|[\r\n])+(?!\s*{_EXTENSION_WORDS}[\s.:=]*\d)\s*|\s+/\s+"
    r"|\s+(?:or|and|oder|und|ou|et|o|e|y|&)\s+|(?<=[\d)])\s*(?=\+)"
)
_FEWEST_DIGITS = 5
"""Of a number that may stand beside another; fewer are an extension or the other's last digits."""

_ALIASES = {"UK": "GB", "U.K.": "GB", "ENGLAND": "GB", "SCOTLAND": "GB", "WALES": "GB", "EL": "GR", "HOLLAND": "NL"}
_ALIASES |= dict.fromkeys(("USA", "U.S.", "U.S.A.", "UNITED STATES OF AMERICA"), "US")


def parse_phones(
    texts: pl.Series,
    regions: pl.Series | str | None,
    *,
    missing_plus: MissingPlus = "refuse",
    several: Several = "refuse",
    extension: Extension = "refuse",
) -> pl.DataFrame:
    """Return the E.164 number of each text, or a code and a reason why there is none.

    Columns `phone`, `code` and `reason` (String), one line per text; all null for a blank text. `regions` are where
    numbers without a `+` are from: one for all, or one per text (null: none). Alpha-2 codes or names of countries,
    in any case. `missing_plus` says how digits are read that may be national or have lost their `+`; `several="first"`
    takes the first usable number of a cell, and strips labels and links; `extension="drop"` takes the number before it.
    """
    texts = texts.cast(pl.String)
    given = regions if isinstance(regions, pl.Series) else pl.Series([regions], dtype=pl.String)
    named = given.cast(pl.String).str.strip_chars().replace("", None)
    names = [name for name in named.unique() if name is not None]
    found_codes = [region_code(name) or name for name in names]
    codes = named.replace_strict(names, found_codes, default=None, return_dtype=pl.Enum(sorted(set(found_codes))))
    region = codes if isinstance(regions, pl.Series) else codes.new_from_index(0, texts.len())

    asked = pl.DataFrame({"text": texts, "region": region})
    phone = _usual(asked, missing_plus)
    # Equal texts are judged once.
    at = (phone.is_null() & texts.is_not_null()).arg_true()
    rest = asked[at]
    distinct = rest.unique(maintain_order=True)
    judged = [
        judge(text, one, missing_plus=missing_plus, several=several, extension=extension)
        for text, one in distinct.iter_rows()
    ]
    if len(judged) >= _MANY:
        # An exception in `phonenumbers` holds its own traceback, and by it the frames of all callers with what they
        # hold, which is whole columns: freed now, not when the collector comes round.
        gc.collect()
    answers = distinct.hstack(pl.DataFrame(judged, schema=_SCHEMA, orient="row"))
    found = rest.join(answers, on=["text", "region"], how="left", nulls_equal=True, maintain_order="left")
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, texts.len())
    return pl.DataFrame(
        {
            "phone": phone.scatter(at, found["phone"]),
            "code": nothing.scatter(at, found["code"]),
            "reason": nothing.clone().scatter(at, found["reason"]),
        }
    )


def _usual(asked: pl.DataFrame, missing_plus: MissingPlus) -> pl.Series:
    """Answer what is written as usual in regions that have many; null where `judge` must be asked."""
    parts = asked.with_row_index("at").partition_by("region", as_dict=True)
    answered = []
    while parts:
        (region,), part = parts.popitem()
        asks = part.height >= phone_patterns.WORTH_ASKING and (
            region is None or region in phonenumbers.SUPPORTED_REGIONS
        )
        phone = phone_patterns.answer(part["text"], region, missing_plus=missing_plus) if asks else None
        answered.append(part.select("at", phone=pl.lit(None, pl.String) if phone is None else phone))
    nothing = pl.DataFrame(schema={"at": pl.UInt32, "phone": pl.String})
    return pl.concat([nothing, *answered]).sort("at")["phone"]


#: Where a list without any country in it may come from, by the language of its headers. None: any of them.
REGIONS: dict[str | None, tuple[str, ...]] = {
    "en": ("US", "GB", "CA", "AU", "IE", "NZ", "ZA", "IN"),
    "de": ("DE", "AT", "CH"),
    "pt": ("BR", "PT"),
    "es": ("ES", "MX", "AR", "CO", "CL", "PE"),
    "fr": ("FR", "BE", "CH"),
    "it": ("IT", "CH"),
}
_ELSEWHERE = ("NL", "SE", "NO", "DK", "FI", "PL", "CZ", "GR", "TR")
REGIONS[None] = tuple(dict.fromkeys([code for codes in REGIONS.values() for code in codes] + [*_ELSEWHERE]))


def phone_shaped(texts: pl.Series) -> pl.Series:
    """Tell which texts are written as a number is, valid or not, and are no date."""
    digits = texts.str.count_matches(r"\d")
    return texts.str.contains(_SHAPE) & digits.is_between(7, 15) & ~texts.str.contains(_DATE_SHAPE)


def dial_1(regions: pl.Series | str | None) -> pl.Series | bool:
    """Tell of which countries the code is 1 (North America): there eleven digits from 1 are dialled so."""
    if not isinstance(regions, pl.Series):
        code = region_code(regions) if regions else None
        return code is not None and phonenumbers.country_code_for_region(code) == 1
    home = [name for name in regions.drop_nulls().unique() if dial_1(name)]
    return regions.is_in(home).fill_null(value=False)


def region_code(name: str) -> str | None:
    """Return the alpha-2 code of a country given by code or by its name in any language, else None."""
    name = name.strip()
    code = name.upper()
    code = _ALIASES.get(code, code)
    return code if code in phonenumbers.SUPPORTED_REGIONS else _region_names().get(name.casefold())


@lru_cache(maxsize=1)
def _region_names() -> dict[str, str]:
    from phonenumbers.geodata.locale import LOCALE_DATA  # 0.4 s, only where names are met

    return {
        # "*en" stands for "the same as in en".
        names.get(name[1:], name).casefold() if name.startswith("*") else name.casefold(): code
        for code, names in LOCALE_DATA.items()
        if code in phonenumbers.SUPPORTED_REGIONS
        for name in names.values()
    }


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a text is no number that may be called."""

    code: str
    reason: str


_Judged = str | _Refusal
_Answer = tuple[str | None, str | None, str | None]


def judge(
    text: str,
    region: str | None,
    *,
    missing_plus: MissingPlus = "refuse",
    several: Several = "refuse",
    extension: Extension = "refuse",
) -> _Answer:
    """Return phone, code and reason of one text; `region` is an alpha-2 code, or a text that is none."""
    clean = _tidy(text)
    if not clean:
        return None, None, None
    shown = repr(text if len(text) <= 60 else text[:59] + "…")
    if extension == "drop" and len(_digits(bare := _EXTENSION.sub("", clean))) >= _FEWEST_DIGITS:
        clean = bare.rstrip()
    found = _one(clean, region, missing_plus, shown)
    if several == "first" and isinstance(found, _Refusal):
        found = _first(_without_link(clean), region, missing_plus, shown) or found
    return (found, None, None) if isinstance(found, str) else (None, found.code, found.reason)


def _tidy(text: str) -> str:
    """Write digits, dashes and spaces of any script in ASCII, without what can't be seen and what ends a list."""
    plain = text if text.isascii() else "".join(map(_plain, text))
    # An apostrophe in front is how a spreadsheet keeps a number as text.
    return plain.replace("\t", " ").strip().removeprefix("'").strip().rstrip(",;|/. \r\n")


def _plain(letter: str) -> str:
    if letter.isdecimal():  # not ² or ①, which are no digits of a number
        return str(unicodedata.decimal(letter))
    if "\uff01" <= letter <= "\uff5e":
        return chr(ord(letter) - 0xFEE0)
    match unicodedata.category(letter):
        case "Zs":
            return " "
        case "Cf":
            return ""
        case "Pd":
            return "-"
        case _:
            return {"\u2212": "-", "\u30fc": "-", "\u00b7": "."}.get(letter, letter)


def _one(text: str, region: str | None, missing_plus: MissingPlus, shown: str) -> _Judged:
    """Judge a text as the notation of one number."""
    if _PLAIN.search(text) and not (_DATE.fullmatch(text) or _FLOAT.fullmatch(text) or _BRACKET_TAIL.fullmatch(text)):
        return _number(text, region, missing_plus, shown)
    return _misfit(text, shown)


_TOTAL = (
    r"(?:(?:grand|sub|sous)?[ -]?total(?:s|e|es|e generale| g[eé]n[eé]ral| geral)?"
    r"|sums?|somma|sommes?|sumas?|somas?|gesamt|(?:gesamt|zwischen|end)?summen?)"
)
#: What names a row of totals, in six languages, at times in two of them.
TOTALS = rf"^\s*{_TOTAL}(?: ?/ ?{_TOTAL})?\s?[:=]?$"


def _misfit(text: str, shown: str) -> _Refusal:
    """Say what is wrong with how a text is written: the first that fits, from the surest to the vaguest."""
    digits = _digits(text)
    numbers, crumbs = _numbers(text)
    letters = "".join(letter for letter in text if letter.isalpha())
    if "\ufffd" in text:
        return _Refusal(
            "phone_not_a_number", f"{shown} was damaged by a wrong encoding. Take it from its source again."
        )
    if re.search(TOTALS, text.strip(), re.IGNORECASE):
        return _Refusal("phone_not_a_number", f"{shown} looks like a row of totals. Take it out of the list.")
    if len(digits) < 3:
        return _Refusal(
            "phone_not_a_number", f"{shown} is no phone number. Write one as +49…, or leave the cell empty."
        )
    if _SCIENTIFIC.fullmatch(text):
        return _Refusal(
            "phone_scientific",
            f"{shown} was shortened by a spreadsheet, and its last digits are lost. Take the number from its source, in a column formatted as text.",
        )
    if _FLOAT.fullmatch(text):
        return _Refusal(
            "phone_float",
            f"{shown} is a number with decimals, as spreadsheets and exports make it. Export the column as text, or write the phone number as +49….",
        )
    if _DATE.fullmatch(text):
        return _Refusal("phone_not_a_number", f"{shown} is a date. Check which column holds the phone number.")
    if _PARAMETER.search(text):
        return _Refusal(
            "phone_not_a_number", f"{shown} has parameters of a tel: link. Write the number alone, as +49…."
        )
    if len(numbers) > 1:
        return _Refusal(
            "phone_several", f"{shown} holds {len(numbers)} numbers. Leave one, or set phone.several to first."
        )
    if (_EXTENSION.search(text) and len(_digits(_EXTENSION.sub("", text))) >= _FEWEST_DIGITS) or (
        numbers and crumbs == "after"
    ):
        return _Refusal(
            "phone_extension",
            f"{shown} has an extension, which can't be dialled. Write a direct number, or set phone.extension to drop to call without it.",
        )
    if numbers and crumbs == "slash":
        return _Refusal("phone_several", f"{shown} may mean several numbers. Leave one, or set phone.several to first.")
    if _label_of(text) is not None:
        return _Refusal(
            "phone_label", f"{shown} has words beside the number. Take them out, or set phone.several to first."
        )
    if letters:
        return _Refusal("phone_letters", f"{shown} holds letters ({letters[:20]!r}). Write the number in digits.")
    return _Refusal(
        "phone_not_a_number", f"{shown} is not written as a phone number is{_oddity(text)}. Write it as +49…."
    )


def _oddity(text: str) -> str:
    if strange := sorted(set(re.findall(r"[^0-9+().\-/ ]", text))):
        return f": it holds {', '.join(map(repr, strange[:5]))}"
    if text.startswith("-"):
        return ": it begins with a minus"
    if not text[-1].isdigit():
        return f": it ends with {text[-1]!r}"
    if "+" in text.lstrip("( ")[1:]:
        return ": a + stands only in front"
    return ""


def _digits(text: str) -> str:
    return _NO_DIGITS.sub("", text)


def _numbers(text: str) -> tuple[list[str], Literal["", "before", "after", "slash"]]:
    """Split a cell at its separators; return the numbers, and where digits stand that are too few for one.

    A bare slash parts "03023125017/03023125018" and "03023125017/18", but not "030/23125017".
    """
    parts = [part for part in _SEPARATOR.split(text) if _digits(part)]
    if len(parts) == 1 and not _PLAIN.search(text) and text.count("/") == 1:
        before, after = text.split("/")
        if len(_digits(before)) >= _FEWEST_DIGITS:
            return [part for part in (before, after) if len(_digits(part)) >= _FEWEST_DIGITS], (
                "slash" if 0 < len(_digits(after)) < _FEWEST_DIGITS else ""
            )
    whole = [len(_digits(part)) >= _FEWEST_DIGITS for part in parts]
    numbers = [part for part, is_whole in zip(parts, whole, strict=True) if is_whole]
    if all(whole):
        return numbers, ""
    return numbers, "after" if whole[0] else "before"


def _label_of(text: str) -> str | None:
    """Return a text without the words before or after its number; None where it has none."""
    bare = _TAIL_LABEL.sub("", _LABEL.sub("", text, count=1) if _LABEL.match(text) else text)
    return bare if bare != text and not any(letter.isalpha() for letter in bare) else None


def _without_link(text: str) -> str:
    return _LINK_TAIL.sub("", _CHAT_LINK.sub("+", text.removeprefix("<"), count=1))


def _first(text: str, region: str | None, missing_plus: MissingPlus, shown: str) -> _Judged | None:
    """Judge the numbers of a cell one by one, without their labels: the first usable one, else the last refusal."""
    numbers, crumbs = _numbers(text)
    if crumbs in ("before", "after") or _PARAMETER.search(text):
        return None
    found: _Judged | None = None
    for number in numbers:
        if _FAX.search(number):
            found = _Refusal("phone_label", f"{shown} is marked as a fax. Write a number that people answer.")
            continue
        found = _one((_label_of(number) or number).strip(), region, missing_plus, shown)
        if isinstance(found, str):
            break
    return found


# From here on a number is its digits, and whether a plus stands before them.


def _number(text: str, region: str | None, missing_plus: MissingPlus, shown: str) -> _Judged:
    digits = _digits(text)
    if "+" in text:
        return _international(digits, shown)
    if region is None and len(digits) < _FEWEST_DIGITS:
        return _Refusal(
            "phone_too_short", f"{shown} has too few digits for a phone number. Write all of them, as +49…."
        )
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        return _Refusal(
            "phone_region_unknown",
            f"{shown} has no country of its own, and {region!r} is none that is known. Right is a two-letter code such as US, DE or GB, or write the number as +49….",
        )
    if region is not None:
        brackets = phone_patterns.area_in_brackets(region)
        sure = brackets is not None and re.match(brackets, text) is not None
        return _from_region(digits, region, missing_plus, shown, sure=sure)
    if digits.startswith("00"):
        return _international(digits[2:], shown)
    if missing_plus == "restore" and (phone := _valid(digits)):
        return phone
    return _Refusal("phone_no_region", f"{shown} has no country. Set phone.region, or write it as +49….")


def _international(digits: str, shown: str) -> _Judged:
    if digits.startswith("0"):
        return _Refusal(
            "phone_not_a_number",
            f"{shown} has a 0 where the country's code should be. Write it as +49…, without zeros before.",
        )
    return _read("+" + digits, None, shown)


def _from_region(digits: str, region: str, missing_plus: MissingPlus, shown: str, *, sure: bool) -> _Judged:
    """Read digits as they are dialled in a region, and as what they may have been before they lost their plus.

    `sure` is that of the two it is the national reading where that is valid.
    """
    found = _read(digits, region, shown)
    if digits.startswith("00"):
        other = _valid(digits[2:])
    elif missing_plus != "national" and _may_have_lost_plus(digits, region):
        other = _valid(digits)
    else:
        other = None
    if other is None or other == found or (sure and isinstance(found, str)):
        return found
    if isinstance(found, _Refusal):
        if digits.startswith("00") or missing_plus == "restore":
            return other
        return _Refusal(
            "phone_plus_lost",
            f"{shown} is no number of {region}; with a + it would be {other}. Write it with its +, or set phone.missing_plus to restore.",
        )
    if missing_plus != "refuse":
        return other if missing_plus == "restore" else found
    return _Refusal(
        "phone_plus_lost",
        f"{shown} may be {found} or, with a + that was lost, {other}. Write it with its +, or set phone.missing_plus.",
    )


def _may_have_lost_plus(digits: str, region: str) -> bool:
    """Tell digits that may be international from those with a prefix that only national numbers have.

    In NANP countries ten digits are national, and eleven from 1 have one reading only.
    """
    metadata = PhoneMetadata.metadata_for_region(region)
    assert metadata is not None
    if digits.startswith("0") or (metadata.country_code == 1 and len(digits) == 10):
        return False
    return not (metadata.national_prefix and digits.startswith(metadata.national_prefix))


def _valid(digits: str) -> str | None:
    """Return what digits are with a plus before them, None where they are no valid number."""
    found = None if digits.startswith("0") else _read("+" + digits, None, "")
    return found if isinstance(found, str) else None


def _read(text: str, region: str | None, shown: str) -> _Judged:
    """Let `phonenumbers` read digits, which may have a plus before them."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException as error:
        return _unreadable(error.error_type, shown)
    if not phonenumbers.is_valid_number(number):
        return _invalid(number, region, shown)
    national = phonenumbers.national_significant_number(number)
    if not (text.endswith(national) or _rewritten(text, national, region)):
        return _Refusal("phone_not_a_number", f"{shown} could be read only by changing its digits. Write it as +49….")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _rewritten(text: str, national: str, region: str | None) -> bool:
    """Tell whether the region's plan itself says how digits become the number.

    As in Argentina, where 011 15… is dialled for +54 9 11…, or on islands whose only area code may be left out.
    """
    metadata = PhoneMetadata.metadata_for_region(region) if region else None
    if metadata is None or not metadata.national_prefix_transform_rule:
        return False
    assert metadata.national_prefix_for_parsing
    rule, code = metadata.national_prefix_transform_rule, str(metadata.country_code)
    ways = (text, text.removeprefix(code))
    return any(re.sub(f"^(?:{metadata.national_prefix_for_parsing})", rule, way, count=1) == national for way in ways)


def _unreadable(error: int, shown: str) -> _Refusal:
    match error:
        case NumberParseException.TOO_SHORT_NSN | NumberParseException.TOO_SHORT_AFTER_IDD:
            return _Refusal(
                "phone_too_short", f"{shown} has too few digits for a phone number. Write all of them, as +49…."
            )
        case NumberParseException.TOO_LONG:
            return _Refusal(
                "phone_too_long", f"{shown} has too many digits for a phone number. Write one number, as +49…."
            )
        case _:
            return _Refusal(
                "phone_not_a_number",
                f"{shown} begins with a country code that does not exist. Right is, for instance, +49….",
            )


def _invalid(number: PhoneNumber, region: str | None, shown: str) -> _Refusal:
    code = number.country_code or 0
    main = phonenumbers.region_code_for_country_code(code)
    if region and phonenumbers.country_code_for_region(region) == code:
        main = region
    country = f"+{code}" if main == "001" else f"{main} (+{code})"
    national = phonenumbers.national_significant_number(number)
    match phonenumbers.is_possible_number_with_reason(number):
        case ValidationResult.TOO_LONG:
            return _Refusal(
                "phone_too_long", f"{shown} has too many digits: {len(national)} after +{code}, {_lengths(code, main)}."
            )
        case ValidationResult.IS_POSSIBLE:
            return _Refusal(
                "phone_not_in_use",
                f"{shown} has the right length for {country}, but no such numbers are in use there. {_advice(national, code, main)}",
            )
        case _:
            return _Refusal(
                "phone_too_short",
                f"{shown} has too few digits: {len(national)} after +{code}, {_lengths(code, main)}. The area code may be missing.",
            )


def _advice(national: str, code: int, region: str) -> str:
    """Say what to look at in a number that only special services might have: in Brazil, 8 or 9 digits are a local one."""
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    assert metadata is not None
    kinds = [kind for kind in (metadata.fixed_line, metadata.mobile) if kind]
    if len(national) < min((length for kind in kinds for length in kind.possible_length if length > 0), default=0):
        return "The area code may be missing."
    return "Check its digits and its country."


def _lengths(code: int, region: str) -> str:
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    assert metadata is not None
    assert metadata.general_desc is not None
    *some, last = map(str, metadata.general_desc.possible_length)
    return f"where {', '.join(some)} or {last} are right" if some else f"where {last} are right"
