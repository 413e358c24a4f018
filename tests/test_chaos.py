"""No lead twice and no lead lost, whatever happens to the process, the server, the disk and the person at the keys.

The judge is the server's memory (see `chaos`): `make chaos` is the long form of the first test.
"""

import contextlib
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import chaos
import pytest
import readied
from chaos import Mode, Wanted, judge, make_leads
from conftest import Desk, memory
from killed_at import CLOCK_AHEAD, POINTS

from importer.address import normalise_address
from importer.ledger import Ledger
from importer.sandbox import Sandbox

resource = pytest.importorskip("resource")  # there is none on Windows, nor SIGKILL

MODES = {mode.name: mode for mode in chaos.MODES}


def test_chaos_creates_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    reports = chaos.run_all(chaos.MODES, tmp_path, leads=150, kills=3, seed=seed)
    assert not any(report.problems for report in reports), f"seed {seed}\n{chaos.told(reports)}"


# The judge itself: whatever it is shown, it must not nod.


def told(leads: list[Wanted]) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Return the result rows and the server's memory of a day on which all went well."""
    rows, known, ids = [], [], iter(range(1001, 9999))
    for lead in leads:
        people = [(person, next(ids)) for person in (lead.primary, *lead.contacts)]
        stored = [
            {"id": number, "phone_number": person.phone, "variables": person.variables} for person, number in people
        ]
        known.append({**stored[0], "contacts": stored[1:]})
        for place, (person, number) in enumerate(people):
            row = {"Account": lead.account, "Ref": person.ref, "import_status": "created", "import_error_code": ""}
            row |= {"import_lead_id": str(people[0][1]), "import_contact_id": str(number) if place else ""}
            rows.append(row | {"import_error": ""})
    return rows, known


LEADS = make_leads(60, random.Random(4), allow_duplicate=True)
PLACE = next(place for place, lead in enumerate(LEADS) if lead.contacts)
REF = LEADS[PLACE].primary.ref


def lead_of(known: list[dict[str, Any]]) -> dict[str, Any]:
    return next(lead for lead in known if lead["variables"]["ref"] == REF)


def row_of(rows: list[dict[str, str]], ref: str = REF) -> dict[str, str]:
    return next(row for row in rows if row["Ref"] == ref)


#: What may be wrong, what is done to rows and memory, and the judge's numbers: created twice, lost, unknown.
WRONGS: dict[str, tuple[Callable[[list[dict[str, str]], list[dict[str, Any]]], Any], tuple[int, int, int]]] = {
    "a lead is there twice": (lambda rows, known: known.append({**deepcopy(lead_of(known)), "id": 9999}), (1, 0, 0)),
    "a lead is missing": (lambda rows, known: known.remove(lead_of(known)), (0, 1, 0)),
    "a lead is failed": (lambda rows, known: row_of(rows).update(import_status="failed"), (0, 0, 0)),
    "an ID is another's": (lambda rows, known: row_of(rows).update(import_lead_id="1"), (0, 0, 0)),
    "a contact is missing": (lambda rows, known: lead_of(known)["contacts"].pop(), (0, 0, 0)),
    "a contact is there twice": (
        lambda rows, known: lead_of(known)["contacts"].append(lead_of(known)["contacts"][0]),
        (0, 0, 0),
    ),
    "a contact's ID is another's": (
        lambda rows, known: row_of(rows, LEADS[PLACE].contacts[0].ref).update(import_contact_id="1"),
        (0, 0, 0),
    ),
    "a contact is not confirmed": (
        lambda rows, known: row_of(rows, LEADS[PLACE].contacts[0].ref).update(import_status="unknown"),
        (0, 0, 0),
    ),
    "a variable is another": (lambda rows, known: lead_of(known)["variables"].update(customer_name="X"), (0, 0, 0)),
    "a row is missing": (lambda rows, known: rows.remove(row_of(rows)), (0, 0, 0)),
    "a stranger is there": (lambda rows, known: known.append({**lead_of(known), "variables": {}}), (0, 0, 0)),
}


