"""The main job, by the real command against a real server."""

import json
import random
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openpyxl
import pytest
from conftest import Answers, Desk, memory
from spreadsheets import make_openpyxl

from importer.cells import mend
from importer.config import Config, Delivery, load
from importer.connect import limits_of
from importer.errors import Refused
from importer.mapping import map_rows
from importer.read import read
from importer.records import Source
from importer.sandbox import Options, Sandbox
from importer.suppress import suppression_list

CONFIG = """\
campaign_id: 7
phone: {column: Phone, region: US}
variables:
  customer_name: "{First} {Last}"
  email: {column: E-mail, type: email}
delivery: {settle_window: 1s}
"""
HEAD = "First,Last,Phone,E-mail\n"
FAST = ("--rate", "500/s", "--yes")


def people(*numbers: int) -> str:
    return HEAD + "".join(f"Ada,N{number},+1212555{number:04d},ada{number}@example.com\n" for number in numbers)


def statuses(rows: list[dict[str, str]]) -> list[str]:
    return [row["import_status"] for row in rows]


def test_rows_come_back_with_their_lead_ids(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100, 101))
    desk.write("c.yaml", CONFIG)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    assert ended.status == 0, ended.err
    rows, leads = desk.rows("a.results.csv"), {lead["phone_number"]: lead for lead in memory(sandbox)["leads"]}
    assert statuses(rows) == ["created", "created"]
    assert [row["import_lead_id"] for row in rows] == [str(leads[row["Phone"]]["id"]) for row in rows]
    assert leads["+12125550100"]["variables"] == {"customer_name": "Ada N100", "email": "ada100@example.com"}
    assert [row["import_row"] for row in rows] == ["2", "3"]


def test_running_again_sends_nothing(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100, 101))
    desk.write("c.yaml", CONFIG)
    desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    first = desk.rows("a.results.csv")
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    again = desk.rows("a.results.csv")
    assert ended.status == 0
    assert statuses(again) == ["already_imported"] * 2
    assert [row["import_lead_id"] for row in again] == [row["import_lead_id"] for row in first]
    assert [row["import_run_id"] for row in again] == [row["import_run_id"] for row in first]
    assert memory(sandbox)["posts"] == 2
    kept = [path.name for path in desk.folder.glob("a.results.*.csv")]
    assert kept == [f"a.results.{first[0]['import_run_id']}.csv"]
    assert "lead_changed" not in ended.err
    desk.write("c.yaml", CONFIG.replace("{First} {Last}", "{Last} {First}"))  # put right too late
    changed = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    assert changed.status == 0
    assert "2  already_imported: lead_changed" in changed.err


def test_fail_edit_retry_until_all_rows_are_done(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100, 101) + "Bea,X,12,bea@example.com\nCid,Y,+12125550102,cid at example\n")
    desk.write("c.yaml", CONFIG)
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 1
    rows = desk.rows("a.results.csv")
    assert statuses(rows) == ["created", "created", "invalid", "invalid"]
    assert [row["import_error_column"] for row in rows[2:]] == ["Phone", "E-mail"]
    assert [row["import_error_code"] for row in rows[2:]] == ["phone_too_short", "value_not_email"]
    text = (desk.folder / "a.results.csv").read_text(encoding="utf-8-sig")
    lines = (
        text.replace(",12,", ",+12125550103,").replace("cid at example", "cid@example.com").splitlines(keepends=True)
    )
    desk.write("a.results.csv", "".join([lines[0], *reversed(lines[1:])]))
    assert desk.run("retry", "a.results.csv", "-c", "c.yaml", *FAST).status == 0
    after = desk.rows("a.results.csv")
    assert statuses(after) == ["created"] * 4
    assert [row["import_row"] for row in after] == ["5", "4", "3", "2"]
    assert memory(sandbox)["posts"] == 4


def test_a_second_night_skips_last_nights_results(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100))
    desk.write("c.yaml", CONFIG)
    desk.run("run", "*.csv", "-c", "c.yaml", *FAST)
    desk.write("b.csv", people(101))
    ended = desk.run("run", "*.csv", "-c", "c.yaml", *FAST)
    assert ended.status == 0, ended.err
    assert "a.results.csv: skipped" in ended.err
    assert memory(sandbox)["posts"] == 2
    desk.run("run", "a.csv", "a.results.csv", "b.csv", "b.results.csv", "-c", "c.yaml", *FAST)
    assert memory(sandbox)["posts"] == 2


