"""Kill imports again and again while the server breaks, and hold what came of them against the server's memory.

    python tests/chaos.py [--leads N] [--kills N] [--seed N] [--mode NAME]… [--keep FOLDER]

The sandbox, a process of its own, stores leads and then hangs, resets, cuts its answer or sends 500, 502, 503 and
garbage on 7 % of the creates (all of its `FAULTS`, of which some store nothing) and on 7 % of the look-ups. The
importer, the real command, is killed with SIGKILL at random moments and started again until it ends by itself. A kill
counts where the run had posted since its start. Four modes: duplicates allowed or not, look-up there or not.

The judge asks the server: was anything created twice, is anything missing, are contacts, IDs and statuses in the
result file what the server knows? Data, faults and moments follow from the seed; what the machine's timing makes of
them does not.
"""

import argparse
import csv
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import phonenumbers

CONCURRENCY = 8
TIMEOUT, SETTLE_WINDOW = 1.0, 2.0
FAULT_RATE = 0.07
KEY = "17|chaos"


@dataclass(frozen=True)
class Mode:
    """What the server guards and offers."""

    allow_duplicate: bool
    lookup: bool

    @property
    def name(self) -> str:
        return f"{'allowed' if self.allow_duplicate else 'guarded'}-{'lookup' if self.lookup else 'blind'}"

    @property
    def may_end_unknown(self) -> bool:
        """Whether an ambiguous outcome can't be cleared up: nothing to look up, and no guard against sending again."""
        return self.allow_duplicate and not self.lookup


MODES = [Mode(allow_duplicate, lookup) for allow_duplicate in (True, False) for lookup in (True, False)]


# The leads.


@dataclass(frozen=True)
class Someone:
    """A lead or contact as the server should know it; `ref` is one of its variables, by which it is found again."""

    ref: str
    phone: str
    name: str

    @property
    def variables(self) -> dict[str, str]:
        return {"ref": self.ref, "customer_name": self.name}


@dataclass(frozen=True)
class Wanted:
    """A lead of the input. `account` is its own; leads that are alike to the letter have everything else in common."""

    account: str
    primary: Someone
    contacts: tuple[Someone, ...] = ()

    @property
    def body(self) -> dict[str, Any]:
        """What a create should say."""
        contacts = [{"phone_number": person.phone, "variables": person.variables} for person in self.contacts]
        body = {"phone_number": self.primary.phone, "campaign_id": 7, "variables": self.primary.variables}
        return body | ({"secondary_contacts": contacts} if contacts else {})


NAMES = ["Ada N", "Zoë Ångström", "李 小龍", "Jürgen Groß", "O'Neil, Bea", 'Cid "Ace" Y']


def make_leads(count: int, chance: random.Random, *, allow_duplicate: bool) -> list[Wanted]:
    """Make leads of which three in ten have one to three contacts; with duplicates allowed some share a number or all."""
    numbers = _numbers(chance, 10 * count)

    def someone(ref: str) -> Someone:
        return Someone(ref, next(numbers), chance.choice(NAMES))

    leads: list[Wanted] = []
    for place in range(count):
        account = f"K{place:05d}"
        if allow_duplicate and place % 50 == 49:  # the same call twice on purpose: alike to the letter, side by side
            leads.append(Wanted(account, leads[-1].primary, leads[-1].contacts))
        elif allow_duplicate and place % 50 == 24:  # the same number with another text
            leads.append(Wanted(account, Someone(f"L{place:05d}", leads[-1].primary.phone, "Dana Again")))
        else:
            contacts = chance.choice([0, 0, 0, 0, 0, 0, 0, 1, 2, 3])
            people = tuple(someone(f"L{place:05d}.{contact}") for contact in range(1, contacts + 1))
            leads.append(Wanted(account, someone(f"L{place:05d}"), people))
    return leads


