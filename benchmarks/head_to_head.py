"""The importer and three scripts against the same breaking server; print tables of created twice, lost, unknown.

    make head-to-head        or:  python benchmarks/head_to_head.py [--leads N] [--seed N] [--peers PYTHON]

Everybody gets the same leads, eight requests in flight, one second of patience, and the same faults drawn from one seed:
7 % of the creates, in all kinds that the sandbox has. The server's memory is the judge.

    created twice             leads that the server has once more than wanted: somebody is called twice
    lost                      leads that the server does not have when all is over
    lost, not said so         those of them that the program does not say to be unknown
    unknown                   leads of which the program can't say whether they were created: somebody has to look
    created, ID not known     leads that the server has, and of which the program does not know the lead ID
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import chaos  # noqa: E402 - lies beside the tests
from chaos import Mode, Server, Story, Wanted  # noqa: E402


@dataclass(frozen=True)
class Rival:
    """Who takes part: a name for the table, and the peer's own; None: the importer."""

    name: str
    peer: str | None = None
    lookup: bool = True


RIVALS = [
    Rival("lead-importer"),
    Rival("lead-importer, server without look-up", lookup=False),
    Rival("requests with urllib3's Retry adapter, POST included", "requests_retry"),
    Rival("aiohttp, retrying errors and 5xx", "aiohttp_retry"),
    Rival("requests, never retrying", "requests_once"),
]

COLUMNS = (
    "program",
    "created twice",
    "lost",
    "lost, not said so",
    "unknown",
    "created, ID not known",
    "POSTs",
    "faults",
)


@dataclass(frozen=True)
class Told:
    """What a program says of one lead when it has ended."""

    is_done: bool
    lead_id: str | None
    is_refused: bool = False
    """The server said in so many words that it did not take it, or has it already."""


def compete(
    rival: Rival, folder: Path, *, allow: bool, leads: int, seed: int, kill: bool, peers: str
) -> tuple[Any, ...]:
    """Let one program do the job; return its line of the table."""
    mode = Mode(allow, rival.lookup)
    chance = random.Random(seed)
    # All numbers differ: scripts have no answer to leads that are alike, and none shall suffer from that here.
    wanted = chaos.make_leads(leads, chance, allow_duplicate=False)
    folder.mkdir(parents=True)
    words = ["--latency", "0.01", "--faults", f"{chaos.FAULT_RATE}", "--seed", str(seed)]
    with Server(*words, *([] if rival.lookup else ["--no-lookup"])) as server:
        run = _importer if rival.peer is None else _peer
        told = run(rival, folder, server, wanted, chance, mode=mode, kill=kill, peers=peers)
        memory = server.ask("memory")
    return (rival.name, *_judged(wanted, told, memory["leads"]), memory["posts"], sum(memory["faults"].values()))


def _judged(wanted: Sequence[Wanted], told: Sequence[Told], known: Sequence[dict[str, Any]]) -> tuple[int, ...]:
    stored: dict[str, list[str]] = {}
    for lead in known:
        stored.setdefault(lead["variables"]["ref"], []).append(str(lead["id"]))
    ids = [stored.get(lead.primary.ref, []) for lead in wanted]
    return (
        sum(max(len(found) - 1, 0) for found in ids),
        sum(not found for found in ids),
        sum(not found and (said.is_done or said.is_refused) for found, said in zip(ids, told, strict=True)),
        sum(not said.is_done and not said.is_refused for said in told),
        sum(bool(found) and said.lead_id not in found for found, said in zip(ids, told, strict=True)),
    )


# The importer, by its command.


def _importer(
    rival: Rival, folder: Path, server: Server, wanted: Sequence[Wanted], chance: random.Random, *, mode: Mode, kill: bool, peers: str
) -> list[Told]:  # fmt: skip
    chaos.write_input(folder, wanted, chance, mode)
    story = Story()
    if kill:
        with chaos.started(folder, server, story) as process:
            _kill_half_way(process, server, len(wanted))
    while not story.statuses or (story.statuses[-1] == 3 and len(story.statuses) < 10):
        with chaos.started(folder, server, story) as process:
            story.statuses.append(process.wait(timeout=900))
    rows = {row["Ref"]: row for row in chaos.read_rows(folder / "leads.results.csv")}
    return [_of_row(rows[lead.primary.ref]) for lead in wanted]


def _of_row(row: dict[str, str]) -> Told:
    status = row["import_status"]
    return Told(
        status in ("created", "already_imported"), row["import_lead_id"] or None, status in ("duplicate", "rejected")
    )


# The scripts.


def _peer(
    rival: Rival, folder: Path, server: Server, wanted: Sequence[Wanted], chance: random.Random, *, mode: Mode, kill: bool, peers: str
) -> list[Told]:  # fmt: skip
    bodies, results = folder / "bodies.jsonl", folder / "results.jsonl"
    lines = [json.dumps(lead.body | {"allow_dupplicate": mode.allow_duplicate}) for lead in wanted]
    bodies.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    command = [peers, ROOT / "benchmarks" / "peers.py", rival.peer or "", server.url, bodies, results]
    if kill:
        with subprocess.Popen(command) as process:
            _kill_half_way(process, server, len(wanted))
    subprocess.run(command, check=True, timeout=900)
    return [_of_answer(json.loads(line)) for line in results.read_text(encoding="utf-8").splitlines()]


def _of_answer(answer: dict[str, Any]) -> Told:
    status = answer["status"]
    is_done = status is not None and 200 <= status < 300 and answer["id"] is not None
    return Told(is_done, answer["id"], status is not None and 400 <= status < 500)


def _kill_half_way(process: "subprocess.Popen[Any]", server: Server, leads: int) -> None:
    deadline = time.monotonic() + 300
    while server.posts < leads // 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()


# The tables.


def tables(leads: int, seed: int, peers: str) -> Iterator[str]:
    """Yield the lines of the report as they are found."""
    rounds = [
        ("Duplicates allowed: nothing but the program stands between a lead and a second call", True, False),
        ("Duplicates not allowed: the server refuses a number that it has", False, False),
        ("Duplicates allowed, and the program is killed (SIGKILL) half-way and started again", True, True),
    ]
    with tempfile.TemporaryDirectory(prefix="head-to-head-") as temporary:
        for number, (title, allow, kill) in enumerate(rounds):
            yield from ("", f"### {title}", "", _line(COLUMNS), _line(["---", *["---:"] * (len(COLUMNS) - 1)]))
            for place, rival in enumerate(RIVALS):
                folder = Path(temporary) / f"{number}-{place}"
                yield _line(compete(rival, folder, allow=allow, leads=leads, seed=seed, kill=kill, peers=peers))


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--leads", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument(
        "--peers", default=str(ROOT / ".venv-bench" / "bin" / "python"), help="Python with the scripts' libraries"
    )
    asked = parser.parse_args()
    say: Callable[[str], None] = lambda text: print(text, flush=True)  # noqa: E731 - one line
    say(f"{asked.leads:,} leads, three in ten with contacts; seed {asked.seed}.")
    for line in tables(asked.leads, asked.seed, asked.peers):
        say(line)


if __name__ == "__main__":
    main()
