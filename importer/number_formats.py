"""What a workbook's number format shows beside the number (ECMA-376 Part 1, 18.8.31): digits in front, or an amount."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

_TOKEN = re.compile(r'"([^"]*)"|\\(.)|_.|\*.|\[([^\]]*)\]|(.)', re.DOTALL)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)\s*(-?\d+(?:\.\d+)?)")
#: Letters of dates, signs of shares, powers and fractions: no format of digits.
_NO_DIGITS = re.compile(r"[A-Za-z%/@]")


#: Signs of a number format without texts in quotes, escaped signs, gaps (`_x`), fillers (`*x`) and brackets.
_SIGNS = re.compile(r'"([^"]*)"|\\(.)|[_*].|\[[^\]]*\]')


def adds_to_number(code: str) -> bool:
    """Tell whether a number format (ECMA-376 Part 1, 18.8.31) shows digits or signs that a bare number has not.

    Zeros in front, or signs before and amid the digits, as in `00000`, `"+"0`, `000-0000`; not thousands separators,
    currencies, percents, exponents, fractions and dates.
    """
    positive = re.split(r';(?=(?:[^"]*"[^"]*")*[^"]*$)', code, maxsplit=1)[0]
    bare = _SIGNS.sub(lambda match: "\0" if (match[1] or match[2] or "").strip() else "", positive)
    if re.search(r"[ymdhsegbaEGYMDHS@%/$€£¥]|General", bare):
        return False
    whole = bare.split(".")[0]
    last = max(whole.rfind(sign) for sign in "0#?")
    if last < 0:
        return False
    literals = "".join(match[1] or match[2] or "" for match in _SIGNS.finditer(positive))
    signs = re.sub(r"[0#?,\s]", "", whole[: last + 1])
    padded = len(re.sub(r"[^0#?]", "", whole[whole.find("0") :])) if "0" in whole else 0  # from the first 0 on
    return padded > 1 or (bool(signs) and "." not in bare and not re.search(r"[A-Za-z$€£¥]", literals))


#: Formats of amounts that have a number only (ECMA-376 Part 1, 18.8.30). Some of them Excel shows by the machine's language.
BUILT_IN_AMOUNTS = {number: str(number) for number in (*range(2, 14), *range(37, 45), 48)}


def is_amount(code: str) -> bool:
    """Tell whether a number format shows amounts: decimals, thousands, fractions, a currency, a share, an exponent.

    A format that Excel knows by its number is that number. Days and times are none, nor is what adds digits, nor what may
    show an ID, such as `0`.
    """
    if code in BUILT_IN_AMOUNTS.values():
        return True
    bare = re.sub(r"E(?=[-+]0)|(?<=[#?0 ])/(?= *[#?\d])", ".", _SIGNS.sub("", code))
    if not code.isprintable() or len(code) > _LONGEST or re.search(r"[A-Za-z/]", bare) or not re.search("[0#?]", bare):
        return False
    return bool(re.search(r"[.,%]", bare) or re.search(r"[$€£¥%]", code)) and not adds_to_number(code)


#: Formats of days and times that have a number only, by what they show at least.
BUILT_IN_DATES = dict.fromkeys((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)), "d")


def may_show_dates(code: str) -> bool:
    """Tell whether a number format may show days, times or durations; some that don't pass too."""
    bare = re.sub(
        r'"[^"]*"|\\.|[_*].|\[(?:[$<>=].*?|black|blue|cyan|green|magenta|red|white|yellow|color *\d+)\]',
        "",
        code,
        flags=re.IGNORECASE,
    )
    return bool(re.search("(?i)[dmyhs]", bare))


#: Signs of a format that Excel takes.
_LONGEST = 255


def is_telling(code: str) -> bool:
    """Tell whether a reader has to keep a number format beside the number."""
    return adds_to_number(code) or is_amount(code)


