"""Undo: what it must not do, by the real command; what counts as changed, by its law."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from conftest import KEY, Desk, memory
from hypothesis import example, given
from hypothesis import strategies as st
from past_runs import CONFIG, FAST, change, desk_with, run

from importer import api
from importer.api import Service
from importer.hashes import Hashes
from importer.sandbox import Sandbox
from importer.settle import as_text
from importer.undo import _differing

HASHES = Hashes(b"k" * 32, "http://127.0.0.1/api")
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(min_size=1),
    st.sampled_from(["0", "1", "true", "false", "007", "1.0", "1e3", "١"]),
)


def sent(**variables: Any) -> dict[str, str]:
    return HASHES.values(orjson.dumps(variables).decode())


@given(value=VALUES)
@example(value=-0.0)
def test_a_value_that_the_server_keeps_as_a_text_is_what_was_sent(value: Any) -> None:
    assert _differing(HASHES, {"x": value, "y": None}, sent(x=value)) == []
    assert _differing(HASHES, {"x": as_text(value)}, sent(x=value)) == []


@given(value=VALUES, stored=VALUES)
def test_another_value_is_named(value: Any, stored: Any) -> None:
    is_alike = as_text(value) == as_text(stored)
    assert _differing(HASHES, {"x": stored}, sent(x=value)) == ([] if is_alike else ["x"])
    assert _differing(HASHES, {}, sent(x=value)) == _differing(HASHES, {"x": value}, sent()) == ["x"]


TROUBLED = """\
import sys
from importer import __main__, api
from importer.records import Meaning, Verdict

asked = api.Service.delete_lead
answers = [
    Verdict(Meaning.AMBIGUOUS, "timeout", "no whole answer came in time"),
    Verdict(Meaning.STOP, None, "the server refuses the key"),
]

async def delete_lead(self, lead_id):
    await asked(self, lead_id)
    return answers.pop(0)

api.Service.delete_lead = delete_lead
__main__.main()
"""


def test_a_delete_that_may_have_happened_is_never_taken_for_none(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve()
    desk = desk_with(tmp_path, box, 3, config=CONFIG + "api: {key_env: LEADS_KEY}\n")
    keys = {"OTONISTARK_API_KEY": "", "LEADS_KEY": KEY}
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--rate", "500/s", **keys)
    assert ended.status == 0, ended.err
    first = memory(box)["leads"][0]
    change(box, first["id"], status="processing")
    with sqlite3.connect(next(tmp_path.rglob("ledger.sqlite3"))) as ledger:
        # As if the run had settled what one of another week had begun.
        ledger.execute("UPDATE runs SET started_at = '2099-01-01T00:00:00+00:00'")
    desk.write("troubled.py", TROUBLED)
    command = desk.command("undo", "last")
    command[1:3] = ["troubled.py"]
    stopped = subprocess.run(
        command, cwd=desk.folder, env=desk.environment(**keys), capture_output=True, text=True, timeout=60
    )
    assert stopped.returncode == 3, stopped.stderr
    assert f"kept lead {first['id']}: its status is processing" in stopped.stdout
    assert "0 leads deleted, 1 kept" in stopped.stdout
    ended = desk.run("undo", "last", **keys)
    assert ended.status == 1, ended.err
    assert "2 leads deleted, 1 kept" in ended.out
    # The history has both, and "last" is still the run that sent.
    runs = [json.loads(line) for line in desk.run("history", "--json").out.splitlines()]
    newest = [one for one in runs if one["command"] == "undo"]
    run_id = next(one["run_id"] for one in runs if one["command"] == "run")
    assert [(one["command"], one["exit_status"], one["counts"]) for one in newest] == [
        ("undo", 1, {"deleted": 2, "kept": 1}),
        ("undo", 3, {"kept": 1}),
    ]
    assert f"of run {run_id}: 2 deleted, 1 kept" in desk.run("history").out.replace(
        "1 kept, 2 deleted", "2 deleted, 1 kept"
    )
    shown = desk.run("show", "last").out
    assert shown.startswith(f"Run:             {run_id}\n")
    assert f"(run {newest[1]['run_id']})" in shown
    assert f"Undoes:          {run_id}" in desk.run("show", newest[0]["run_id"]).out
    assert desk.run("results", newest[0]["run_id"]).status == 2
    assert [lead["id"] for lead in memory(box)["leads"]] == [first["id"]]


def test_what_was_undone_is_sent_by_retry_as_the_config_says_now_whatever_ids_the_server_gives(
    desk: Desk, sandbox: Sandbox
) -> None:
    desk = desk_with(desk.folder, sandbox, 3)
    run(desk)
    assert desk.run("undo", "last", "--yes").status == 0
    sandbox._memory._last_id = 1000  # the IDs of the deleted leads are given out again
    desk.write(
        "c.yaml", CONFIG.replace("campaign_id: 7", "campaign_id: 8") + "where: {column: Name, not_in: [Ada 1]}\n"
    )
    assert desk.run("retry", "a.results.csv", "-c", "c.yaml", *FAST).status == 0
    assert {row["import_status"] for row in desk.rows("a.results.csv") if row["Name"] != "Ada 1"} == {"created"}
    assert [row["import_status"] for row in desk.rows("a.results.csv") if row["Name"] == "Ada 1"] == ["filtered"]
    assert {lead["phone_number"] for lead in memory(sandbox)["leads"]} == {"+12125550100", "+12125550102"}


def test_undo_of_a_retry_is_of_the_retry_alone_and_names_the_run_before_and_a_refusal_stands_alone(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve()
    desk = desk_with(tmp_path, box, 3)
    first = run(desk, "--limit", "1")
    assert desk.run("retry", "a.results.csv", "-c", "c.yaml", *FAST).status == 0
    retry = desk.rows("a.results.csv")[1]["import_run_id"]
    ended = desk.run("undo", "last", "-c", "c.yaml")
    said = f"Run {retry} is a retry: what was created before it stays. To undo that, too: lead-importer undo {first} -c c.yaml\n"
    assert (ended.status, ended.out, ended.err.count(said)) == (0, "2 leads deleted, 0 kept.\n", 1), ended.err
    again = desk.run("undo", "last", "-c", "c.yaml")
    assert (again.status, again.out) == (0, "0 leads deleted, 0 kept.\n")
    assert again.err == f"Run {retry} created no lead that is still there.\n{said}"
    assert f"Went on from:    {first}\n" in desk.run("show", "last").out
    box.__exit__(None, None, None)
    ended = desk.run(*said.strip().partition("lead-importer ")[2].split())
    assert (ended.status, ended.out) == (3, "")
    waiting, refusal = ended.err.splitlines()
    assert waiting.startswith(
        "The server can't be reached: no connection could be made (connection refused). Nothing was done yet"
    )
    assert "the service can't be reached" in refusal


def test_undo_of_a_retry_names_only_what_there_is_to_undo(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox, 3)
    first = run(desk, "--limit", "1")
    for limit in ("0", "9"):  # the first retry creates nothing
        assert desk.run("retry", "a.results.csv", "-c", "c.yaml", "--limit", limit, *FAST).status == 0
    ended = desk.run("undo", "last")
    assert (ended.status, ended.out) == (0, "2 leads deleted, 0 kept.\n"), ended.err
    assert f"To undo that, too: lead-importer undo {first}\n" in ended.err
    assert desk.run("undo", first).status == 0
    again = desk.run("undo", "last")
    assert (again.status, "created no lead that is still there" in again.err) == (0, True)
    assert "To undo that" not in again.err


SLOW = """\
import anyio
from pathlib import Path
from importer import __main__, api