def test_the_judge_finds_nothing_wrong_with_a_good_day() -> None:
    found = judge(LEADS, *told(LEADS))
    assert (found.twice, found.lost, found.unknown, found.problems) == (0, 0, 0, [])


@pytest.mark.parametrize("wrong", WRONGS)
def test_the_judge_finds(wrong: str) -> None:
    rows, known = told(LEADS)
    spoil, numbers = WRONGS[wrong]
    spoil(rows, known)
    found = judge(LEADS, rows, known)
    assert (found.twice, found.lost, found.unknown) == numbers
    assert found.problems


def test_the_judge_takes_unknown_for_neither_lost_nor_done() -> None:
    rows, known = told(LEADS)
    known.remove(lead_of(known))
    for person in (LEADS[PLACE].primary, *LEADS[PLACE].contacts):
        row_of(rows, person.ref).update(import_status="unknown", import_lead_id="", import_contact_id="")
    found = judge(LEADS, rows, known)
    assert (found.twice, found.lost, found.unknown, found.problems) == (0, 0, 1, [])


# Death at chosen points.


def prepared(desk: Desk, mode: Mode, leads: int = 6) -> list[Wanted]:
    chance = random.Random(11)
    wanted = make_leads(leads, chance, allow_duplicate=mode.allow_duplicate)
    chaos.write_input(desk.folder, wanted, chance, mode, settle_window=0.5, concurrency=2)
    return wanted


RUN = ("run", "leads.csv", "-c", "chaos.yaml", "--yes", "--no-progress")


def die_at(desk: Desk, point: str, number: int, **environment: str) -> None:
    command = desk.command(*RUN)
    place = command.index("importer")
    words = [str(Path(__file__).with_name("killed_at.py")), point, str(number), *command[place + 1 :]]
    died = readied.run(words, cwd=desk.folder, env=desk.environment(**environment), timeout=60)
    assert died.returncode == -signal.SIGKILL


def all_is_well(desk: Desk, box: Sandbox, wanted: list[Wanted], *words: str, unknown: int = 0) -> None:
    """Run to the end, and let the judge have a look."""
    ended = desk.run(*RUN, *words)
    found = judge(wanted, desk.rows("leads.results.csv"), memory(box)["leads"])
    assert found.problems == [], ended.err
    assert (found.twice, found.lost) == (0, 0)
    assert found.unknown <= unknown
    assert ended.status == (5 if found.unknown else 0), ended.err


@pytest.mark.parametrize(
    ("point", "mode"),
    [
        (point, mode)
        for point in POINTS
        # By the time the result is written nothing is in doubt, and the mode says nothing.
        for mode in ["allowed-lookup", *(["guarded-blind"] if "result" not in point else [])]
    ],
)
def test_a_death_anywhere_is_made_good(point: str, mode: str, tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    number = 1 if "result" in point else 3
    hangs = {number: "hang"} if point == "between send and answer" else {}
    box = serve(lookup=MODES[mode].lookup, fault_at=hangs)
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES[mode])
    die_at(desk, point, number)
    posts = memory(box)["posts"]
    # Two at once: where one hangs, the other sends all the rest.
    assert posts == len(wanted) if "result" in point or hangs else posts <= number + 1
    all_is_well(desk, box, wanted)


@pytest.mark.parametrize("stored", [True, False])
def test_a_death_before_the_answer_to_the_very_first_lead_is_made_good(
    stored: bool, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={1: "hang" if stored else "hang_before"})
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["allowed-lookup"])
    die_at(desk, "between send and answer", 1)
    all_is_well(desk, box, wanted)


# Clocks. With duplicates allowed, a lead that is taken for an older one is sent again.


def is_found_after_a_death(desk: Desk, box: Sandbox, **environment: str) -> None:
    """Die while the third lead hangs, stored, and look it up in the next run."""
    wanted = prepared(desk, MODES["allowed-lookup"])
    die_at(desk, "between send and answer", 3, **environment)
    all_is_well(desk, box, wanted)


def test_a_clock_that_was_wrong_when_a_lead_was_sent_makes_nobody_be_called_twice(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={3: "hang"})
    is_found_after_a_death(Desk(tmp_path, box.url), box, **{CLOCK_AHEAD: "3600"})


