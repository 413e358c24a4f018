"""`init`: an input → a commented starter config, tried on the rows before it is written.

What is guessed and how surely stands in `guess`; `starter_text` makes of it what people read and change.
"""

import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from importer import config as configs
from importer.cells import mend
from importer.columns import check_columns, resolve
from importer.config import Config
from importer.config_values import parse_region
from importer.errors import Refused
from importer.guess import Region, Sure, guess, looks_like_data, speaks_of_phones
from importer.mapping import map_rows
from importer.platform_layout import platform_layout
from importer.read import Opened
from importer.records import Source, Table
from importer.starter_text import Asked, Listed, Page, masked
from importer.titles import found_below

_MOST_REASONS = 5


@dataclass(frozen=True, slots=True)
class Starter:
    """A config that was written, and what there is to say about it, line by line."""

    path: Path
    told: tuple[str, ...]


def start(asked: Asked) -> Starter:
    """Write a starter config for an input; an existing file is never touched.

    Raises `Refused` where the input can't be read, has no header or no phone column, or the file can't be written.
    """
    target = _target(asked)
    opened = Opened.load(asked.input)
    listed = _below_titles(opened) or _listed_in(opened, asked.sheet)
    table = listed.table
    _refuse_odd(table)
    found = guess(table)
    if found is None:
        raise Refused(
            f"{table.path}: no column was found that holds phone numbers. Columns there: "
            f"{', '.join(map(repr, table.columns[:50]))}. Name it 'Phone', or write the config by hand: phone: {{column: …}}. "
            "If the header stands below a title, delete the rows above it, or write source: {header_row: …} by hand too."
        )
    if asked.region is not None:
        found = replace(found, region=_given(asked.region))
    layout = _layout(table)
    page = Page(asked, target, found, listed, layout)
    text = page.text()
    trial = _trial(text, table)
    _write(target, text)
    return Starter(target, (*page.told(), trial, *page.next_steps()))


# The input.


def _target(asked: Asked) -> Path:
    """Return where the config goes: beside the input, under its name; refuse what is there already."""
    target = asked.config
    if target is None:
        name = re.sub(
            r"(?i)(?<=.)(?:\.(?:csv|tsv|txt|xls|xlsx|xlsm|xlsb|ods|parquet|gz|zip|bz2|xz|zst))+$", "", asked.input.name
        )
        target = asked.input.with_name(f"{name}.yaml")
    if target.is_dir():
        raise Refused(
            f"{target}: this is a folder. Name the config's file with -o, such as -o {target / 'leads.yaml'}."
        )
    if os.path.lexists(target):
        raise Refused(f"{target}: it exists already, and is left as it is. Name another file with -o.")
    return target


def _below_titles(opened: Opened) -> Listed | None:
    """Read a text file whose header stands below a title; None where that is not sure.

    Sure is a row that speaks of a phone, below which most cells of that column are such. In workbooks `read` finds it.
    """
    for below in found_below(opened, Source(), speaks_of_phones):
        with suppress(Refused):
            table = opened.read(Source(header_row=below.row))
            is_named = not below.may_lose and looks_like_data(table) is None
            found = guess(table) if is_named and table.delimiter == below.delimiter else None
            if found is not None and found.phones_named:
                return Listed(table, header_row=below.row)
    return None


def _listed_in(opened: Opened, sheet: str | int | None) -> Listed:
    """Read the input; of several sheets the one with the most phone numbers."""
    if sheet is not None:
        return Listed(opened.read(Source(sheet=sheet)), (str(sheet),))
    try:
        return Listed(opened.read(Source()))
    except Refused as refusal:
        try:
            together = opened.read(Source(sheet="*"))
        except Refused:
            raise refusal from None
    sheets = together.places["sheet"].unique(maintain_order=True).drop_nulls().to_list()
    tables = {sheet: opened.read(Source(sheet=sheet)) for sheet in sheets}
    if not tables:
        raise Refused(
            f"{opened.path}: several sheets hold text, but none has rows below a header. Name one with --sheet."
        )
    best = max(tables, key=lambda sheet: found.numbers[1] if (found := guess(tables[sheet])) else -1)
    return Listed(tables[best], (best, *(sheet for sheet in sheets if sheet != best)))


def _refuse_odd(table: Table) -> None:
    if table.is_result:
        raise Refused(
            f"{table.path}: this is a result file of an earlier run; its config is the one of that run. "
            "Name the list that you want to import."
        )
    if not table.columns:
        raise Refused(f"{table.path}: the file is empty. A config is guessed from a header row and the rows below it.")
    data = looks_like_data(table)
    if data is not None:
        raise Refused(
            f"{table.path}: the first row holds data ({masked(data)!r}) where column names should be. "
            "Put a header row above it, and run this again."
        )


def _given(region: str) -> Region:
    try:
        return Region(parse_region(region), sure=Sure.SURE, why="given by --region")
    except ValueError as error:
        raise Refused(f"--region {region}: right is {error}.") from None


def _layout(table: Table) -> Config | None:
    """Return the platform's own layout where all columns are named as there."""
    if resolve(table.columns, "phone_number") is None:
        return None
    if not all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in table.columns):
        return None
    try:
        return platform_layout(table.columns)
    except Refused:
        return None


# The trial, and the file.


def _trial(text: str, table: Table) -> str:
    """Load the text as `run` would, map the table by it, and say how many rows pass and why others don't."""
    config = _loaded(text, table)
    if not table.cells.height:
        return "The file has no rows below its header: all of this is guessed from the column names alone."
    mapped = map_rows(mend(table, config), config)
    rows = mapped.people.filter(~pl.col("blank") & (pl.col("slot") == 0))
    bad = mapped.problems.filter("blocking").join(rows, on="index", how="semi", maintain_order="left")
    bad = bad.unique("index", keep="first", maintain_order=True)
    good = rows.join(bad, on="index", how="anti").height
    codes = bad["code"].value_counts().sort("count", "code", descending=[True, False]).head(_MOST_REASONS)
    others = bad.height - codes["count"].sum()
    told = [f"{count:,} {code}" for code, count in codes.iter_rows()] + [f"{others:,} for other reasons"] * bool(others)
    reasons = ", ".join(told)
    why = f"; not the others: {reasons}. docs/error-codes.md tells what to do" if reasons else ""
    return f"Tried on the file: {good:,} of {rows.height:,} rows pass{why}."


def _loaded(text: str, table: Table) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            config = configs.load(path)
            check_columns(config, table.columns, str(table.path))
        except Refused as refusal:
            names = ", ".join(problem.removeprefix(f"{path}, ") for problem in refusal.problems)
            raise Refused(
                f"{table.path}: no config can be written for its column names ({names}). Rename these columns."
            ) from None
    return config


def _write(target: Path, text: str) -> None:
    try:
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise Refused(f"{target}: it exists already, and is left as it is. Name another file with -o.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"{target}: it can't be written ({why}). Name another place with -o.") from error
