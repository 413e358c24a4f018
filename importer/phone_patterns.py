"""Answer the usual phone notations of a whole column at once; what is not answered here is left to `phones`.

The patterns are those of the installed `phonenumbers`, compiled for a region when it is first met. Each step is one
of `phonenumbers.parse` and `is_valid_number`, done to a Series; where a step can't be done so, the number stays
unanswered. No rule is decided here: a number answered is one that `phones` would answer alike.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal

import phonenumbers
import polars as pl
from phonenumbers import PhoneMetadata

MissingPlus = Literal["refuse", "restore", "national"]

_SPACE = " \u00a0\u2009\u202f"
_DASH = "\\-\u2010\u2011\u2012\u2013\u2014\u2212"
_SIGN = f"[{_SPACE}{_DASH}.()]"
_GAP = f"[{_SPACE}]?"

#: How one number is written. A slash may follow the area code, so what is before it is short and what is after it is
#: long and has no prefix: in '030 23125017/18' the slash means "or".
PLAIN = (
    f"^(?:\\(?\\+?{_GAP}\\(?[0-9](?:{_SIGN}*[0-9])*\\)?"
    f"|(?:\\(?[0-9]{{2,6}}\\)?|\\(?(?:\\+|00){_GAP}[0-9]{{1,3}}\\)?[{_SPACE}{_DASH}]?(?:\\(0\\){_GAP})?\\(?[0-9]{{1,5}}\\)?)"
    f"{_GAP}/{_GAP}[1-9](?:[{_SPACE}{_DASH}.]*[0-9]){{4,}})$"
)
#: Digits and signs that are a date, a decimal number, or end in a bracket of their own.
_DAY = "(?:0?[1-9]|[12][0-9]|3[01])"
_BETWEEN = f"[{_DASH}./]"
DATE = f"(?:(?:19|20)[0-9]{{2}}{_BETWEEN}{_DAY}{_BETWEEN}{_DAY}|{_DAY}{_BETWEEN}{_DAY}{_BETWEEN}(?:19|20)[0-9]{{2}})"
FLOAT = "\\+?[0-9]{6,}(?:\\.[0-9]{1,2}|,0{1,2})"
BRACKET_TAIL = f".*\\([{_SPACE}]*[0-9]{{1,4}}[{_SPACE}]*\\)"
_SPECIAL = f"^(?:{DATE}|{FLOAT}|{BRACKET_TAIL})$"

#: A column's way through the patterns takes some 20 ms, and that through those of a calling code 5 ms, as much as so many
#: numbers judged singly.
WORTH_ASKING, _WORTH_COMPILING = 500, 200

_TYPES = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "personal_number",
    "voip",
    "pager",
    "uan",
    "voicemail",
)


def answer(
    texts: pl.Series, region: str | None, *, missing_plus: MissingPlus, worth: int = _WORTH_COMPILING
) -> pl.Series:
    """Return the E.164 of each text that is a usual notation of a valid number, null for every other.

    `region` is a supported region or None. Countries met fewer than `worth` times are left unanswered.
    """
    clean = texts.str.strip_chars()
    usual = clean.str.contains(PLAIN) & ~clean.str.contains(_SPECIAL)
    digits = _where(usual, clean.str.replace_all("[^0-9]", ""))
    plus = clean.str.contains("+", literal=True)
    phone = _international(_where(plus, digits), worth).phone
    rest = _where(~plus, digits)
    if region is None:
        marked = _international(_without(rest, "00"), worth).phone
        bare = _international(_where(~rest.str.starts_with("00"), rest), worth).phone
        return _first(phone, marked, bare) if missing_plus == "restore" else _first(phone, marked)
    brackets = area_in_brackets(region)
    sure = clean.str.contains(brackets) if brackets else clean.is_null()
    return _first(phone, _from_region(rest, _country(region), sure, missing_plus=missing_plus, worth=worth))


@lru_cache(maxsize=256)
def area_in_brackets(region: str) -> str | None:
    """Return how national numbers begin where their area code is usual in brackets, with no prefix, else None.

    So it is in Brazil, Chile, Colombia and the US: "(11) 98765-4321" is not a number that has lost its plus.
    """
    metadata = PhoneMetadata.metadata_for_region(region)
    assert metadata is not None
    groups = {
        group[0]
        for way in metadata.number_format
        if (way.national_prefix_formatting_rule or way.format or "").startswith("(\\1)")
        if (group := re.match(r"\(\\d(?:\{\d+\})?\)", way.pattern or ""))
    }
    return _ascii(f"^\\((?:{'|'.join(sorted(groups))})\\)") if groups else None


def _from_region(
    digits: pl.Series, country: "_Country", sure: pl.Series, *, missing_plus: MissingPlus, worth: int
) -> pl.Series:
    """Answer digits as they are dialled in a country; `sure` ones can't have lost a plus."""
    marked = _international(_without(digits, "00"), worth)
    abroad = marked.phone if country.idd == "00" else _dialled_abroad(digits, country, marked, worth=worth)
    home = _where(~digits.str.contains(f"^(?:00|{country.idd})"), digits)

    # The country's own code without its plus, as in 12125550100 (`_maybe_extract_country_code`).
    code = str(country.code)
    after = _without(home, code)
    coded = after.is_not_null()
    known_strip = ~country.has_prefix(after)
    whole = country.matches(home)
    longer = home.str.len_bytes() > country.longest
    with_code = coded & known_strip & ((~whole & country.matches(after)) | longer)
    without_code = ~coded | (known_strip & ~with_code) | (whole & ~longer)

    # Read both ways; where the digits may have lost a plus the two must agree.
    national = _valid(country.significant(_where(without_code, home)), country.code)
    asked = with_code if missing_plus == "national" else with_code | (country.may_have_lost_plus(home) & ~sure)
    other = _international(_where(asked, home), worth)
    first = _first(national.phone, _where(with_code, other.phone))
    if missing_plus == "national":
        return _first(abroad, first)
    settled = ~asked | (other.phone == first).fill_null(value=False) | (other.known & other.phone.is_null())
    phone = _where(settled, first)
    if missing_plus == "restore":
        phone = _first(_where(asked, other.phone), phone)
    return _first(abroad, phone)


