"""Past runs by the real command: their results written again, looked up, undone, told, and held by receipts."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Desk, memory
from past_runs import CONFIG, FAST, change, desk_with, kill, run, told

from importer.ledger import Ledger
from importer.past import find_run, tell_history
from importer.sandbox import Sandbox
from importer.undo import _noted


def test_a_result_is_written_again_as_it_was(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    (desk.folder / "a.csv").write_text((desk.folder / "a.csv").read_text() + "x,Bad,12\n")
    run_id = run(desk, status=1)
    before = desk.rows("a.results.csv")
    (desk.folder / "a.results.csv").unlink()
    ended = desk.run("results", run_id)
    assert ended.status == 1, ended.err
    assert told(desk.rows("a.results.csv")) == told(before)
    assert f"--base-url {sandbox.url}" in ended.err  # a retry goes where the run went
    assert memory(sandbox)["posts"] == 6


def test_each_run_is_told_as_it_ended_then(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(fault_at={1: "busy"})
    desk = desk_with(tmp_path, box)
    first = run(desk, "--limit", "2")
    first_rows = desk.rows("a.results.csv")
    assert "a.csv: 3 created, 4 not_sent" in desk.run("history").out
    run(desk)
    second_rows = desk.rows("a.results.csv")
    second = next(row["import_run_id"] for row in second_rows if row["import_status"] == "created")
    for run_id, rows in ((first, first_rows), (second, second_rows)):
        assert desk.run("results", run_id, "--out", "again.csv").status == 0
        assert told(desk.rows("again.csv")) == told(rows)


def test_a_retry_is_told_again_from_the_file_it_was_given(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    (desk.folder / "a.csv").write_text((desk.folder / "a.csv").read_text() + "x,Bad,12\n")
    run(desk, status=1)
    text = (desk.folder / "a.results.csv").read_text(encoding="utf-8-sig")
    desk.write("a.results.csv", text.replace(",12,", ",+12125550195,"))
    assert desk.run("retry", "a.results.csv", "-c", "c.yaml", *FAST).status == 0
    kept = desk.run("verify", "--receipt", "a.results.receipt.json")
    assert kept.status == 0, kept.out
    after = desk.rows("a.results.csv")
    assert desk.run("results", "last", "--out", "again.csv").status == 0
    assert told(desk.rows("again.csv")) == told(after)


def test_a_copy_of_a_result_is_a_copy_while_the_result_is_there(desk: Desk, sandbox: Sandbox) -> None:
    def recorded() -> str:
        return Path(json.loads(desk.run("show", "last", "--json").out)["inputs"][0]["result_path"]).name

    desk = desk_with(desk.folder, sandbox, 1)
    run(desk)
    copied = desk.run("results", "last", "--out", "copy.csv")
    assert copied.status == 0, copied.err
    assert told(desk.rows("copy.csv")) == told(desk.rows("a.results.csv"))
    assert recorded() == "a.results.csv"
    assert desk.run("verify", "--receipt", "copy.receipt.json").status == 0
    (desk.folder / "a.results.csv").unlink()
    moved = desk.run("results", "last", "--out", "copy.csv")
    assert "a.results.csv is not there any more: copy.csv is the result of the run from now on" in moved.err
    assert recorded() == "copy.csv"


@pytest.mark.parametrize("what", ["input", "config", "list", "unknown run"])
def test_results_are_refused_where_they_can_not_be_told(desk: Desk, sandbox: Sandbox, what: str) -> None:
    desk = desk_with(desk.folder, sandbox, config=CONFIG + "suppress: [dnc.txt]\n")
    desk.write("dnc.txt", "+12125550199\n")
    run_id = run(desk)
    if what == "list":
        desk.write("dnc.txt", "+12125550199\n+12125550101\n")
    if what == "input":
        (desk.folder / "a.csv").write_text((desk.folder / "a.csv").read_text() + "y,New,+12125550196\n")
    if what == "config":
        desk.write("c.yaml", CONFIG.replace("campaign_id: 7", "campaign_id: 8") + "suppress: [dnc.txt]\n")
    ended = desk.run("results", "20990101" if what == "unknown run" else run_id)
    assert ended.status == 2
    assert {"input": "a.csv", "config": "c.yaml", "list": "dnc.txt", "unknown run": run_id}[what] in ended.err


def test_a_killed_run_has_its_result_from_the_ledger(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(fault_at={4: "hang", 5: "hang"})
    desk = desk_with(tmp_path, box, config=CONFIG.replace("timeout: 1s", "timeout: 30s"))
    kill(desk, box, "--concurrency", "1", posts=4)
    assert "cut" in desk.run("history").out
    ended = desk.run("results", "last")
    assert ended.status == 5, ended.err
    statuses = [row["import_status"] for row in desk.rows("a.results.csv")]
    assert statuses == ["created", "created", "created", "unknown", "not_sent", "not_sent", "created"]
    undone = desk.run("undo", "last")
    assert undone.status == 5, undone.err
    assert "3 leads deleted, 0 kept" in undone.out
    assert "lead-importer settle" in undone.err
    assert desk.run("settle", "last").status == 0
    assert [row["import_status"] for row in desk.rows("a.results.csv")][3] == "created"
    assert desk.run("undo", "last").status == 0
    assert memory(box)["leads"] == []


@pytest.mark.parametrize("command", ["results", "settle"])
def test_the_result_of_a_killed_run_goes_where_the_run_would_have_put_it(
    command: str, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={2: "hang"})
    desk = desk_with(tmp_path, box, 2, config=CONFIG.replace("timeout: 1s", "timeout: 30s"))
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    kill(desk, box, "--concurrency", "1", "--out", "out", posts=2)
    ended = Desk(tmp_path / "elsewhere", box.url).run(command, "last", XDG_STATE_HOME=str(tmp_path / ".state"))
    assert ended.status == {"results": 5, "settle": 0}[command], ended.err
    second = {"results": "unknown", "settle": "created"}[command]
    assert [row["import_status"] for row in desk.rows("out/a.results.csv")] == ["created", second, "created"]
    assert not (tmp_path / "a.results.csv").exists()


def test_settle_tells_what_is_there_from_what_surely_is_not(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(fault_at={3: "hang", 4: "hang_before"})
    config = CONFIG.replace("timeout: 1s", "timeout: 30s") + "allow_duplicate: true\n"
    desk = desk_with(tmp_path, box, config=config)
    kill(desk, box, "--concurrency", "2", posts=4)
    ended = desk.run("settle", "last", "-c", "c.yaml")
    assert ended.status == 0, ended.err
    rows = desk.rows("a.results.csv")
    assert [row["import_status"] for row in rows[2:4]] in (["created", "failed"], ["failed", "created"])
    assert {row["import_error_code"] for row in rows[2:4]} == {"", "not_found"}
    assert "To send what is not done: lead-importer retry" in ended.err  # there is nothing to put right
    assert memory(box)["posts"] == 4
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    assert len(memory(box)["leads"]) == 6


def test_settle_says_what_can_not_be_settled(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(fault_at={1: "reset"}, lookup=False)
    desk = desk_with(tmp_path, box, 1, config=CONFIG + "allow_duplicate: true\n")
    run_id = run(desk, status=5)
    ended = desk.run("settle", run_id, "-c", "c.yaml")
    assert ended.status == 5
    assert "no look-up" in ended.err
    assert "They are now: 1 unknown" in ended.err


def test_history_and_show_tell_of_runs_without_a_key(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    assert "No run yet" in desk.run("history").out
    run_id = run(desk)
    run(desk)
    history = desk.run("history", OTONISTARK_API_KEY="")
    assert history.status == 0
    assert history.out.count("a.csv") == 2
    facts = json.loads(desk.run("show", run_id, "--json", OTONISTARK_API_KEY="").out)
    assert facts["counts"] == {"created": 7}
    assert facts["inputs"][0]["sha256"]
    text = desk.run("show", run_id[:-2]).out
    for word in (run_id, "no lead twice", f"a.results.{run_id}.csv", "c.yaml", "7 created"):
        assert word in text
    assert facts["leads_now"] == {"created": 6}
    assert desk.run("show", "2").status == 2
    assert "RUN is empty" in desk.run("undo", "").err


# Undo.


def test_undo_spares_what_somebody_has_worked_on(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    run_id = run(desk)
    leads = {lead["phone_number"]: lead for lead in memory(sandbox)["leads"]}
    change(sandbox, leads["+12125550101"]["id"], status="processing")
    change(sandbox, leads["+12125550102"]["id"], variables={"customer_name": "Somebody else"})
    change(sandbox, leads["+12125550100"]["contacts"][0]["id"], status="completed")
    ended = desk.run("undo", run_id, "-c", "c.yaml", "--yes")
    assert ended.status == 1, ended.err
    left = {lead["phone_number"] for lead in memory(sandbox)["leads"]}
    assert left == {"+12125550100", "+12125550101", "+12125550102"}
    assert "status is processing" in ended.out
    assert "variable 'customer_name'" in ended.out
    assert "3 leads deleted, 3 kept" in ended.out
    run(desk)
    assert len(memory(sandbox)["leads"]) == 6


def _one_lead_and_ctrl_c(tell: Callable[[str, str | None], None]) -> None:
    tell("1001", None)
    raise KeyboardInterrupt


def test_an_undo_that_was_killed_goes_on(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    run_id = run(desk)
    desk.write(
        "killed.py",
        "import os, signal\nfrom importer import __main__, api\n"
        "asked = api.Service.delete_lead\ncount = 0\n"
        "async def delete_lead(self, lead_id):\n"
        "    global count\n    count += 1\n    verdict = await asked(self, lead_id)\n"
        "    if count == 3:\n        os.kill(os.getpid(), signal.SIGKILL)\n    return verdict\n"
        "api.Service.delete_lead = delete_lead\n__main__.main()\n",
    )
    command = desk.command("undo", run_id, "-c", "c.yaml", "--yes")
    command[1:3] = ["killed.py"]
    killed = subprocess.run(command, cwd=desk.folder, env=desk.environment(), capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert len(memory(sandbox)["leads"]) == 3
    run(desk, status=5)  # the third is deleted, which nobody knows yet
    rows = desk.rows("a.results.csv")
    assert [row["import_status"] for row in rows if row["import_error_code"] == "undo_cut_off"] == ["unknown"]
    there = {str(lead["id"]) for lead in memory(sandbox)["leads"]}
    assert {row["import_lead_id"] for row in rows if row["import_status"] != "unknown"} == there
    with Ledger(next(desk.folder.rglob("ledger.sqlite3"))) as ledger:
        assert "cut off before its end; undo the same run again to go on" in tell_history(
            ledger, limit=2, as_json=False
        )
        with (
            pytest.raises(KeyboardInterrupt),
            _noted(ledger, find_run(ledger, run_id), lambda *_: None, "undo-2") as tell,
        ):
            _one_lead_and_ctrl_c(tell)
        told_of = tell_history(ledger, limit=1, as_json=False)
        assert (ledger.runs()[0].exit_status, f"of run {run_id}: 1 deleted" in told_of) == (130, True)
    ended = desk.run("undo", run_id, "-c", "c.yaml", "--yes")
    assert ended.status == 0, ended.err
    assert len(memory(sandbox)["leads"]) == 2
    assert len(memory(sandbox)["deleted"]) == 6
    assert desk.run("retry", "a.results.csv", "-c", "c.yaml", *FAST).status == 0
    assert len(memory(sandbox)["leads"]) == 6


@pytest.mark.parametrize("command", ["undo", "settle"])
def test_a_run_is_taken_up_at_its_own_address_alone(
    command: str, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box, other = serve(), serve()
    desk = desk_with(tmp_path, box)
    run_id = run(desk)
    words = {"undo": ("undo", run_id, "--yes"), "settle": ("settle", run_id)}[command]
    refused = [
        (other.url, f"--base-url {other.url}: run {run_id} sent to {box.url},"),
        ("https://call.otonistark.com.br/api", "its leads are there alone"),
        ("http://calls.example.com", "unencrypted"),
        ("", "is none"),
    ]
    for url, said in refused if command == "undo" else refused[:1]:
        ended = desk.run(*words, "--base-url", url)
        assert (ended.status, said in ended.err) == (2, True), ended.err
    assert len(memory(box)["leads"]) == 6
    # However it is written: by host, with a slash, or the whole endpoint.
    ended = desk.run(*words, "--base-url", f"{box.url.replace('http://', 'HTTP://')}/user/lead/")
    assert ended.status == 0, ended.err
    assert len(memory(box)["leads"]) == (0 if command == "undo" else 6)


@pytest.mark.parametrize("options", [{"lookup": False}, {"delete": False}])
def test_undo_is_refused_where_the_server_can_not(
    tmp_path: Path, serve: Callable[..., Sandbox], options: dict[str, bool]
) -> None:
    box = serve(**options)
    desk = desk_with(tmp_path, box)
    run_id = run(desk)
    ended = desk.run("undo", run_id, "-c", "c.yaml", "--yes")
    assert ended.status == 2
    assert "in the platform" in ended.err
    assert len(memory(box)["leads"]) == 6
    run(desk)
    assert memory(box)["posts"] == 6


# Verify.


def test_verify_tells_key_campaigns_and_what_the_server_can_do(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    ended = desk.run("verify", "-c", "c.yaml", "--base-url", sandbox.url)
    assert ended.status == 0, ended.err
    for words in (
        "Key: accepted",
        "Campaign 7 'Spring fair': active  <- where leads would go.",
        "Look-up of leads: yes",
        "Delete (for undo): yes",
        "no lead twice",
    ):
        assert words in ended.out
    assert desk.run("verify", "--campaign", "99", "--base-url", sandbox.url).status == 2


def test_verify_tells_what_a_server_lacks(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(lookup=False, delete=False, campaigns_listed=False)
    ended = Desk(tmp_path, box.url).run("verify", "--base-url", box.url)
    assert ended.status == 0, ended.err
    for words in ("Look-up of leads: no", "Delete (for undo): no", "List of campaigns: no"):
        assert words in ended.out
    old = serve(filters=False)
    run(desk_with(tmp_path, old))
    assert "Look-up by number and campaign: no" in Desk(tmp_path).run("verify", "--base-url", old.url).out
    strict = serve(keys=("another",))
    assert Desk(tmp_path).run("verify", "--base-url", strict.url).status == 3


# Receipts.


def test_a_receipt_holds_until_something_is_changed(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    run_id = run(desk)
    receipt = desk.folder / "a.results.receipt.json"
    facts = json.loads(receipt.read_text(encoding="utf-8"))
    assert facts["counts"] == {"created": 7}
    assert facts["run_id"] == run_id
    assert "+1212" not in receipt.read_text(encoding="utf-8")
    kept = desk.run("verify", "--receipt", receipt, OTONISTARK_API_KEY="")
    assert kept.status == 0, kept.out
    text = (desk.folder / "a.results.csv").read_text(encoding="utf-8-sig")
    desk.write("a.results.csv", text.replace("created", "rejected", 1))
    changed = desk.run("verify", "--receipt", receipt)
    assert changed.status == 1
    assert "a.results.csv: it was changed since the run" in changed.out
    assert "1 row is rejected, the receipt says 0" in changed.out
    assert desk.run("undo", run_id, "-c", "c.yaml", "--yes").status == 0
    assert "deleted in the ledger" in desk.run("verify", "--receipt", receipt).out
    assert desk.run("verify", "--receipt", "a.csv").status == 2
    taken_for_it = desk.run("verify", "--receipt", "a.results.csv")
    assert taken_for_it.status == 2
    assert "this is no receipt; its receipt is a.results.receipt.json. Name that one." in taken_for_it.err


def test_an_older_results_receipt_goes_along(desk: Desk, sandbox: Sandbox) -> None:
    desk = desk_with(desk.folder, sandbox)
    run_id = run(desk)
    run(desk)
    older = desk.folder / f"a.results.{run_id}.receipt.json"
    assert json.loads(older.read_text(encoding="utf-8"))["run_id"] == run_id
    assert desk.run("verify", "--receipt", older).status == 0