def test_run_on_a_result_is_refused(desk: Desk) -> None:
    desk.write("a.csv", people(100))
    desk.write("c.yaml", CONFIG)
    desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    ended = desk.run("run", "a.results.csv", "-c", "c.yaml", *FAST)
    assert ended.status == 2
    assert f"lead-importer retry a.results.csv -c c.yaml --base-url {desk.url}\n" in ended.err
    desk.write(
        "a.results.csv", (desk.folder / "a.results.csv").read_text("utf-8-sig").replace("import_run_id", "run", 1)
    )
    assert "its column 'import_run_id' is gone" in desk.run("retry", "a.results.csv", "-c", "c.yaml").err


def test_check_sends_nothing_and_needs_no_key(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100, 100) + "Bea,X,12,\n")
    desk.write("c.yaml", CONFIG)
    ended = desk.run("check", "a.csv", "-c", "c.yaml", OTONISTARK_API_KEY="")
    assert ended.status == 1
    assert statuses(desk.rows("a.check.csv")) == ["ready", "ready", "invalid"]
    assert "\n1 lead would be sent.\n" in f"\n{ended.err}"  # the second row has the number of the first
    assert memory(sandbox)["answers"] == {}
    assert not list((desk.folder / ".state").rglob("ledger*"))


def test_limit_holds_the_rest_back_and_the_next_run_goes_on(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100, 101, 102, 102))
    desk.write("c.yaml", CONFIG)
    none = desk.run("run", "a.csv", "-c", "c.yaml", "--limit", "0", *FAST)
    assert none.status == 0
    assert "0 leads" not in none.err  # no forecast, no question
    assert statuses(desk.rows("a.results.csv")) == ["not_sent"] * 4
    assert desk.run("run", "a.csv", "-c", "c.yaml", "--limit", "2", *FAST).status == 0
    assert statuses(desk.rows("a.results.csv")) == ["created", "created", "not_sent", "not_sent"]
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    assert statuses(desk.rows("a.results.csv")) == ["already_imported", "already_imported", "created", "duplicate"]


def test_a_number_twice_in_the_file_is_sent_once(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100, 100))
    desk.write("c.yaml", CONFIG)
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    rows = desk.rows("a.results.csv")
    assert statuses(rows) == ["created", "duplicate"]
    assert "row 2" in rows[1]["import_error"]
    assert memory(sandbox)["posts"] == 1


def test_with_duplicates_allowed_alike_rows_are_leads_of_their_own(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100, 100, 100))
    desk.write("c.yaml", CONFIG + "allow_duplicate: true\n")
    desk.run("run", "a.csv", "-c", "c.yaml", "--limit", "1", *FAST)
    assert statuses(desk.rows("a.results.csv")) == ["created", "not_sent", "not_sent"]
    text = (desk.folder / "a.results.csv").read_text(encoding="utf-8-sig").splitlines(keepends=True)
    desk.write("a.results.csv", "".join([text[0], text[3]]))
    assert desk.run("retry", "a.results.csv", "-c", "c.yaml", *FAST).status == 0
    assert len(memory(sandbox)["leads"]) == 2
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    assert sorted(statuses(desk.rows("a.results.csv"))) == ["already_imported", "already_imported", "created"]
    assert memory(sandbox)["posts"] == 3


GROUPS = CONFIG + "secondary_contacts: {group_by: Account, primary_when: {column: Role, in: [Primary]}}\n"
GROUP_HEAD = "Account,Role,First,Last,Phone,E-mail\n"


def member(account: str, role: str, number: int) -> str:
    return f"{account},{role},Ada,N{number},+1212555{number:04d},\n"


def test_contacts_are_found_in_any_order_and_get_their_own_ids(desk: Desk, sandbox: Sandbox) -> None:
    desk.write(
        "a.csv", GROUP_HEAD + member("A", "Spouse", 101) + member("B", "Primary", 110) + member("A", "Primary", 100)
    )
    desk.write("c.yaml", GROUPS)
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    rows = desk.rows("a.results.csv")
    lead = next(lead for lead in memory(sandbox)["leads"] if lead["phone_number"] == "+12125550100")
    assert [person["phone_number"] for person in lead["contacts"]] == ["+12125550101"]
    assert rows[0]["import_lead_id"] == rows[2]["import_lead_id"] == str(lead["id"])
    assert rows[0]["import_contact_id"] == str(lead["contacts"][0]["id"])
    assert rows[2]["import_contact_id"] == ""


def test_one_number_may_be_a_contact_in_two_households(desk: Desk, sandbox: Sandbox) -> None:
    desk.write(
        "a.csv",
        GROUP_HEAD
        + member("A", "Primary", 100)
        + member("A", "Nanny", 105)
        + member("B", "Primary", 101)
        + member("B", "Nanny", 105),
    )
    desk.write("c.yaml", GROUPS)
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    assert statuses(desk.rows("a.results.csv")) == ["created"] * 4