def _dialled_abroad(digits: pl.Series, country: "_Country", marked: "_Reading", *, worth: int) -> pl.Series:
    """Answer digits with the prefix by which a country dials abroad, such as 011, and those that begin with 00.

    There 00… is not dialled, but written by people from elsewhere (`marked`); where it is a number of the country all
    the same, the two must agree.
    """
    zero = digits.str.starts_with("0")
    after = _where(zero, digits.str.extract(f"^(?:{country.idd})(.*)$", country.idd_groups + 1))
    dialled = _international(_where(~after.str.starts_with("0"), after), worth)
    twice = digits.str.starts_with("00")
    national = _valid(country.significant(_where(twice & after.is_null(), digits)), country.code)
    first, known = _first(dialled.phone, national.phone), dialled.known | national.known
    same = (first == marked.phone).fill_null(value=False)
    settled = same | (known & first.is_null()) | (marked.known & marked.phone.is_null())
    return _where(~twice, dialled.phone).zip_with(
        ~twice.fill_null(value=False), _where(settled, _first(marked.phone, first))
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """E.164 numbers, null where there is none; `known` where null says that the number is not valid."""

    phone: pl.Series
    known: pl.Series


def _international(digits: pl.Series, worth: int) -> _Reading:
    """Read digits as what follows a plus."""
    frame = pl.DataFrame({"digits": digits, "code": digits.str.extract(_calling_codes())}).with_row_index("at")
    no_code = digits.is_not_null() & frame["code"].is_null()
    parts = frame.filter(pl.col("code").is_not_null()).partition_by("code", as_dict=True)
    answered = [
        pl.DataFrame({"at": part["at"], "phone": reading.phone, "known": reading.known})
        for (code,), part in parts.items()
        if part.height >= worth
        for reading in [_after_code(part["digits"], int(code))]
    ]
    if not answered:
        return _Reading(digits.clear(digits.len()), no_code)
    joined = frame.select("at").join(pl.concat(answered), on="at", how="left", maintain_order="left")
    return _Reading(joined["phone"], joined["known"].fill_null(value=False) | no_code)


def _after_code(digits: pl.Series, code: int) -> _Reading:
    country = _country(phonenumbers.region_code_for_country_code(code), code)
    return _valid(country.significant(digits.str.slice(len(str(code)))), code)


def _valid(national: pl.Series, code: int) -> _Reading:
    """Judge national significant numbers of a calling code; null ones are not known.

    The regions of a code are asked in order: the first that has the number decides (`region_code_for_number`).
    """
    known = national.is_not_null()
    valid = pl.repeat(value=False, n=national.len(), dtype=pl.Boolean, eager=True)
    remaining = pl.DataFrame({"national": national}).with_row_index("at").filter(known)
    found: list[pl.Series] = []
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code]:
        country = _country(region, code)
        in_use = country.in_use(remaining["national"])
        its_own = remaining["national"].str.contains(country.leading) if country.leading else in_use
        found.append(remaining["at"].filter(its_own & in_use))
        remaining = remaining.filter(~its_own)
        if remaining.is_empty():
            break
    valid = valid.scatter(pl.concat(found), values=True)
    return _Reading(_where(valid, f"+{code}" + national), known)