def _numbers(chance: random.Random, tried: int) -> Iterator[str]:
    """Yield valid numbers, each once, of so many that are `tried`; none that the sandbox refuses on purpose."""
    for number in chance.sample(range(2_000_000, 9_999_999), tried):
        text = f"+1212{number}"
        if text[-4:-2] != "00" and phonenumbers.is_valid_number(phonenumbers.parse(text)):
            yield text


def write_input(
    folder: Path,
    leads: Sequence[Wanted],
    chance: random.Random,
    mode: Mode,
    *,
    settle_window: float = SETTLE_WINDOW,
    concurrency: int = CONCURRENCY,
) -> None:
    """Write leads.csv, the contacts' rows anywhere after or before their lead's, and its config."""
    rows = []
    for place, lead in enumerate(leads):
        rows.append((place, lead.account, "Primary", lead.primary))
        rows += [(place + chance.uniform(-20, 20), lead.account, "Other", contact) for contact in lead.contacts]
    with (folder / "leads.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Account", "Role", "Ref", "Name", "Phone"])
        for _, account, role, person in sorted(rows, key=lambda row: row[0]):
            writer.writerow([account, role, person.ref, person.name, person.phone])
    (folder / "chaos.yaml").write_text(
        "campaign_id: 7\n"
        "phone: {column: Phone, region: US}\n"
        "variables: {ref: Ref, customer_name: Name}\n"
        "secondary_contacts: {group_by: Account, primary_when: {column: Role, in: [Primary]}}\n"
        f"allow_duplicate: {'true' if mode.allow_duplicate else 'false'}\n"
        "delivery:\n"
        "  rate: 1000/s\n"
        f"  concurrency: {concurrency}\n"
        f"  timeout: {TIMEOUT:g}s\n"
        f"  settle_window: {settle_window:g}s\n"
        # Faults are the point here: no breaker.
        "  stop_after: {same_refusal: 100000, html: 100000, timeouts: 100000, rejected_after: 100000}\n",
        encoding="utf-8",
    )


# The two processes.


