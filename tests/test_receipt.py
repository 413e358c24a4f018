"""Receipts: whatever is changed is named, whatever is no receipt is refused."""

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Desk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from past_runs import desk_with, run
from spreadsheets import make_openpyxl

from importer.errors import Refused
from importer.ledger import Ledger
from importer.receipt import differences, forgotten, past_result, sha256_of
from importer.sandbox import Sandbox


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk whose one run has ended."""
    with Sandbox() as box:
        desk = desk_with(tmp_path_factory.mktemp("desk"), box, 2)
        run(desk)
    return desk


def held(desk: Desk, told: Any) -> list[str]:
    """Hold a receipt of this content in place of the run's; return what differs."""
    path = desk.folder / "a.results.receipt.json"
    before = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(told), encoding="utf-8")
    try:
        with Ledger(next(desk.folder.rglob("ledger.sqlite3")), create=False) as ledger:
            return differences(path, ledger)[1]
    finally:
        path.write_text(before, encoding="utf-8")


def receipt_of(desk: Desk) -> dict[str, Any]:
    return dict(json.loads((desk.folder / "a.results.receipt.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("counts", {"created": 4}, "3 rows are created, the receipt says 4"),
        ("guarantee", "each lead three times", "guarantee"),
        ("tool_version", "9.9", "tool_version"),
        ("finished_at", "2020-01-01T00:00:00+00:00", "finished_at"),
        ("exit_status", 1, "exit_status"),
        ("service", "https://example.com/api", "service"),
        ("decisions", "0" * 64, "decisions"),
        ("run_id", "20200101T000000Z-000000", "does not know run"),
    ],
)
def test_a_changed_claim_is_named(desk: Desk, part: str, value: Any, said: str) -> None:
    told = receipt_of(desk)
    assert held(desk, told) == []
    assert any(said in text for text in held(desk, told | {part: value}))


def test_a_result_that_was_changed_with_its_receipt_is_found_by_the_ledger(desk: Desk) -> None:
    result, told = desk.folder / "a.results.csv", receipt_of(desk)
    before = result.read_bytes()
    result.write_bytes(before.replace(b"Ada 1", b"Eve 1"))
    told["result"]["sha256"] = sha256_of(result)
    found = held(desk, told)
    result.write_bytes(before)
    assert any("wrote another result" in text for text in found)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_stands_in_a_receipt_there_is_an_answer(desk: Desk, data: st.DataObject) -> None:
    told = copy.deepcopy(receipt_of(desk))
    inner = data.draw(st.sampled_from([told, told["input"], told["config"], told["result"], told["counts"]]))
    part = data.draw(st.sampled_from(sorted(inner)))
    before, inner[part] = inner[part], data.draw(JUNK)
    try:
        found = held(desk, told)
    except Refused:
        return
    # Files are known by their content: a name may change, and the number of rows follows from the counts.
    assert found or inner[part] == before or part in ("folder", "name", "path", "rows")


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "a\0b", "x" * 300])
@pytest.mark.parametrize("part", ["input", "result", "config"])
def test_a_name_that_no_file_has_is_an_answer_too(desk: Desk, part: str, name: str) -> None:
    told = receipt_of(desk)
    told[part]["path" if part == "config" else "name"] = name
    with contextlib.suppress(Refused):  # the input may be found by its content all the same
        assert held(desk, told) or part == "input"


def test_a_receipt_that_can_not_be_written_takes_nothing_from_the_result(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    desk = desk_with(tmp_path, serve(), 1)
    (tmp_path / "a.results.receipt.json" / "in the way").mkdir(parents=True)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--rate", "500/s")
    assert ended.status == 0, ended.err
    assert "the receipt can't be written" in ended.err
    assert [row["import_status"] for row in desk.rows("a.results.csv")] == ["created", "created"]
    assert not list(tmp_path.glob(".lead-importer-*"))


def test_a_ledger_that_knows_only_the_beginning_of_a_run_has_forgotten_it(desk: Desk, tmp_path: Path) -> None:
    past = past_result(desk.folder / "a.results.csv")
    assert past is not None
    with Ledger(next(desk.folder.rglob("ledger.sqlite3")), create=False) as whole:
        run_of_it = whole.run(past.run_id)
        assert run_of_it is not None
        assert forgotten([past], whole, past.service) == []
    with Ledger(tmp_path / "copy.sqlite3") as copied:
        copied.begin_run(run_of_it)
        (told,) = forgotten([past], copied, past.service)
        assert "only the beginning" in told


def test_results_of_two_kinds_with_one_name_have_a_receipt_each_and_keep_it(tmp_path: Path) -> None:
    with Sandbox() as box:
        desk = desk_with(tmp_path, box, 2)
        (desk.folder / "a.xlsx").write_bytes(make_openpyxl([["Phone"], ["+12125550190"]]))
        desk.write("c.yaml", "campaign_id: 7\nphone: Phone\n")
        for _ in range(2):  # the first results and their receipts are set aside
            assert desk.run("run", "a.csv", "a.xlsx", "-c", "c.yaml", "--rate", "500/s").status == 0
    receipts = sorted(desk.folder.glob("*.receipt.json"))
    assert len(receipts) == 4
    with Ledger(next(desk.folder.rglob("ledger.sqlite3")), create=False) as ledger:
        assert [differences(receipt, ledger)[1] for receipt in receipts] == [[]] * 4
    assert past_result(desk.folder / "a.results.xlsx") != past_result(desk.folder / "a.results.csv")