def test_swapped_roles_are_refused_within_a_file_and_after_a_run(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("c.yaml", GROUPS)
    desk.write(
        "a.csv", GROUP_HEAD + member("A", "Primary", 100) + member("A", "Spouse", 101) + member("B", "Primary", 101)
    )
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 1
    assert [row["import_error_code"] for row in desk.rows("a.results.csv")] == ["", "", "group_changed"]
    desk.write("b.csv", GROUP_HEAD + member("A", "Spouse", 100) + member("A", "Primary", 101))
    assert desk.run("run", "b.csv", "-c", "c.yaml", *FAST).status == 1
    assert [row["import_error_code"] for row in desk.rows("b.results.csv")] == ["group_changed"] * 2
    assert memory(sandbox)["posts"] == 1


def test_a_row_of_another_file_or_sheet_is_named_with_it(desk: Desk) -> None:
    rows = [["Account", "Phone"], ["A", "+12125550100"], ["A", "+12125550101"]]
    workbook = make_openpyxl(rows, Two=[rows[0], ["B", "+12125550103"]])
    (desk.folder / "a.xlsx").write_bytes(workbook)
    desk.write("b.csv", "Account,Phone\n,+12125550103\n,+12125550101\n,+12125550103\n")
    contacts = "secondary_contacts: {group_by: Account}\n"
    desk.write("c.yaml", 'campaign_id: 7\nphone: Phone\nsource: {sheet: "*"}\n' + contacts)
    assert desk.run("check", "a.xlsx", "b.csv", "-c", "c.yaml").status == 1
    told = [row["import_error"] for row in desk.rows("b.check.csv")]
    assert told[0].startswith('the same number stands in row 2 of sheet "Two" of a.xlsx, which')
    assert 'of the lead in row 2 of sheet "Sheet1" of a.xlsx: somebody' in told[1]
    assert told[2].startswith('the same number stands in row 2 of sheet "Two" of a.xlsx, which')


def test_a_contact_put_right_after_its_lead_was_created_is_not_sent_alone(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("c.yaml", GROUPS.replace("in: [Primary]}}", "in: [Primary]}, on_invalid: drop}"))
    desk.write("a.csv", GROUP_HEAD + member("A", "Primary", 100) + "A,Spouse,Bo,B,12,\n")
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 1
    assert statuses(desk.rows("a.results.csv")) == ["created", "invalid"]
    fixed = (desk.folder / "a.results.csv").read_text(encoding="utf-8-sig").replace(",12,", ",+12125550109,")
    desk.write("a.results.csv", fixed)
    assert desk.run("retry", "a.results.csv", "-c", "c.yaml", *FAST).status == 1
    rows = desk.rows("a.results.csv")
    assert [(row["import_status"], row["import_error_code"]) for row in rows] == [
        ("created", ""),
        ("invalid", "lead_exists"),
    ]
    assert rows[1]["import_lead_id"] == rows[0]["import_lead_id"]
    assert memory(sandbox)["posts"] == 1


def test_five_thousand_leads_with_groups(desk: Desk, sandbox: Sandbox) -> None:
    chance = random.Random(5)
    lines, number = [], 0
    for account in range(5000):
        for role in ["Primary", *["Spouse"] * (account % 3 == 0)]:
            lines.append(f"K{account},{role},Ada,N{number},+1{2122000000 + number * 7},\n")
            number += 1
    chance.shuffle(lines)
    desk.write("a.csv", GROUP_HEAD + "".join(lines))
    desk.write("c.yaml", GROUPS)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--rate", "3000/s", "--concurrency", "16")
    counts = Counter(statuses(desk.rows("a.results.csv")))
    assert sum(counts.values()) == len(lines)
    assert counts["created"] > 0.9 * len(lines), ended.err
    shown = sum(int(found.replace(",", "")) for found in re.findall(r"^ +([\d,]+)  [a-z_]+  ", ended.err, re.MULTILINE))
    assert shown == len(lines)
    leads = memory(sandbox)["leads"]
    assert len({lead["phone_number"] for lead in leads}) == len(leads)


def test_the_platforms_own_layout_needs_no_config(desk: Desk, sandbox: Sandbox) -> None:
    desk.write(
        "a.csv",
        "phone_number,customer_name,secondary_phone_1,secondary_1_customer_name\n+12125550100,Ada,+12125550101,Bo\n+12125550102,Cy,,\n",
    )
    assert desk.run("run", "a.csv", "--campaign", "7", *FAST).status == 0
    rows, leads = desk.rows("a.results.csv"), memory(sandbox)["leads"]
    lead = next(lead for lead in leads if lead["phone_number"] == "+12125550100")
    assert lead["variables"] == {"customer_name": "Ada"}
    assert lead["contacts"][0]["variables"] == {"customer_name": "Bo"}
    assert rows[0]["import_contact_id"] == str(lead["contacts"][0]["id"])
    assert desk.run("run", "a.csv").status == 2


def test_a_workbook_comes_back_as_a_workbook(desk: Desk, sandbox: Sandbox) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["First", "Last", "Phone", "E-mail"])
    sheet.append(["Ada", "N", 2125550100, None])
    sheet.append([None, None, None, None])
    sheet.append(["Bea", "N", "212-555-0101 ext 5", None])
    book.save(desk.folder / "a.xlsx")
    desk.write("c.yaml", CONFIG)
    assert desk.run("run", "a.xlsx", "-c", "c.yaml", *FAST).status == 1
    rows = list(openpyxl.load_workbook(desk.folder / "a.results.xlsx").active.iter_rows(values_only=True))
    assert [row[4] for row in rows[1:]] == ["created", "filtered", "invalid"]
    assert rows[1][2] == "2125550100"
    assert rows[3][7] == "phone_extension"
    assert [row[14] for row in rows[1:]] == [2, 3, 4]


@pytest.mark.parametrize(
    ("answer", "status", "rows"),
    [
        ((401, "{}"), 3, {"failed", "not_sent"}),
        ((302, ""), 3, {"failed", "not_sent"}),
        ((500, "{}"), 5, {"unknown"}),
        ((200, "<html>"), 5, {"unknown"}),
        ((200, '{"message": "ok"}'), 5, {"unknown"}),
    ],
)
def test_only_a_confirmed_lead_counts_as_created(
    desk: Desk, raw_server: Callable[..., str], answer: tuple[int, str], status: int, rows: set[str]
) -> None:
    url = raw_server(*answer)
    desk.write("a.csv", people(100, 101))
    desk.write("c.yaml", CONFIG)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--base-url", url, "--concurrency", "1", *FAST)
    assert ended.status == status, ended.err
    assert set(statuses(desk.rows("a.results.csv"))) <= rows


@pytest.fixture
def raw_server(answering: Callable[[Answers], str]) -> Callable[[int, str], str]:
    """Serve one answer to every create, and 404 to all else."""
    return lambda status, body: answering({("POST", "lead"): (status, body)})


def test_an_unreachable_server_ends_with_status_3_and_sends_nothing(desk: Desk) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    desk.write("a.csv", people(100))
    desk.write("c.yaml", CONFIG)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--base-url", f"http://127.0.0.1:{port}/api", *FAST)
    assert ended.status == 3
    assert ended.err.count("Nothing was done yet; it is tried until") == 1
    assert ended.err.index("it is tried until") < ended.err.index("the service can't be reached")
    assert "Traceback" not in ended.err


def test_a_server_that_goes_away_in_mid_run_is_told_of_at_once(desk: Desk) -> None:
    desk.write("a.csv", people(*range(100, 200)))
    desk.write("c.yaml", CONFIG.replace("1s}", "1s, stop_after: {unreached: 2}}"))
    with Sandbox(Options()) as box, ThreadPoolExecutor(1) as pool:
        words = ("run", "a.csv", "-c", "c.yaml", "--rate", "40/s", "--yes", "--no-canary", "--base-url", box.url)
        running = pool.submit(desk.run, *words)
        while memory(box)["posts"] < 5:
            assert not running.done(), running.result().err
            time.sleep(0.02)
        box.__exit__(None, None, None)
        ended = running.result(timeout=60)
    assert ended.status in (3, 5), ended.err  # a lead that was in flight may be in doubt
    notice = "The server can't be reached: no connection could be made (connection refused). Trying again in 1 s.\n"
    assert ended.err.count(notice) == 1, ended.err
    assert ended.err.index(notice) < ended.err.index("Stopped early")
    assert "555" not in ended.err


def test_why_a_run_that_stops_has_not_ended_yet_is_told(desk: Desk, serve: Callable[..., Sandbox]) -> None:
    box = serve(faults={"500_before": 1.0})
    desk.write("a.csv", people(*range(100, 200)))
    desk.write("c.yaml", CONFIG.replace("1s}", "1500ms, stop_after: {doubtful: 3}}"))
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST, "--no-canary", "--base-url", box.url)
    assert ended.status == 3, ended.err
    stopping, stopped = (ended.err.index(text) for text in ("\nStopping: ", "\nStopped early: "))
    assert stopping < stopped
    assert "Leads in flight are finished or looked up." in ended.err