class Server:
    """A sandbox in a process of its own. Close it, or use it as a context manager."""

    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "importer", "sandbox", *words], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = ""
        for line in self._process.stdout:
            self.url = self.url or line.split(" at ")[1].split(" ")[0]
            if line.startswith("What it was told"):
                break
        self.root = self.url.removesuffix("/api")

    def ask(self, what: str) -> dict[str, Any]:
        """Return `memory` or `counts`."""
        with urllib.request.urlopen(f"{self.root}/sandbox/{what}", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    @property
    def posts(self) -> int:
        return int(self.ask("counts")["posts"])

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass
class Story:
    """How the importer fared until it ended by itself."""

    starts: int = 0
    kills: int = 0
    """Those that count."""
    idle_kills: int = 0
    """Those before the first post of a run."""
    in_flight: int = 0
    """The most leads that can have been in flight at the kills."""
    statuses: list[int] = field(default_factory=list)
    """Of the runs that ended by themselves."""
    seconds: float = 0.0
    log: str = ""
    """What the last run said."""


def drive(folder: Path, server: Server, chance: random.Random, *, leads: int, kills: int) -> Story:
    """Start the import, kill it, start it again, until `kills` counted and it ended by itself; 3 means once more."""
    story, began = Story(), time.monotonic()
    while story.kills < kills and story.starts < 4 * kills + 10:
        before = server.posts
        share = (leads - before) / (kills - story.kills + 1)
        idle = chance.random() < 0.15
        moment = _at_once(chance) if idle else _after_posts(server, before, chance.uniform(0, 1.6) * share, chance)
        with started(folder, server, story) as process:
            ended = moment(process)
            process.kill()
        if ended:
            story.statuses.append(process.returncode)
            break
        time.sleep(0.1)  # what is on its way to the server arrives, so that it counts
        posted = server.posts - before
        story.kills += posted > 0
        story.idle_kills += posted == 0
        story.in_flight += min(posted, CONCURRENCY)
    while not story.statuses or (story.statuses[-1] == 3 and len(story.statuses) < 10):
        with started(folder, server, story) as process:
            story.statuses.append(process.wait(timeout=600))
    story.seconds = time.monotonic() - began
    story.log = (folder / f"log-{story.starts}.txt").read_text(encoding="utf-8")
    return story


@contextmanager
def started(folder: Path, server: Server, story: Story) -> Iterator["subprocess.Popen[str]"]:
    story.starts += 1
    words = ["run", "leads.csv", "-c", "chaos.yaml", "--base-url", server.url, "--yes", "--no-progress"]
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("OTONISTARK", "LEAD_IMPORTER"))}
    environment = kept | {"XDG_STATE_HOME": str(folder / "state"), "OTONISTARK_API_KEY": KEY}
    with (folder / f"log-{story.starts}.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "importer", *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


#: Waits for the moment to kill; True where the process ended by itself before it came.
_Moment = Callable[["subprocess.Popen[str]"], bool]


def _at_once(chance: random.Random) -> _Moment:
    """Choose a moment in the first second, whatever the run does by then."""
    seconds = chance.uniform(0.1, 1.0)

    def wait(process: "subprocess.Popen[str]") -> bool:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    return wait


def _after_posts(server: Server, before: int, number: float, chance: random.Random) -> _Moment:
    """Choose a moment up to 30 ms after so many posts of the run."""
    target, later = before + max(int(number), 1), chance.uniform(0, 0.03)

    def wait(process: "subprocess.Popen[str]") -> bool:
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            if server.posts >= target:
                time.sleep(later)
                return False
            time.sleep(0.005)
        return True

    return wait


# The judge.


@dataclass
class Judgement:
    """What differs between what was wanted, what the result file says and what the server knows; in words and numbers."""

    twice: int = 0
    lost: int = 0
    unknown: int = 0
    probably_ours: int = 0
    """Leads that the guard refused when they were sent again: said to be duplicates, which they are of themselves."""
    problems: list[str] = field(default_factory=list)


def judge(leads: Sequence[Wanted], rows: Sequence[dict[str, str]], known: Sequence[dict[str, Any]]) -> Judgement:
    """Hold input, result rows and the server's leads against each other."""
    found = Judgement()
    stored: dict[str, list[dict[str, Any]]] = {}
    for lead in known:
        stored.setdefault(lead["variables"].get("ref", ""), []).append(lead)
    told: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        told.setdefault(row["Account"], []).append(row)
    alike: dict[str, list[Wanted]] = {}
    for wanted in leads:
        alike.setdefault(wanted.primary.ref, []).append(wanted)
    for ref, group in alike.items():
        _judge_alike(found, group, stored.pop(ref, []), told)
    found.problems += [f"{ref!r} is on the server, but nobody sent it" for ref in stored]
    people = sum(1 + len(lead.contacts) for lead in leads)
    if len(rows) != people:
        found.problems.append(f"the result has {len(rows)} rows, the input {people}")
    return found


def _judge_alike(
    found: Judgement, group: list[Wanted], stored: list[dict[str, Any]], told: dict[str, list[dict[str, str]]]
) -> None:
    """Judge leads that are alike to the letter, mostly one."""
    first = group[0].primary
    who = f"{first.ref} ({first.phone})"
    ids = sorted(str(lead["id"]) for lead in stored)
    if len(stored) > len(group):
        found.twice += len(stored) - len(group)
        found.problems.append(f"{who}: wanted {len(group)} time(s), created {len(stored)} times: IDs {', '.join(ids)}")
    by_id = {str(lead["id"]): lead for lead in stored}
    for lead in stored:
        found.problems += [f"{who}: {text}" for text in _differences(group[0], lead)]
    taken: Counter[str] = Counter()
    open_ends = 0
    for wanted in group:
        mine = {row["Ref"]: row for row in told.get(wanted.account, [])}
        row = mine.get(first.ref)
        if row is None:
            found.problems.append(f"{who}: account {wanted.account} has no row in the result")
            continue
        status, lead_id = row["import_status"], row["import_lead_id"]
        if status in ("created", "already_imported"):
            taken[lead_id] += 1
            if lead_id not in by_id:
                found.problems.append(f"{who}: {status} with ID {lead_id!r}; the server has {ids or 'nothing'}")
        elif status == "duplicate" and row["import_error_code"] == "probably_ours":
            found.probably_ours += 1
        elif status == "unknown":
            found.unknown += 1
            open_ends += 1
        else:
            what = f"{status} ({row['import_error_code']}: {row['import_error']})"
            found.problems.append(f"{who}: said to be {what}; the server has {ids or 'nothing'}")
        found.problems += [f"{who}: {text}" for text in _wrong_contacts(wanted, mine, by_id.get(lead_id))]
    found.problems += [f"{who}: ID {lead_id} stands on {times} leads" for lead_id, times in taken.items() if times > 1]
    missing = len(group) - len(stored) - open_ends
    if missing > 0:
        found.lost += missing
        found.problems.append(f"{who}: wanted {len(group)} time(s), created {len(stored)}, {open_ends} said unknown")


def _differences(wanted: Wanted, lead: dict[str, Any]) -> Iterator[str]:
    """Compare a lead on the server, and its contacts, with what was wanted."""
    people = [("lead", wanted.primary, lead)]
    by_phone: dict[str, list[dict[str, Any]]] = {}
    for contact in lead["contacts"]:
        by_phone.setdefault(contact["phone_number"], []).append(contact)
    for person in wanted.contacts:
        same = by_phone.pop(person.phone, [])
        if len(same) != 1:
            yield f"contact {person.ref} is {len(same)} times in lead {lead['id']}"
        people += [("contact", person, contact) for contact in same]
    for phone in by_phone:
        yield f"lead {lead['id']} has a contact that nobody asked for: {phone}"
    for what, person, stored in people:
        if (stored["phone_number"], stored["variables"]) != (person.phone, person.variables):
            yield f"{what} {person.ref}: the server has {stored['phone_number']} {stored['variables']}"


def _wrong_contacts(wanted: Wanted, mine: dict[str, dict[str, str]], lead: dict[str, Any] | None) -> Iterator[str]:
    """Compare the contacts' rows with the lead that their primary's row names; None: it names none."""
    ids = {contact["phone_number"]: str(contact["id"]) for contact in lead["contacts"]} if lead else {}
    primary = mine[wanted.primary.ref]
    for contact in wanted.contacts:
        row = mine.get(contact.ref)
        if row is None:
            yield f"contact {contact.ref} has no row in the result"
            continue
        said = (row["import_status"], row["import_lead_id"], row["import_contact_id"])
        right = (primary["import_status"], primary["import_lead_id"], ids.get(contact.phone, ""))
        if said != right:
            yield f"contact {contact.ref}: status, lead ID, contact ID are {said}; right is {right}"


# One mode, and all.


@dataclass
class Report:
    """One mode's numbers and what is wrong with them."""

    mode: Mode
    story: Story
    found: Judgement
    counts: dict[str, Any]
    problems: list[str]

    COLUMNS = (
        "mode", "created twice", "lost", "unknown", "probably ours", "POSTs", "faults", "look-up faults",
        "refused as duplicates", "kills", "in flight at most", "seconds",
    )  # fmt: skip

    def line(self) -> tuple[object, ...]:
        found, counts, story = self.found, self.counts, self.story
        faults, lookup_faults = sum(counts["faults"].values()), sum(counts["lookup_faults"].values())
        return (
            self.mode.name, found.twice, found.lost, found.unknown, found.probably_ours, counts["posts"], faults,
            lookup_faults, counts["refused_duplicates"], story.kills, story.in_flight, round(story.seconds),
        )  # fmt: skip


def run_mode(mode: Mode, folder: Path, *, leads: int, kills: int, seed: int) -> Report:
    """Make the input, let chaos reign, judge."""
    chance = random.Random(f"{seed} {mode.name}")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = make_leads(leads, chance, allow_duplicate=mode.allow_duplicate)
    write_input(folder, wanted, chance, mode)
    words = ["--latency", "0.02", "--faults", f"{FAULT_RATE}", "--seed", str(chance.randrange(10**6))]
    words += ["--lookup-faults", f"{FAULT_RATE}"] if mode.lookup else ["--no-lookup"]
    with Server(*words) as server:
        story = drive(folder, server, chance, leads=leads, kills=kills)
        counts = server.ask("memory")
    known = counts.pop("leads")
    rows = read_rows(folder / "leads.results.csv")
    found = judge(wanted, rows, known)
    problems = [*_broken_promises(mode, story, found, counts, leads=leads, kills=kills), *found.problems]
    if not rows:
        problems = [f"there is no result file; the last run said: {story.log[-2000:]}"]
    return Report(mode, story, found, counts, problems)


def read_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _broken_promises(
    mode: Mode, story: Story, found: Judgement, counts: dict[str, Any], *, leads: int, kills: int
) -> Iterator[str]:
    faults = sum(counts["faults"].values())
    open_at_most = faults + story.in_flight
    if found.unknown and not mode.may_end_unknown:
        yield f"{found.unknown} leads are unknown, though the server can tell"
    if found.unknown > open_at_most:
        yield f"{found.unknown} leads are unknown; only {open_at_most} were hit by a fault or in flight at a kill"
    if counts["refused_duplicates"] > (0 if mode.allow_duplicate else open_at_most):
        yield f"the guard refused {counts['refused_duplicates']} POSTs as duplicates: it did our work"
    if found.probably_ours and (mode.lookup or mode.allow_duplicate):
        yield f"{found.probably_ours} leads are duplicates of themselves, though they could be told apart"
    right = 5 if found.unknown else 0
    if story.statuses[-1] != right:
        yield f"the last run ended with {story.statuses[-1]}, right is {right}; it said: {story.log[-1500:]}"
    if story.kills != kills:
        yield f"{story.kills} kills counted, wanted {kills}"
    if leads >= 1000 and not 0.05 <= faults / counts["posts"] <= 0.09:
        yield f"{faults} faults on {counts['posts']} POSTs are not 7 %"


def run_all(modes: Sequence[Mode], folder: Path, *, leads: int, kills: int, seed: int) -> list[Report]:
    """Run the modes side by side."""
    with ThreadPoolExecutor(len(modes)) as pool:
        jobs = [pool.submit(run_mode, mode, folder / mode.name, leads=leads, kills=kills, seed=seed) for mode in modes]
    return [job.result() for job in jobs]


def told(reports: Sequence[Report], *, most: int = 20) -> str:
    """Return a Markdown table, and below it what is wrong."""
    lines = [Report.COLUMNS, ("---",) * len(Report.COLUMNS), *(report.line() for report in reports)]
    text = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"
    for report in reports:
        shown = report.problems[:most]
        text += "".join(f"\n{report.mode.name}: {problem}" for problem in shown)
        if len(report.problems) > len(shown):
            text += f"\n{report.mode.name}: … and {len(report.problems) - len(shown)} more"
    return text


def main() -> int:
    """Run what the command line asks for; 1 where a promise was broken."""
    names = {mode.name: mode for mode in MODES}
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--leads", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--mode", action="append", choices=list(names), help="may be repeated; default: all four")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep inputs, ledgers and results here")
    asked = parser.parse_args()
    print(f"seed {asked.seed}: {asked.leads} leads, {asked.kills} kills, in each mode", flush=True)
    modes = [names[name] for name in asked.mode or names]
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = asked.keep or Path(temporary)
        reports = run_all(modes, folder.resolve(), leads=asked.leads, kills=asked.kills, seed=asked.seed)
    print(told(reports))
    return int(any(report.problems for report in reports))


if __name__ == "__main__":
    sys.exit(main())