asked = api.Service.delete_lead

async def delete_lead(self, lead_id):
    Path("deleting").touch()
    while not Path("go").exists():
        await anyio.sleep(0.05)
    return await asked(self, lead_id)

api.Service.delete_lead = delete_lead
__main__.main()
"""


def test_an_undo_that_is_going_on_is_told_as_such_and_a_second_one_is_told_of_it(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox, 1)
    run_id = run(desk)
    desk.write("slow.py", SLOW)
    command = desk.command("undo", "last")
    command[1:3] = ["slow.py"]
    going = subprocess.Popen(command, cwd=desk.folder, env=desk.environment(), stdout=subprocess.PIPE)
    try:
        for _ in range(300):
            if (desk.folder / "deleting").exists():
                break
            time.sleep(0.1)
        facts = [json.loads(line) for line in desk.run("history", "--json").out.splitlines()]
        assert [(one["command"], one["going_on"]) for one in facts] == [("undo", True), ("run", False)]
        still = f"still going on (process {going.pid})"
        assert f" now  of run {run_id}: {still}" in desk.run("history").out
        assert f"Ended:           {still}" in desk.run("show", facts[0]["run_id"]).out
        second = desk.run("undo", "last")
        assert (second.status, f"same key: undo of run {run_id}, process {going.pid}" in second.err) == (4, True)
    finally:
        (desk.folder / "go").touch()
        out, _ = going.communicate(timeout=60)
    assert (going.returncode, out) == (0, b"1 lead deleted, 0 kept.\n")


async def _pages(box: Sandbox) -> int:
    async with Service(box.url, "key", timeout=5, connections=1) as service:
        return sum([len(page or ()) async for page in service.pages(7)])


def test_a_list_is_as_long_as_the_server_says(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_MOST_PAGES", 2)
    for number in range(350):
        sandbox._memory.store({"phone_number": f"+12125{number:06d}", "campaign_id": 7})
    assert anyio.run(_pages, sandbox) == 350