@dataclass(frozen=True, slots=True)
class _Section:
    """One part of a format: when it holds, what stands in front, and the places for digits."""

    condition: tuple[str, float] | None
    front: str
    places: str
    """Its placeholders in front of the decimals, of 0, # and ?."""

    def zeros(self) -> dict[int, str]:
        """Return the zeros that are shown in front of a number, by its count of digits."""
        return {count: "0" * self.places[: max(0, len(self.places) - count)].count("0") for count in range(1, 16)}


def shown_digits(texts: pl.Series, formats: pl.Series) -> pl.Series:
    """Return each whole number as its format shows it: digits, and a plus where one stands in front.

    Spaces, brackets and words of the format are left out. Null where the text is no whole number from 0, or the format
    does not only add digits.
    """
    frame = pl.DataFrame({"text": texts, "format": formats})
    shown = pl.lit(None, pl.String)
    number = pl.when(pl.col("text").str.contains(r"^(?:0|[1-9]\d{0,14})$")).then("text")
    for code in frame["format"].unique().drop_nulls().to_list():
        ours = pl.col("format") == code
        free = ours
        for section in _sections(code):
            if section is None:  # such numbers are shown in a way that is not known here
                break
            zeros = number.str.len_bytes().replace_strict(section.zeros(), default=None, return_dtype=pl.String)
            digits = pl.lit(section.front) + zeros + number
            shown = pl.when(free & _holds(section, number)).then(digits).otherwise(shown)
            free &= ~_holds(section, number)
    return frame.select(shown.alias("shown")).to_series()


def _holds(section: _Section, number: pl.Expr) -> pl.Expr:
    if section.condition is None:
        return pl.lit(True)
    sign, limit = section.condition
    value = number.cast(pl.Int64)
    return {
        "<": value < limit,
        "<=": value <= limit,
        ">": value > limit,
        ">=": value >= limit,
        "=": value == limit,
        "<>": value != limit,
    }[sign].fill_null(value=False)


@lru_cache(maxsize=256)
def _sections(code: str) -> tuple[_Section | None, ...]:
    """Return the sections that whole numbers from 0 may come to, in order; the last one holds for the rest."""
    parts = list(_split(code))
    sections = [_section(part) for part in parts]
    if any(section is not None and section.condition for section in sections):
        return tuple(sections[:3])
    if len(parts) > 2:  # positive; negative; zero
        zero, rest = sections[2], sections[0]
        as_zero = None if zero is None else _Section(("=", 0.0), zero.front, zero.places)
        return (as_zero or _Section(("=", 0.0), "", "0"), rest)
    return (sections[0],)


def _split(code: str) -> Iterator[str]:
    part = ""
    for token in _TOKEN.finditer(code):
        if token[4] == ";":
            yield part
            part = ""
        else:
            part += token[0]
    yield part


def _section(part: str) -> _Section | None:
    """Return what a section shows; None where it is no format of digits, or puts digits of its own between them."""
    condition, words, pattern = None, [], ""
    for token in _TOKEN.finditer(part):
        literal = token[1] if token[1] is not None else token[2]
        if literal is None and token[4] is not None and token[4] in "123456789+-()$ :€£¥":
            literal = token[4]
        if literal is not None:
            words.append((literal, bool(pattern)))
        elif token[3] is not None:
            if found := _CONDITION.match(token[3]):
                condition = (found[1], float(found[2]))
        elif token[4] is not None:
            pattern += token[4]
    whole = pattern.partition(".")[0]
    if _NO_DIGITS.search(pattern) or not re.search("[0#?]", whole) or whole.endswith(","):
        return None
    places = re.sub("[^0#?]", "", whole)
    front = _front(words)
    return None if front is None else _Section(condition, front, places)


def _front(words: list[tuple[str, bool]]) -> str | None:
    """Return the plus and the digits that stand before the number; None where digits stand between or behind."""
    if any(re.search("[^\\W\\d_]", text) for text, _ in words):
        return ""  # words, as in "No. 2 "000: what they say is not part of the number
    if any(re.search(r"[\d+]", text) for text, behind in words if behind):
        return None
    return re.sub(r"[^\d+]", "", "".join(text for text, _ in words))