@pytest.mark.parametrize(("shape", "ahead"), [("iso", -10800.0), ("iso", -5.0), ("bare", 19800.0)])
def test_leads_that_are_dated_by_another_clock_are_found_and_nobody_is_called_twice(
    shape: str, ahead: float, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={3: "hang"}, created_at=shape, created_at_ahead=ahead)
    is_found_after_a_death(Desk(tmp_path, box.url), box)


def test_bare_times_of_another_season_make_nobody_be_called_twice(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={3: "hang"}, created_at="bare")
    with Ledger(tmp_path / ".state" / "lead-importer" / "ledger.sqlite3") as ledger:
        ledger.remember(normalise_address(box.url), created_ahead={"bare": 3600.0})  # as a run in summer left it
    is_found_after_a_death(Desk(tmp_path, box.url), box)


def test_without_look_up_and_guard_what_died_in_flight_is_said_to_be_unknown(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(lookup=False, fault_at={3: "hang"})
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["allowed-blind"])
    die_at(desk, "between send and answer", 3)
    all_is_well(desk, box, wanted, unknown=2)
    assert Counter(row["import_status"] for row in desk.rows("leads.results.csv"))["unknown"] >= 1


def test_leads_that_hang_while_others_are_answered_are_sent_again_in_the_same_run(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(lookup=False, fault_at=dict.fromkeys(range(1, 6), "hang"))
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["guarded-blind"], leads=10)
    all_is_well(desk, box, wanted, "--concurrency", "8")
    assert memory(box)["refused_duplicates"] == 5


# A ledger that does not know what was sent.


@pytest.mark.parametrize(
    ("lost", "mode"),
    [("an older ledger", "allowed-lookup"), ("an older ledger", "guarded-lookup"), ("no ledger", "allowed-lookup")],
)
def test_what_a_ledger_put_back_from_a_backup_has_forgotten_is_not_sent_again(
    mode: str, lost: str, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve()
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES[mode])
    state = tmp_path / ".state" / "lead-importer"
    if lost == "an older ledger":
        assert desk.run(*RUN, "--limit", "1").status == 0
        shutil.copytree(state, tmp_path / "backup")
        (tmp_path / "leads.results.csv").rename(tmp_path / "older.csv")
    all_is_well(desk, box, wanted)
    shutil.rmtree(state)
    if lost == "an older ledger":
        (tmp_path / "backup").rename(state)
    posts = memory(box)["posts"]
    for words in (("check", *RUN[1:4]), RUN)[lost == "no ledger" :]:  # without one, who knows which sandbox it was
        ended = desk.run(*words)
        assert "leads.results.csv: this is the result of run 2026" in ended.err
        assert "lead-importer retry leads.results.csv" in ended.err.replace(str(tmp_path) + "/", "")
        if MODES[mode].allow_duplicate:
            assert ended.status == 2, ended.err
            assert memory(box)["posts"] == posts
    assert Counter(lead["phone_number"] for lead in memory(box)["leads"]) == Counter(
        lead.primary.phone for lead in wanted
    )
    # The cells of the result say what is done.
    assert desk.run("retry", "leads.results.csv", "-c", "chaos.yaml", "--yes").status == 0
    assert len(memory(box)["leads"]) == len(wanted)