def test_campaigns_in_cells_that_the_server_does_not_know_are_told_with_their_rows(desk: Desk) -> None:
    numbers = "".join(f"Ada,+1212555010{n},{campaign}\n" for n, campaign in enumerate([7, 98, 99, 98]))
    desk.write("a.csv", f"Name,Phone,C\n{numbers}")
    desk.write("c.yaml", "campaign_id: {column: C}\nphone: Phone\nvariables: {customer_name: Name}\n")
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    assert ended.status == 2
    assert (
        "campaign 98 (column 'C', 2 leads, the first in row 3 of a.csv); 99 (column 'C', 1 lead in row 4 of a.csv): the server "
        "does not know them. Campaigns that this key can see: 7 'Spring fair'"
    ) in ended.err
    assert "Put the cells or campaign_id.map right, or leave those rows out with where. Nothing was sent." in ended.err


def test_an_unknown_campaign_ends_with_status_2(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100))
    desk.write("c.yaml", CONFIG)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--campaign", "99", *FAST)
    assert ended.status == 2
    assert "99" in ended.err
    assert "Spring fair" in ended.err
    assert memory(sandbox)["posts"] == 0


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (("run", "none.csv", "-c", "c.yaml"), {}, "no such file"),
        (("run", "a.csv", "-c", "none.yaml"), {}, "none.yaml"),
        (("run", "a.csv", "-c", "bad.yaml"), {}, "bad.yaml, line 3"),
        (("run", "a.csv", "-c", "column.yaml"), {}, "Phone"),
        (("run", "a.csv", "--campaign", "7"), {}, "a.csv: there is no column 'phone_number'; did you mean 'Phone'?"),
        (("run", "a.csv", "-c", "c.yaml"), {"OTONISTARK_API_KEY": ""}, "OTONISTARK_API_KEY"),
        (("run", "a.csv", "-c", "c.yaml", "--base-url", "http://example.com/api"), {}, "https"),
    ],
)
def test_what_is_refused_says_where_and_what_to_do(
    desk: Desk, sandbox: Sandbox, words: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    desk.write("a.csv", people(100))
    desk.write("c.yaml", CONFIG)
    desk.write("bad.yaml", "campaign_id: 7\nphone: Phone\nvariabels: {}\n")
    desk.write("column.yaml", "campaign_id: 7\nphone: {column: Fone, region: US}\n")
    ended = desk.run(*words, **environment)
    assert ended.status == 2, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert memory(sandbox)["posts"] == 0


def test_suppressed_people_are_not_sent(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("dnc.txt", "(212) 555-0101\n")
    desk.write("a.csv", people(100, 101))
    desk.write("c.yaml", CONFIG + "suppress: [dnc.txt]\n")
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    assert statuses(desk.rows("a.results.csv")) == ["created", "suppressed"]
    assert memory(sandbox)["posts"] == 1


def test_include_sends_who_is_suppressed_or_filtered_and_no_blank_row(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("dnc.txt", "(212) 555-0101\n(212) 555-0102\n")
    desk.write("a.csv", people(101, 102, 103).replace("Ada,N102", "Old,").replace("Ada,N103", "Old,") + ",,,\n")
    desk.write("c.yaml", CONFIG + "suppress: [dnc.txt]\nwhere: {column: First, not_in: [Old]}\n")
    assert desk.run("run", "a.csv", "-c", "c.yaml", "--include", "filtered", *FAST).status == 0
    assert statuses(desk.rows("a.results.csv")) == ["suppressed", "suppressed", "created", "filtered"]
    more = ("--include", "suppressed", "--include", "filtered")
    ended = desk.run("retry", "a.results.csv", "-c", "c.yaml", *more, *FAST)
    assert ended.status == 0
    assert "Note: 2 numbers on a suppression list are sent all the same" in ended.err
    assert statuses(desk.rows("a.results.csv")) == ["created", "created", "created", "filtered"]
    assert memory(sandbox)["posts"] == 3


def test_only_a_run_advises_to_retry_what_failed_our_checks(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", HEAD + "Ada,X,12,\n")
    desk.write("c.yaml", CONFIG)
    checked, ran = (desk.run(command, "a.csv", "-c", "c.yaml").err for command in ("check", "run"))
    assert "failed our checks; put them right in the list, or in the config\n" in checked
    assert "failed our checks; put them right and use retry\n" in ran


def test_a_where_that_leaves_out_every_row_is_told_with_what_its_column_holds(desk: Desk) -> None:
    desk.write("a.csv", "Phone,Status\n+12125550100,new\n+12125550101,new\n+12125550102,\n")
    start = "campaign_id: 7\nphone: Phone\nwhere: "
    desk.write("c.yaml", start + "{column: status, in: [New, Old]}\n")
    ended = desk.run("check", "a.csv", "-c", "c.yaml")
    assert ended.status == 0
    assert (
        "a.csv: Warning: where leaves out every row, so nothing is sent: column 'Status' holds 'new' (2), '' (1), and "
        "where wants 'New', 'Old'. Capitals and small letters are not the same there.\n"
    ) in ended.err
    desk.write("c.yaml", start + "{column: Status, not_in: [new, '']}\n")
    assert "and where wants not 'new', not ''." in desk.run("check", "a.csv", "-c", "c.yaml").err
    desk.write("c.yaml", start + "{column: Status, in: [new]}\n")
    assert "leaves out" not in desk.run("check", "a.csv", "-c", "c.yaml").err


def test_rows_of_a_suppression_list_that_protect_nobody_are_told(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("dnc.csv", "name,phone,since\nAda,212 555 0101,2026-11-20\nBea,+1 (212) 555-0102,\nCid,,2026-11-21\n")
    desk.write("first.txt", "212 555 0103\n+12125550104\n")
    desk.write("empty.txt", "")
    desk.write("a.csv", people(101, 102))
    without_region = CONFIG.replace(", region: US", "")
    desk.write("c.yaml", without_region + "suppress: [dnc.csv, first.txt, empty.txt]\n")
    ended = desk.run("check", "a.csv", "-c", "c.yaml")
    remedy = "so nobody is held back by it. Write it with its country as +49…, or set phone.region in the config."
    assert [line for line in ended.err.splitlines() if line.startswith("Warning: suppression")] == [
        f"Warning: suppression list dnc.csv: 1 row holds a number that can't be read (row 2), {remedy}",
        f"Warning: suppression list first.txt: 1 row holds a number that can't be read (row 1), {remedy}",
        "Warning: suppression list empty.txt is empty, so nobody is held back by it.",
    ]
    assert statuses(desk.rows("a.check.csv")) == ["ready", "suppressed"]
    desk.write("c.yaml", CONFIG + "suppress: [dnc.csv, first.txt]\n")
    ended = desk.run("check", "a.csv", "-c", "c.yaml")
    assert "Warning: suppression" not in ended.err
    assert statuses(desk.rows("a.check.csv")) == ["suppressed", "suppressed"]


@pytest.mark.parametrize(
    "text",
    [
        "name,phone\nDoe, Jane,+12125550101\n",
        'name,phone\n"Doe"s, Jane,+12125550101\n',
        "do not call, 2026\nDoe,New York,+12125550101\n",
    ],
)
def test_a_number_beyond_the_header_of_a_suppression_list_is_held_back(text: str, tmp_path: Path) -> None:
    (tmp_path / "dnc.csv").write_text(text + "Bea,+12125550199\n", encoding="utf-8")
    found, _ = suppression_list([tmp_path / "dnc.csv"], {"US"})
    assert set(found) == {"+12125550101", "+12125550199"}


def test_numbers_of_a_suppression_list_are_read_in_the_countries_of_the_rows(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("dnc.txt", "030 23125017\n(212) 555-0101\n")
    desk.write("a.csv", "Phone,Land\n2125550101,USA\n+493023125017,Germany\n+12125550102,\n")
    desk.write(
        "c.yaml",
        "campaign_id: 7\nphone: {column: Phone, region: {column: Land, map: {USA: US}}}\nsuppress: [dnc.txt]\n",
    )
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--yes")
    assert "Warning: suppression" not in ended.err
    assert statuses(desk.rows("a.results.csv")) == ["suppressed", "suppressed", "created"]
    desk.write("dnc.txt", "(212) 555-0101\n+493023125017\n")
    desk.write("a.csv", "Phone,Land\n+493023125017,FR\n")
    ended = desk.run("check", "a.csv", "-c", "c.yaml")
    assert "held back by it. Write it with its country as +49….\n" in ended.err


def test_the_log_masks_phones_and_mails(desk: Desk, serve: Callable[..., Sandbox]) -> None:
    desk.write("a.csv", people(100) + "Bea,X,+12125550101,nobody\n")
    desk.write("c.yaml", CONFIG.replace("type: email", "type: email, on_error: drop"))
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--log-format", "json", *FAST)
    assert "5550100" not in ended.err
    assert "@example.com" not in ended.err
    summary = json.loads(ended.err.splitlines()[-1])
    assert summary["event"] == "summary"
    assert summary["left_out"] == [{"column": "E-mail", "code": "value_not_email", "rows": 1}]


def test_a_deadline_stops_in_time_and_the_next_run_goes_on(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(*range(100, 200)))
    desk.write("c.yaml", CONFIG)
    desk.write(  # the real command, but that its next 06:00 comes in four seconds
        "soon.py",
        "from datetime import timedelta\nfrom importer import __main__, sending\n"
        "sending.parse_deadline = lambda text, now: now + timedelta(seconds=4)\n__main__.main()\n",
    )
    command = desk.command("run", "a.csv", "-c", "c.yaml", "--rate", "2/s", "--deadline", "06:00", "--yes")
    command[1:3] = ["soon.py"]
    ended = subprocess.run(command, cwd=desk.folder, env=desk.environment(), capture_output=True, text=True, timeout=60)
    assert ended.returncode == 3, ended.stderr
    assert re.search(r"Stopped early: the deadline .* has come\. Run the same command again to go on\.\n", ended.stderr)
    assert "by this estimate about" in ended.stderr
    assert Counter(statuses(desk.rows("a.results.csv"))).keys() == {"created", "not_sent"}
    assert desk.run("run", "a.csv", "-c", "c.yaml", *FAST).status == 0
    assert memory(sandbox)["posts"] == 100


def test_how_long_it_takes_is_said_before_the_first_lead(desk: Desk) -> None:
    desk.write("a.csv", people(*range(100, 120)))
    desk.write("c.yaml", CONFIG)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--limit", "20", "--rate", "600/min", "--yes")
    assert re.search(r"20 leads, about 2 s at 600/min, done by \d\d:\d\d", ended.err), ended.err
    assert desk.run("run", "a.csv", "-c", "c.yaml", "--deadline", "25:00").status == 2


def test_a_days_limit_counts_what_earlier_runs_sent(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(*range(100, 130)))
    desk.write("c.yaml", CONFIG.replace("settle_window: 1s", "rate: [500/s, 20/day]"))
    assert desk.run("run", "a.csv", "-c", "c.yaml", "--yes", "--limit", "15").status == 0
    command = desk.command("run", "a.csv", "-c", "c.yaml", "--yes")
    running = subprocess.Popen(command, cwd=desk.folder, env=desk.environment(), stderr=subprocess.PIPE, text=True)
    time.sleep(4)
    assert memory(sandbox)["posts"] <= 20
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 130
    running.communicate()


def test_the_command_that_sends_the_rest_is_one_to_copy(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("a.csv", people(100) + "Bea,X,12,bea@example.com\n")
    desk.write("c.yaml", CONFIG)
    ended = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    hint = re.search(r"lead-importer (retry .*)", ended.err)
    assert hint
    again = desk.run(*hint[1].split())
    assert again.status == 1, again.err
    assert "0 now, 1 by earlier runs" in again.err
    assert memory(sandbox)["posts"] == 1


def test_a_run_that_was_refused_is_no_crash_in_the_history(desk: Desk) -> None:
    desk.write("a.csv", people(100))
    desk.write("c.yaml", CONFIG.replace("7", "99", 1))
    assert desk.run("run", "a.csv", "-c", "c.yaml").status == 2
    told = desk.run("history").out
    assert "refused, nothing was sent" in told
    assert "cut off" not in told


def test_a_line_that_was_cut_off_is_sent_only_when_a_person_put_it_right(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("c.yaml", "campaign_id: 7\nphone: {column: Phone}\nvariables: {customer_name: Name}\n")
    desk.write("a.csv", "Name,Phone,Town\nAda,+12125550100,X\nBob,+12125550101\nCid,+121255501")
    ended = desk.run("run", "a.csv", "-c", "c.yaml", "--yes")
    assert ended.status == 1, ended.err
    assert [row["import_error_code"] for row in desk.rows("a.results.csv")] == ["", "row_too_short", "row_too_short"]
    result = desk.folder / "a.results.csv"
    for text in (result.read_text(), result.read_text().replace("+121255501,", "+12125550102,")):
        result.write_text(text)
        assert desk.run("retry", "a.results.csv", "-c", "c.yaml", "--yes").status == 1
        assert [row["import_status"] for row in desk.rows("a.results.csv")] == ["created", "invalid", "invalid"]
    assert "empty its import_status" in desk.rows("a.results.csv")[2]["import_error"]
    result.write_text(result.read_text().replace("invalid,,,row_too_short", ",,,"))
    assert desk.run("retry", "a.results.csv", "-c", "c.yaml", "--yes").status == 0
    assert [lead["phone_number"] for lead in memory(sandbox)["leads"]] == [f"+1212555010{n}" for n in range(3)]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("Cid,+4930231250", "invalid"),
        ("Cid,+4930231250\r\n", "ready"),  # the line is whole, and such numbers exist
        ('Cid,"+4930231250"', "ready"),
        ("Cid,+493023125019", "ready"),
        (",\n", "filtered"),
    ],
)
def test_a_number_that_the_file_is_cut_off_in_is_not_called(
    desk: Desk, sandbox: Sandbox, end: str, status: str
) -> None:
    desk.write("c.yaml", "campaign_id: 7\nphone: {column: Phone}\nvariables: {customer_name: Name}\n")
    desk.write("a.csv", f"Name,Phone\nAda,+493023125017\nBob,+493023125018\n{end}")
    ended = desk.run("check", "a.csv", "-c", "c.yaml")
    assert [row["import_status"] for row in desk.rows("a.check.csv")] == ["ready", "ready", status]
    assert ("ends in the number of row 4" in ended.err) == end.endswith("19")
    if status == "invalid":
        assert desk.rows("a.check.csv")[2]["import_error_code"] == "phone_cut_off"
        assert desk.run("run", "a.csv", "-c", "c.yaml", "--yes").status == 1
        assert desk.run("retry", "a.results.csv", "-c", "c.yaml", "--yes").status == 1
        assert len(memory(sandbox)["leads"]) == 2


def test_a_row_of_totals_is_named_as_one(desk: Desk, sandbox: Sandbox) -> None:
    desk.write("c.yaml", "campaign_id: 7\nphone: {column: Phone}\nvariables: {customer_name: Name}\n")
    desk.write("a.csv", "Name,Phone,Amount\nAda,+12125550100,5\nCid,,4\nSumme:,,9\n,Total / Summe,9\n")
    assert desk.run("run", "a.csv", "-c", "c.yaml", "--yes").status == 1
    told = [row["import_error"] for row in desk.rows("a.results.csv")]
    assert "Fill in one" in told[1]
    assert "looks like a row of totals. Take it out" in told[2]
    assert "looks like a row of totals. Take it out" in told[3]


@pytest.mark.parametrize(
    ("region", "phones", "told"),
    [
        ("FR", [f"030 231250{n:02d}" for n in range(10)], "could with GB or DE or IT. Put phone.region"),
        ("DE", [f"030 231250{n:02d}" for n in range(10)], None),
        ("FR", ["030 23125000"] * 4, None),  # too few to doubt anything
        ("FR", ["x"] * 10, None),  # none would do
        ("FR", [*["030 23125000"] * 5, *[f"+4930231250{n:02d}" for n in range(9)]], None),
    ],
)
def test_a_region_in_which_most_numbers_are_none_is_doubted(
    tmp_path: Path, region: str, phones: list[str], told: str | None
) -> None:
    config = Config.model_validate({"campaign_id": 7, "phone": {"column": "Phone", "region": region}})
    path = tmp_path / "a.csv"
    path.write_text("Phone\n" + "".join(f"{phone}\n" for phone in phones))
    said = " ".join(map_rows(mend(read(path, Source()), config), config).notes)
    assert ("can't be used with region" in said) == (told is not None)
    assert told is None or told in said


def test_a_config_that_is_given_as_the_list_is_refused(desk: Desk) -> None:
    desk.write("c.yaml", CONFIG)
    ended = desk.run("run", "c.yaml")
    assert ended.status == 2
    assert "Name it with -c" in ended.err
    with pytest.raises(Refused, match=r"this is a list by its name\. Name it as the input"):
        load(desk.write("a.csv", people(100)))
    with pytest.raises(Refused, match=r"--rate 5: right is auto, or a number and a unit, such as 40/s"):
        limits_of("5", Delivery())


def test_leads_that_are_called_again_with_other_content_are_counted_first(desk: Desk, sandbox: Sandbox) -> None:
    config = "campaign_id: 7\nphone: {column: Phone}\nallow_duplicate: true\nvariables: {customer_name: Name"
    desk.write("c.yaml", config + "}\n")
    desk.write("a.csv", "Name,Phone,Town\nAda,+12125550100,X\nBea,+12125550101,Y\n")
    first = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    again = desk.run("run", "a.csv", "-c", "c.yaml", *FAST)
    assert "other content" not in first.err + again.err
    assert memory(sandbox)["posts"] == 2
    desk.write("c.yaml", config + ", town: Town}\n")
    desk.write("a.csv", "Name,Phone,Town\nAda,+12125550100,X\nBea,+12125550101,Y\nCid,+12125550102,Z\n")
    assert "Note: 2 leads have numbers for which earlier runs" in desk.run("run", "a.csv", "-c", "c.yaml", *FAST).err
    assert memory(sandbox)["posts"] == 5


def test_groups_that_depend_on_the_order_of_rows_are_told_where_duplicates_are_allowed(desk: Desk) -> None:
    desk.write("a.csv", "K,Phone\n1,+12125550100\n1,+12125550101\n")
    for more, told in (("", True), (", primary_when: {column: K, in: ['1']}", False)):
        contacts = f"secondary_contacts: {{group_by: K{more}}}\n"
        desk.write("c.yaml", f"campaign_id: 7\nphone: {{column: Phone}}\nallow_duplicate: true\n{contacts}")
        assert ("sorted otherwise" in desk.run("check", "a.csv", "-c", "c.yaml").err) == told
