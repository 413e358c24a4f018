"""Every file of the corpus is read as it should be, or refused with the reason, in pieces of any size."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent / "corpus"))

from make import TRAITS, Trait

from importer.cells import mend
from importer.config import Config
from importer.errors import Refused
from importer.mapping import map_rows
from importer.read import read
from importer.records import RESULT_COLUMNS, Source, Table
from importer.results import split
from importer.write import write_result


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("corpus")
    return {trait.name: folder / trait.name for trait in TRAITS}


def written(trait: Trait, files: dict[str, Path]) -> Path:
    path = files[trait.name]
    if not path.exists():
        path.write_bytes(trait.make())
    return path


CONFIG = {"phone": {"column": "Phone", "region": "US"}, "campaign_id": 7}


def verdicts(table: Table) -> Iterator[str]:
    """Yield what is called for each row's phone, or the code of its refusal."""
    config = Config.model_validate(CONFIG)
    mapped = map_rows(mend(table, config), config)
    refused = dict(mapped.problems.filter("blocking").sort("index").select("index", "code").rows())
    called = dict(mapped.people.select("index", "phone").rows())
    return (refused.get(index) or called[index] for index in range(table.cells.height))


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_what_was_not_trusted_is_not_called_when_its_result_comes_back_as_it_is(
    kind: Literal["csv", "xlsx"], files: dict[str, Path], tmp_path: Path
) -> None:
    """Nothing in a result's text shows any more how its line, its letters or its numbers were damaged."""
    refused = 0
    for trait in TRAITS:
        if trait.refused or "Phone" not in trait.columns:
            continue
        table = read(written(trait, files), Source(**trait.source))
        told = list(verdicts(table))
        codes = [None if verdict.startswith("+") else verdict for verdict in told]
        shown = mend(table, Config.model_validate(CONFIG)).shown
        ours = pl.DataFrame({name: pl.repeat(None, len(told), dtype=pl.String, eager=True) for name in RESULT_COLUMNS})
        status = pl.Series(["ready" if code is None else "invalid" for code in codes], dtype=pl.String)
        code = pl.Series(codes, dtype=pl.String)
        ours = ours.with_columns(
            status.alias("import_status"), code.alias("import_error_code"), import_run_id=pl.lit("r")
        )
        path = tmp_path / f"{trait.name}.results.{kind}"
        write_result(path, replace(table, cells=shown), ours, kind=kind)
        again = list(verdicts(split(read(path, Source(delimiter=trait.source.get("delimiter"))))[0]))
        assert again == told, trait.name
        refused += sum(code is not None for code in codes)
    assert refused > 20


def sizes(trait: Trait) -> list[int]:
    """Every size for small files; the default only where millions of bytes are to be refused."""
    return [10_000] if trait.refused else [1, 7, 10_000]


CASES = [pytest.param(trait, size, id=f"{trait.name}-{size}") for trait in TRAITS for size in sizes(trait)]


def test_the_corpus_is_large_enough_and_its_names_differ() -> None:
    assert len({trait.name for trait in TRAITS}) == len(TRAITS) >= 60


@pytest.mark.parametrize(("trait", "size"), CASES)
def test_a_file_is_read_as_it_should_be(
    trait: Trait, size: int, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importer.read_text.CHUNK_ROWS", size)
    monkeypatch.setattr("importer.sheet_xml._PIECE", size)
    path = written(trait, files)
    if trait.refused:
        with pytest.raises(Refused) as caught:
            read(path, Source(**trait.source))
        assert trait.refused in str(caught.value)
        assert str(path) in str(caught.value)
        return
    table = read(path, Source(**trait.source))
    assert table.columns == list(trait.columns)
    assert table.cells.rows() == list(trait.rows)
    assert set(table.cells.dtypes) <= {pl.String}
    assert table.places["row"].to_list() == list(trait.at or range(2, len(trait.rows) + 2))
    assert table.problems.select("index", "code", "column").rows() == list(trait.problems)
    assert {name: table.numbers[name].to_list() for name in table.numbers.columns} == trait.numbers
    assert sorted(table.formats.rows()) == sorted(trait.formats)
    assert len(table.notes) == len(trait.says), table.notes
    for words in trait.says:
        assert any(words in note for note in table.notes), (words, table.notes)
    if trait.verdicts:
        assert list(verdicts(table)) == list(trait.verdicts)