def test_a_result_of_another_service_or_of_a_known_run_keeps_nobody_from_running_again(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    for box in (serve(), serve()):
        desk = Desk(tmp_path, box.url)
        wanted = prepared(desk, MODES["allowed-lookup"])
        for _ in range(2):
            all_is_well(desk, box, wanted)
        shutil.rmtree(tmp_path / ".state")  # what the other service has is not forgotten by this


# The disk.


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small disk; skip where that is not allowed."""
    place = folder / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("disks can't be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def stops_on_a_full_disk(desk: Desk, box: Sandbox, leads: int, *words: str, **limits: Any) -> None:
    """Run where the ledger soon has no room left; no lead may leave that the ledger does not know."""
    ended = subprocess.run(
        desk.command(*RUN, *words), cwd=desk.folder, env=desk.environment(), capture_output=True, text=True, **limits
    )
    assert ended.returncode == 3, ended.stderr
    assert "can't be written" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert 0 < memory(box)["posts"] < leads
    assert "not_sent" in {row["import_status"] for row in desk.rows("leads.results.csv")}


def test_a_full_disk_stops_before_the_next_lead_and_nothing_is_sent_twice(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    # Nothing can be looked up or is guarded: a lead that left without its intent would be sent again.
    box = serve(lookup=False)
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["allowed-blind"], leads=120)
    ledger = tmp_path / ".state" / "lead-importer" / "ledger.sqlite3"
    with small_disk(tmp_path, "300k") as disk:
        stops_on_a_full_disk(desk, box, len(wanted), "--ledger", str(disk / ledger.name))
        ledger.parent.mkdir(parents=True, exist_ok=True)
        for path in disk.iterdir():
            (ledger.parent / path.name).write_bytes(path.read_bytes())
    all_is_well(desk, box, wanted, unknown=2)


def test_a_ledger_that_may_not_grow_stops_before_the_next_lead_and_nothing_is_lost(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve()
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["allowed-lookup"], leads=120)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    stops_on_a_full_disk(desk, box, len(wanted), preexec_fn=limit)
    all_is_well(desk, box, wanted)


def test_a_ledger_that_can_only_be_read_is_refused_before_anything_is_sent(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve()
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["guarded-lookup"])
    with small_disk(tmp_path, "4m") as disk:
        known = ("--ledger", str(disk / "ledger.sqlite3"))
        assert desk.run(*RUN, *known, "--limit", "2").status == 0
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        refused = desk.run(*RUN, *known)
        assert refused.status == 2, refused.err
        assert "ledger.sqlite3: it can't be written" in refused.err
        assert "Traceback" not in refused.err
        assert memory(box)["posts"] == 2
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert desk.run(*RUN, *known).status == 0
    assert memory(box)["posts"] == len(wanted)


# The person at the keys, and the other one.


def started(desk: Desk, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        desk.command(*RUN, *words),
        cwd=desk.folder,
        env=desk.environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def wait_for_posts(box: Sandbox, number: int) -> None:
    deadline = time.monotonic() + 30
    while memory(box)["posts"] < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_takes_no_new_lead_finishes_those_in_flight_and_writes_the_result(
    number: int, status: int, tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(latency=0.3)
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["guarded-lookup"], leads=20)
    with started(desk) as process:
        wait_for_posts(box, 5)
        process.send_signal(number)
        posts = memory(box)["posts"]
        _, err = process.communicate(timeout=30)
    assert process.returncode == status, err
    seen = memory(box)
    assert seen["posts"] <= posts + 2  # what was on its way
    primaries = {lead.primary.ref for lead in wanted}
    rows = [row for row in desk.rows("leads.results.csv") if row["Ref"] in primaries]
    counts = Counter(row["import_status"] for row in rows)
    assert counts == {"created": len(seen["leads"]), "not_sent": len(wanted) - len(seen["leads"])}
    all_is_well(desk, box, wanted)


def test_a_second_signal_leaves_at_once_and_loses_nothing(tmp_path: Path, serve: Callable[..., Sandbox]) -> None:
    box = serve(fault_at={5: "hang"})
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["allowed-lookup"], leads=40)
    desk.write("chaos.yaml", (tmp_path / "chaos.yaml").read_text().replace("timeout: 1s", "timeout: 25s"))
    with started(desk, "--concurrency", "1") as process:
        wait_for_posts(box, 5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None  # it waits for the answer
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 5
    assert memory(box)["posts"] == 5
    all_is_well(desk, box, wanted)
    assert memory(box)["posts"] == len(wanted)  # the one that was left was found, not sent again


def test_a_second_sender_leaves_and_names_the_first_and_a_dead_one_holds_nobody_up(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    box = serve(fault_at={2: "hang"})
    desk = Desk(tmp_path, box.url)
    wanted = prepared(desk, MODES["guarded-lookup"])
    desk.write("chaos.yaml", (tmp_path / "chaos.yaml").read_text().replace("timeout: 1s", "timeout: 25s"))
    with started(desk, "--concurrency", "1") as process:
        wait_for_posts(box, 2)
        second = desk.run(*RUN)
        assert second.status == 4, second.err
        assert f"process {process.pid}" in second.err
        assert re.search(r"since 20\d\d-\d\d-\d\d \d\d:\d\d\. ", second.err)  # by the clock on the wall
        assert memory(box)["posts"] == 2
        waited = desk.run(*RUN, "--wait", "1s")
        assert waited.status == 4, waited.err
        assert "Traceback" not in second.err + waited.err
        process.kill()
        process.communicate()
    all_is_well(desk, box, wanted)


def test_a_sender_with_another_key_leaves_alone_what_the_first_has_in_flight(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    """Both may use one ledger: neither takes the other's leads in flight for those of a dead run."""
    box = serve(fault_at={1: "hang_before", 2: "hang"})
    desk = Desk(tmp_path, box.url)
    rejected = "+12126550066"
    desk.write("a.csv", f"Phone\n{rejected}\n+12125550100\n")
    desk.write("b.csv", f"Phone\n+12125550101\n{rejected}\n+12125550100\n")
    desk.write("c.yaml", "campaign_id: 7\nphone: {column: Phone}\ndelivery: {timeout: 5s, settle_window: 1s}\n")
    words = ("-c", "c.yaml", "--yes", "--concurrency", "2")
    first = desk.command("run", "a.csv", *words)
    with subprocess.Popen(first, cwd=tmp_path, env=desk.environment(), stdin=subprocess.DEVNULL) as process:
        wait_for_posts(box, 2)
        second = desk.run("run", "b.csv", *words, OTONISTARK_API_KEY="18|another")
        assert process.poll() is None
        assert process.wait(timeout=30) == 1
    assert second.status == 1, second.err
    told = [(row["import_status"], row["import_error_code"]) for row in desk.rows("b.results.csv")]
    assert told == [("created", ""), ("not_sent", "sent_elsewhere"), ("not_sent", "sent_elsewhere")]
    assert {row["import_status"] for row in desk.rows("a.results.csv")} == {"created", "rejected"}
    assert Counter(lead["phone_number"] for lead in memory(box)["leads"]) == {"+12125550100": 1, "+12125550101": 1}


def test_two_senders_with_a_key_each_and_the_same_list_share_it_and_both_go_on_to_the_end(
    tmp_path: Path, serve: Callable[..., Sandbox]
) -> None:
    """What one took since the other looked is left to it; in the middle, where they meet, they take the same at once."""
    box = serve(latency=0.05)
    desk = Desk(tmp_path, box.url)
    numbers = [f"+12125550{number}" for number in range(100, 140)]
    desk.write("a.csv", "\n".join(["Phone", *numbers, ""]))
    desk.write("b.csv", "\n".join(["Phone", *reversed(numbers), ""]))
    desk.write("c.yaml", "campaign_id: 7\nphone: {column: Phone}\n")
    words = ("-c", "c.yaml", "--yes", "--no-canary", "--rate", "8/s")
    first = desk.command("run", "a.csv", *words)
    with subprocess.Popen(first, cwd=tmp_path, env=desk.environment(), stdin=subprocess.DEVNULL) as process:
        wait_for_posts(box, 1)
        second = desk.run("run", "b.csv", *words, OTONISTARK_API_KEY="18|another")
        assert process.wait(timeout=30) == 1
    assert second.status == 1, second.err
    told = Counter(
        (row["import_status"], row["import_error_code"])
        for name in ("a.results.csv", "b.results.csv")
        for row in desk.rows(name)
    )
    assert told.pop(("created", "")) == 40
    assert told.pop(("not_sent", "sent_elsewhere")) >= 2
    assert not told.keys() - {("already_imported", "")}, told  # taken before the second looked
    assert Counter(lead["phone_number"] for lead in memory(box)["leads"]) == dict.fromkeys(numbers, 1)
    again = desk.run("run", "b.csv", *words)
    assert again.status == 0, again.err
    assert {row["import_status"] for row in desk.rows("b.results.csv")} == {"already_imported"}
