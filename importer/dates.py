"""A column of texts → dates. Whether day or month stands first is decided by the column as a whole, never guessed."""

from dataclasses import dataclass

import polars as pl

from importer.wording import count_of

#: Years outside are a two-digit year read as the first century, or a slip of the hand.
_FIRST_YEAR, _LAST_YEAR = 1900, 2199

#: With a time of day or not, of which the day counts; no zone, which might make it another day.
_ISO = r"^(\d{4}-\d{2}-\d{2})(?:[ T](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?)?$"
#: Two numbers that may be day and month, and a year of four digits, with the same sign between.
_DAY_OR_MONTH = r"^(?P<first>\d{1,2})(?P<sign>[./-])(?P<second>\d{1,2})(?P<again>[./-])(?P<year>\d{4})$"
#: So many date cells with no day above 12, beside texts that all have one: a program has swapped what it could.
_SWAPPED = 6


@dataclass(frozen=True, slots=True)
class Dates:
    """`dates` (Date, null where a text is none), `reason` (String) why a text is none, and what the summary says."""

    dates: pl.Series
    reason: pl.Series
    note: str | None = None


def read_dates(texts: pl.Series, pattern: str | None, *, workbook: bool) -> Dates:
    """Read dates by `pattern`; ISO texts without one, and in a workbook, whose date cells arrive so.

    Without a pattern 31/12/2026 and 12/31/2026 are understood too, with any of / . - between, where some cell of the
    column proves which comes first and none proves the other.
    """
    iso = texts.str.extract(_ISO).str.to_date("%Y-%m-%d", strict=False)
    if pattern is not None:
        found = texts.str.to_date(pattern, strict=False)
        return _judged(found.zip_with(found.is_not_null(), iso) if workbook else found, f"Right is {pattern!r}")
    right = "Right is 2026-12-31; for another notation set the variable's format"
    if not texts.str.contains(_DAY_OR_MONTH).any():
        return _judged(iso, right)
    return _by_order(texts, iso, right, workbook=workbook)


def _by_order(texts: pl.Series, iso: pl.Series, right: str, *, workbook: bool) -> Dates:
    """Read texts whose order is proved by one of the same sign: people who write dots may not be those who write /."""
    parts = texts.to_frame("text").select(pl.col("text").str.extract_groups(_DAY_OR_MONTH).alias("parts"))
    first, second = pl.col("first").cast(pl.Int64), pl.col("second").cast(pl.Int64)
    whole = (pl.col("sign") == pl.col("again")).fill_null(value=False)
    told = (
        parts.unnest("parts")
        .with_columns(
            by_day=whole & (first > 12) & (second <= 12),
            by_month=whole & (second > 12) & (first <= 12),
            open=whole & (first <= 12) & (second <= 12) & (first != second),
            same=whole & (first == second),
        )
        .with_columns(pl.col("by_day", "by_month").any().over("sign").name.prefix("any_"))
        .with_columns(settled=pl.col("any_by_day") != pl.col("any_by_month"))
    )
    open_day = pl.col("open") & pl.col("settled") & pl.col("any_by_day")
    open_month = pl.col("open") & pl.col("settled") & pl.col("any_by_month")
    told = told.with_columns(
        date=pl.when(pl.col("by_day") | open_day | pl.col("same"))
        .then(_date("first", "second"))
        .when(pl.col("by_month") | open_month)
        .then(_date("second", "first")),
        doubtful=pl.col("open") & ~pl.col("settled"),
    )
    found = iso.zip_with(iso.is_not_null(), told["date"])
    swapped = _swapped(iso, told) if workbook else told["doubtful"] & False
    judged = _judged(found.zip_with(~swapped, pl.Series([None], dtype=pl.Date)), right)
    reason = judged.reason.zip_with(~told["doubtful"], _all(_DOUBTFUL, texts)).zip_with(
        ~swapped, _all(_MAY_BE_SWAPPED, texts)
    )
    return Dates(judged.dates, reason, _note(texts, told))


_DOUBTFUL = (
    "may be day first or month first: no cell of the column proves which, or some prove either. Set the variable's"
    " format, such as %d/%m/%Y or %m/%d/%Y."
)
_MAY_BE_SWAPPED = (
    "is a date cell that a program may have made with day and month swapped: no date cell of the column has a day"
    " above 12, and all its texts have one. Take the dates from their source again, or set the variable's format."
)


def _date(day: str, month: str) -> pl.Expr:
    text = pl.format("{}-{}-{}", "year", pl.col(month).str.zfill(2), pl.col(day).str.zfill(2))
    return text.str.to_date("%Y-%m-%d", strict=False)


def _note(texts: pl.Series, told: pl.DataFrame) -> str | None:
    """Say which order was found, with the cell that proves it."""
    read = told.with_columns(text=texts).filter(pl.col("settled") & pl.col("sign").is_not_null())
    notes = []
    for (sign,), part in read.filter(pl.col("open").any().over("sign")).partition_by("sign", as_dict=True).items():
        order = "day first" if part["any_by_day"].first() else "month first"
        proof = part.filter(pl.col("by_day") | pl.col("by_month"))["text"].first()
        count = int(part["open"].sum())
        dates, were = count_of(count, "date"), "was" if count == 1 else "were"
        notes.append(f"{dates} with {sign} {were} read {order}, as {proof!r} shows")
    return "; ".join(notes) or None


def _swapped(iso: pl.Series, told: pl.DataFrame) -> pl.Series:
    """Tell the date cells of a column whose texts a program left alone because they have no month above 12."""
    cells = iso.is_not_null()
    proofs = bool((told["by_day"] | told["by_month"]).any())
    likely = proofs and not told["open"].any() and int(cells.sum()) >= _SWAPPED
    return cells if likely and (iso.dt.day() <= 12).all() else cells & False


def _judged(found: pl.Series, right: str) -> Dates:
    plausible = found.dt.year().is_between(_FIRST_YEAR, _LAST_YEAR).fill_null(value=False)
    return Dates(
        found.zip_with(plausible, pl.Series([None], dtype=pl.Date)),
        _all(f"is no date that can be read. {right}, and a year from {_FIRST_YEAR} to {_LAST_YEAR}.", found),
    )


def _all(text: str, like: pl.Series) -> pl.Series:
    return pl.Series([text]).new_from_index(0, like.len())
