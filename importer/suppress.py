"""Do-not-call lists: which E.164 numbers must not be imported."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from importer.cells import mend_phones
from importer.errors import Refused
from importer.phones import parse_phones
from importer.read import read
from importer.records import Source, Table
from importer.wording import count_of

#: Digits enough for a phone number, and what has them but is a day.
_DIGITS = r"(?:\d\D*){7}"
_DAY = r"^\s*\d{1,4}[-./]\d{1,2}[-./]\d{1,4}\b"

_CELLS = {"row": pl.Int64, "text": pl.String}

_OR_REGION = ", or set phone.region in the config"

#: Rows of a list that are named where their numbers can't be read.
_NAMED = 5


def suppression_list(paths: Sequence[Path], regions: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Return the numbers on the lists, each with the name of its list, and what people must know about the lists.

    `regions`, those of the leads, read numbers without a `+`, each of them in every one. A list is a text file with a number a line, or a CSV or workbook: there every
    column counts that holds numbers. A number is held back in every reading it may have. Rows whose number can't be
    read protect nobody, and are told. Raises `Refused` for a list that can't be read, and for one with no number in
    it, since such a list protects nobody.
    """
    found: dict[str, str] = {}
    notes: list[str] = []
    problems: list[str] = []
    for path in paths:
        try:
            numbers, told = _list(path, regions)
        except Refused as refusal:
            problems += refusal.problems
            continue
        notes += told
        found |= dict.fromkeys(numbers, path.name)
    if problems:
        raise Refused(*problems)
    return found, notes


def _list(path: Path, regions: Collection[str]) -> tuple[pl.Series, list[str]]:
    """Return the numbers on one list, and what people must know about it."""
    notes: list[str] = []
    table = read(path, Source())
    cells = _cells(table)
    numbers = _numbers(cells["text"], regions)
    if numbers.is_empty() and table.cells.height:
        raise Refused(
            f"suppression list {path}: none of its {table.cells.height} rows holds a phone number that can be read. "
            f"Write one number a line, with its country as +49…{'' if regions else _OR_REGION}."
        )
    if numbers.is_empty() and not table.headers:
        notes.append(f"Warning: suppression list {path.name} is empty, so nobody is held back by it.")
    notes += _unread(path, cells, numbers, regions)
    return numbers["phone"], notes


def _cells(table: Table) -> pl.DataFrame:
    """Return every filled cell as `row` (Int64) and `text` (String).

    Those of the header too, as it may be a number, and those beyond the header: a comma in a name must protect nobody less.
    """
    rows = table.places["row"]
    above = 1 if rows.is_empty() else int(rows[0]) - 1
    headers = pl.DataFrame({"row": [above] * len(table.headers), "text": table.headers}, schema=_CELLS)
    columns = [pl.DataFrame({"row": rows, "text": column}, schema=_CELLS) for column in mend_phones(table)]
    beyond = [(rows[index], text) for index, text in table.left_over]
    return pl.concat([headers, *columns, pl.DataFrame(beyond, schema=_CELLS, orient="row")]).drop_nulls("text")


def _numbers(texts: pl.Series, regions: Collection[str]) -> pl.DataFrame:
    """Return `text` and `phone` of each text that is a number, once for each of its readings."""
    texts = texts.unique()
    bare = texts.filter(~texts.str.strip_chars().str.starts_with("+"))
    readings = [_read(texts, None, "national"), _read(bare, None, "restore")]
    readings += [_read(bare, region, plus) for region in sorted(regions) for plus in ("national", "restore")]
    return pl.concat(readings).drop_nulls().unique(maintain_order=True)


def _read(texts: pl.Series, region: str | None, plus: Literal["national", "restore"]) -> pl.DataFrame:
    return pl.DataFrame(
        {"text": texts, "phone": parse_phones(texts, region, missing_plus=plus, several="first")["phone"]}
    )


def _unread(path: Path, cells: pl.DataFrame, numbers: pl.DataFrame, regions: Collection[str]) -> list[str]:
    """Tell which rows hold digits as a number has them, but none that can be read."""
    text = pl.col("text")
    rows = cells.group_by("row", maintain_order=True).agg(
        meant=(text.str.contains(_DIGITS) & ~text.str.contains(_DAY)).any(),
        read=text.is_in(numbers["text"].implode()).any(),
    )
    unread = rows.filter(pl.col("meant") & ~pl.col("read"))["row"].sort()
    if unread.is_empty():
        return []
    hold, where = count_of(unread.len(), "row holds", plural="rows hold"), "row" if unread.len() == 1 else "rows"
    named = ", ".join(f"{row:,}" for row in unread.head(_NAMED)) + (", …" if unread.len() > _NAMED else "")
    return [
        f"Warning: suppression list {path.name}: {hold} a number that can't be read ({where} {named}), so nobody is "
        f"held back by it. Write it with its country as +49…{'' if regions else _OR_REGION}."
    ]