@dataclass(frozen=True, slots=True)
class _Country:
    """One region's metadata as patterns that polars can run."""

    code: int
    idd: str
    """What is dialled before a number abroad."""
    idd_groups: int
    prefix: str | None
    """What national numbers begin with when dialled at home, one group for what follows."""
    prefix_groups: int
    rewrites: bool
    """Whether a matched last group of `prefix` changes the number instead of being cut off."""
    national_prefix: str | None
    viable: str
    lengths: frozenset[int]
    local_lengths: frozenset[int]
    possible: str
    used: str
    leading: str | None

    @property
    def longest(self) -> int:
        """Return the greatest possible length of a number."""
        return max(self.lengths)

    def matches(self, digits: pl.Series) -> pl.Series:
        """Tell whether digits match the general pattern, whatever their length."""
        return digits.str.contains(self.viable)

    def has_prefix(self, digits: pl.Series) -> pl.Series:
        """Tell whether digits begin with a prefix (or carrier code) that may be cut off."""
        return digits.str.contains(self.prefix) if self.prefix else digits.is_null()

    def significant(self, digits: pl.Series) -> pl.Series:
        """Cut the national prefix off as `_maybe_strip_national_prefix_carrier_code` does; null where it rewrites."""
        if self.prefix is None:
            return digits
        rest = digits.str.extract(self.prefix, self.prefix_groups + 1)
        length = rest.str.len_bytes().cast(pl.Int64)
        usable = length.is_in(sorted(self.lengths)) | (
            (length > self.longest) & ~length.is_in(sorted(self.local_lengths))
        )
        kept = self.matches(digits) & ~self.matches(rest)
        cut = (usable & ~kept).fill_null(value=False)
        significant = rest.zip_with(cut, digits)
        if not self.rewrites:
            return significant
        return _where(digits.str.extract(self.prefix, self.prefix_groups).is_null(), significant)

    def in_use(self, national: pl.Series) -> pl.Series:
        """Tell whether any type of number matches (`_number_type_helper`)."""
        tagged = _tag(national)
        return tagged.str.contains(self.possible) & tagged.str.contains(self.used)

    def may_have_lost_plus(self, digits: pl.Series) -> pl.Series:
        """Tell digits that may be international from those that only a national number begins with."""
        lost = ~digits.str.starts_with("0")
        if self.national_prefix:
            lost &= ~digits.str.starts_with(self.national_prefix)
        if self.code == 1:
            lost &= digits.str.len_bytes() != 10
        return lost.fill_null(value=False)


@lru_cache(maxsize=512)
def _country(region: str, code: int = 0) -> _Country:
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    assert metadata is not None
    prefix = metadata.national_prefix_for_parsing or None
    idd = metadata.international_prefix or "$x"
    general = metadata.general_desc
    assert general is not None
    described = [desc for name in _TYPES if (desc := getattr(metadata, name)) is not None]
    return _Country(
        code=metadata.country_code or code,
        idd=_ascii(idd),
        idd_groups=re.compile(idd).groups,
        prefix=_ascii(f"^(?:{prefix})(.*)$") if prefix else None,
        prefix_groups=re.compile(prefix).groups if prefix else 0,
        rewrites=bool(prefix and metadata.national_prefix_transform_rule),
        national_prefix=metadata.national_prefix or None,
        viable=_ascii(f"^(?:{general.national_number_pattern})$"),
        lengths=frozenset(general.possible_length),
        local_lengths=frozenset(general.possible_length_local_only),
        possible=_of_lengths([(general.possible_length, general.national_number_pattern or "")]),
        used=_of_lengths((desc.possible_length, desc.national_number_pattern or "") for desc in described),
        leading=_ascii(f"^(?:{metadata.leading_digits})") if metadata.leading_digits else None,
    )


def _of_lengths(described: Iterable[tuple[Iterable[int], str]]) -> str:
    """Return one pattern for tagged digits that match a pattern and have one of its lengths; no lengths are any."""
    ways = []
    ordered = sorted((tuple(lengths), pattern) for lengths, pattern in described if pattern)
    for lengths, group in groupby(ordered, key=lambda way: way[0]):
        tags = "".join(_TAGS[length] for length in lengths if 0 < length < len(_TAGS)) or (
            "a-z" if not lengths else "-"
        )
        ways.append(f"[{tags}](?:{'|'.join(pattern for _, pattern in group)})")
    return _ascii(f"^(?:{'|'.join(ways)})$")


#: A number's length as a letter before it, so that one pattern checks both.
_TAGS = "abcdefghijklmnopqrstuvwxyz"


def _tag(digits: pl.Series) -> pl.Series:
    lengths = digits.str.len_bytes().clip(upper_bound=len(_TAGS) - 1)
    return pl.Series(list(_TAGS)).gather(lengths.fill_null(0)) + digits


@lru_cache(maxsize=1)
def _calling_codes() -> str:
    codes = [str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE]
    return f"^({'|'.join(sorted(codes))})"


def _ascii(pattern: str) -> str:
    """Return a pattern whose digits are 0 to 9: in polars `\\d` is any script's, at ten times the size."""
    return pattern.replace("\\d", "[0-9]")


def _where(mask: pl.Series, values: pl.Series) -> pl.Series:
    return values.zip_with(mask.fill_null(value=False), values.clear(1).new_from_index(0, values.len()))


def _without(digits: pl.Series, start: str) -> pl.Series:
    """Return what follows `start`, null where digits don't begin so."""
    return _where(digits.str.starts_with(start), digits.str.slice(len(start)))


def _first(*answers: pl.Series) -> pl.Series:
    found = answers[0]
    for more in answers[1:]:
        found = found.zip_with(found.is_not_null(), more)
    return found
