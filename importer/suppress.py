"""Do-not-call lists: which E.164 numbers must not be imported."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from importer.cells import mend_phones
from importer.errors import Refused
from importer.phones import parse_phones
from importer.read import read
from importer.records import Source


def suppression_list(paths: Sequence[Path], region: str | None) -> dict[str, str]:
    """Return the numbers on the lists, each with the name of its list; `region` reads those without a `+`.

    A list is a text file with a number a line, or a CSV or workbook: there every column counts that holds numbers.
    A number is held back in every reading it may have. Raises `Refused` for a list that can't be read, and for one
    with no number in it, since such a list protects nobody.
    """
    found: dict[str, str] = {}
    for path in paths:
        table = read(path, Source())
        cells = mend_phones(table)
        texts = pl.concat([pl.Series(table.headers, dtype=pl.String), *cells.get_columns()])
        numbers = _numbers(texts, region)
        if not numbers and table.cells.height:
            raise Refused(
                f"suppression list {path}: none of its {table.cells.height} rows holds a phone number that can be read. "
                "Write one number a line, with its country as +49…, or set phone.region in the config."
            )
        found |= dict.fromkeys(numbers, path.name)
    return found


def _numbers(texts: pl.Series, region: str | None) -> list[str]:
    texts = texts.drop_nulls().unique()
    readings = [
        parse_phones(texts, region, missing_plus="national", several="first")["phone"],
        parse_phones(texts, region, missing_plus="restore", several="first")["phone"],
    ]
    return pl.concat(readings).drop_nulls().unique().to_list()
