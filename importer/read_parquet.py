"""Parquet → text cells; row numbers as in the same table's CSV, whose header is row 1."""

import io
from pathlib import Path

import polars as pl

from importer.errors import Refused
from importer.records import Source, Table

#: Cells; a Parquet file may say in a few bytes that it holds a billion. Twenty million rows of twelve columns.
MAX_CELLS = 240_000_000

_FOUND = Source()


def read_parquet(path: Path, content: bytes, *, kind: str, source: Source = _FOUND, sha256: str = "") -> Table:
    """Read a Parquet file; it has no sheets and no header row to be found, so `source` says nothing here.

    Raises `Refused` for a damaged file, a column of lists or bytes, and more than `MAX_CELLS`.
    """
    del source
    try:
        frame = pl.scan_parquet(io.BytesIO(content))
        schema = frame.collect_schema()
        nested = [name for name, dtype in schema.items() if dtype.is_nested() or dtype in (pl.Binary, pl.Object)]
        if nested:
            raise Refused(
                f"{path}, column {nested[0]!r}: it holds {schema[nested[0]]}; right are texts, numbers, dates and "
                "booleans. Leave the column out, or export the list as CSV."
            )
        rows = int(frame.select(pl.len()).collect().item())
        if rows * len(schema) > MAX_CELLS:
            raise Refused(
                f"{path}: it holds {rows:,} rows of {len(schema):,} columns; right are {MAX_CELLS:,} cells at most. "
                "Split it into several files, and run them one after another."
            )
        found = frame.collect()
        cells = found.select(_texts(name, dtype) for name, dtype in schema.items())
    except BaseException as error:
        if not isinstance(error, pl.exceptions.PolarsError | OSError) and type(error).__name__ != "PanicException":
            raise
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Refused(
            f"{path}: the Parquet file is damaged ({why}). Export it again, or export the list as CSV."
        ) from error
    places = pl.DataFrame({"row": pl.int_range(2, cells.height + 2, dtype=pl.Int64, eager=True)}).select(
        sheet=pl.lit(None, pl.String), row="row"
    )
    numbers = found.select(_numbers(name, dtype) for name, dtype in schema.items() if dtype.is_numeric())
    numbers = numbers.select(column.name for column in numbers if column.any())
    return Table(path, kind, tuple(cells.columns), cells, places, sha256, delimiter=",", numbers=numbers)


def _numbers(name: str, dtype: pl.DataType) -> pl.Expr:
    """Tell numbers as workbooks hold them; whole ones of more than 15 digits are exact here, and so as good as texts."""
    column = pl.col(name)
    is_exact = (
        (column >= 10**15) | (column <= -(10**15)) if dtype.is_integer() or dtype.is_decimal() else pl.lit(value=False)
    )
    return (column.is_not_null() & ~is_exact.fill_null(value=False)).alias(name)


def _texts(name: str, dtype: pl.DataType) -> pl.Expr:
    """Write a column as workbooks' cells are written."""
    column = pl.col(name)
    if dtype.is_float():
        whole = column.abs().lt(2**53) & (column == column.floor())
        text = (
            pl.when(whole).then(column.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(column.cast(pl.String))
        )
    elif isinstance(dtype, pl.Datetime):
        text = column.dt.to_string("%Y-%m-%d %H:%M:%S" + ("%:z" if dtype.time_zone else ""))
    elif dtype == pl.Time:
        text = column.dt.to_string("%H:%M:%S")
    else:
        text = column.cast(pl.String)
    return pl.when(text != "").then(text).alias(name)
