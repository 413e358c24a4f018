"""Leads per second, with the ledger on, against what people write themselves; at 20 ms latency and at none.

    python benchmarks/throughput.py [--rounds N] [--quick] [--save JSON]

Everybody posts the same list to the same local service, with 64 requests in flight, client and service on one core each.
The runs of one round follow each other, and medians over the rounds are shown. `leads/s` counts the sending alone: no
start, no reading, no writing; of dlt its load step. `whole` is all of it, for the number of leads shown. `CPU` is that
of the whole process beyond a run of ten leads. The importer is the real command with its ledger, intents durable before
each request; the others keep no record at all. Every run's creates are counted by the service: each lead once. The rates at 20 ms are drawn in throughput.svg.
"""

import argparse
import csv
import json
import re
import shutil
import sys
import tempfile
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import report

IN_FLIGHT = 64
PEERS = report.FOLDER / "throughput_peers"


@dataclass(frozen=True)
class Client:
    name: str
    script: str | None
    """In `throughput_peers`; None: the importer."""
    leads: dict[float, int]
    """How many it sends, by latency: a few seconds' worth."""


CLIENTS = (
    Client("**lead-importer run**", None, {0.0: 16_000, 0.02: 12_000}),
    Client("aiohttp + semaphore", "aiohttp_script", {0.0: 16_000, 0.02: 12_000}),
    Client("httpx.AsyncClient", "httpx_client", {0.0: 1_500, 0.02: 1_000}),
    Client("pandas + requests", "pandas_requests", {0.0: 2_000, 0.02: 150}),
    Client("pandas + requests, threads", "pandas_threads", {0.0: 4_000, 0.02: 3_000}),
    Client("dlt custom destination", "dlt_destination", {0.0: 4_000, 0.02: 3_000}),
)


@dataclass(frozen=True)
class Run:
    per_second: float
    whole: float
    cpu: float


def made(path: Path, leads: int) -> Path:
    """Write a list of valid German numbers, four variables each, in the platform's own layout."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["phone_number", "customer_name", "email", "company", "city"])
        for place in range(leads):
            name = f"Nadja Müller {place}"
            rows.writerow(
                [
                    f"+4930{20_000_000 + place}",
                    name,
                    f"person{place}@example.com",
                    f"Weber {place % 997} GmbH",
                    "Berlin",
                ]
            )
    return path


def measure(client: Client, address: str, leads: int) -> Run:
    core, _ = report.cores()
    with tempfile.TemporaryDirectory(dir=report.ROOT, prefix=".bench-") as name:  # a disk, where /tmp may be memory
        folder = Path(name)
        path = made(folder / "leads.csv", leads)
        if client.script is None:
            command = [sys.executable, "-m", "importer", "run", path, "--base-url", address, "--campaign", "7"]
            command += ["--rate", "100000/s", "--concurrency", str(IN_FLIGHT), "--yes", "--log-format", "json"]
            state = {"XDG_STATE_HOME": str(folder), "OTONISTARK_API_KEY": "benchmark"}
            took = report.run(command, core=core, folder=folder, environment=state)
            seconds = sending_seconds(took.stderr)
        else:
            script = PEERS / f"{client.script}.py"
            took = report.run([report.peers_python(), script, address, path, str(IN_FLIGHT)], core=core, folder=folder)
            seconds = json.loads(took.stdout.splitlines()[-1])["seconds"]
    with urllib.request.urlopen(f"{address.removesuffix('/api')}/count") as answer:
        count = json.load(answer)
    if count != {"creates": leads, "numbers": leads}:
        raise RuntimeError(f"{client.name}: {leads} leads were to be created once each, and there came {count}")
    return Run(leads / seconds, took.seconds, took.cpu)


def sending_seconds(log: str) -> float:
    """Return the time from the first lead's turn until the last outcome is durable, by the importer's own log."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    spent = next(line["seconds"] for line in lines if line["event"] == "summary")
    return spent["sending"] + spent["waiting for the limit"]


def ceiling(address: str, folder: Path) -> float | None:
    """Return the requests per second that wrk reaches, None where it is not installed."""
    if (wrk := shutil.which("wrk")) is None:
        return None
    variables = {
        "customer_name": "Nadja Müller",
        "email": "person@example.com",
        "company": "Weber GmbH",
        "city": "Berlin",
    }
    body = json.dumps({"phone_number": "+493020000000", "campaign_id": 7, "variables": variables})
    script = folder / "post.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [==[{body}]==]\n'
    )
    core, _ = report.cores()
    command = [wrk, "-t1", f"-c{IN_FLIGHT}", "-d3s", "-s", script, f"{address}/user/lead"]
    found = re.search(r"Requests/sec: +([\d.]+)", report.run(command, core=core).stdout)
    assert found is not None
    with urllib.request.urlopen(f"{address.removesuffix('/api')}/count"):
        return float(found[1])


def compare(latency: float, rounds: int, share: float) -> list[dict[str, object]]:
    """Let everybody send in turns; return a row each."""
    runs, starts = defaultdict[str, list[Run]](list), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder, report.service(latency=latency, core=report.cores()[1]) as address:
        top = ceiling(address, Path(folder))
        for client in CLIENTS:
            starts[client.name] = measure(client, address, 10).cpu
        for number in range(rounds):
            for client in CLIENTS:
                print(f"round {number + 1}, {latency * 1000:.0f} ms: {client.name}", file=sys.stderr, flush=True)
                runs[client.name].append(measure(client, address, max(int(client.leads[latency] * share), 64)))
    rows: list[dict[str, object]] = [{"name": "wrk: the service's ceiling", "per_second": top}] if top else []
    for client in CLIENTS:
        leads = max(int(client.leads[latency] * share), 64)
        rates = [run.per_second for run in runs[client.name]]
        rows.append(
            {
                "name": client.name,
                "leads": leads,
                "per_second": median(rates),
                "least": min(rates),
                "most": max(rates),
                "whole": median(run.whole for run in runs[client.name]),
                "cpu": (median(run.cpu for run in runs[client.name]) - starts[client.name]) / (leads - 10),
                "ratios": {
                    other.name: median(
                        a.per_second / b.per_second for a, b in zip(runs[client.name], runs[other.name], strict=True)
                    )
                    for other in CLIENTS
                },
            }
        )
    return rows


def shown(latency: float, rows: list[dict[str, object]]) -> str:
    lines = [
        [
            str(row["name"]),
            f"{row['per_second']:,.0f}",
            f"{row['least']:,.0f}–{row['most']:,.0f}" if "least" in row else "",
            f"{1e6 * row['cpu']:,.0f} µs" if "cpu" in row else "",  # type: ignore[operator]
            f"{row['whole']:.1f} s for {row['leads']:,}" if "whole" in row else "",
        ]
        for row in rows
    ]
    return f"At {latency * 1000:.0f} ms latency, {IN_FLIGHT} in flight:\n\n" + report.table(
        ["client", "leads/s", "range", "CPU per lead", "whole"], lines
    )


def verdicts(all_rows: dict[float, list[dict[str, object]]]) -> str:
    """Hold the medians of the rounds' ratios against the goals."""
    ours = {latency: next(row for row in rows if "importer" in str(row["name"])) for latency, rows in all_rows.items()}
    aiohttp = next(row for row in all_rows[0.02] if row["name"] == "aiohttp + semaphore")
    to_aiohttp, to_httpx = (
        ours[0.02]["ratios"]["aiohttp + semaphore"],  # type: ignore[index]
        ours[0.0]["ratios"]["httpx.AsyncClient"],  # type: ignore[index]
    )
    cpu = ours[0.02]["cpu"] / aiohttp["cpu"]  # type: ignore[operator]
    return report.table(
        ["lead-importer, ledger on", "measured", "goal", "aim"],
        [
            ["leads/s of the aiohttp script, 20 ms", f"{to_aiohttp:.2f}", "≥ 0.85", "0.95"],
            ["CPU per lead of the aiohttp script, 20 ms", f"{cpu:.2f}", "≤ 2", ""],
            ["leads/s of a shared httpx.AsyncClient, no latency", f"{to_httpx:.1f}", "≥ 10", "15"],
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a fifth of the leads, one round: to see that it works")
    parser.add_argument("--save", type=Path, help="file for the numbers as JSON")
    asked = parser.parse_args()
    about = report.machine()
    rounds, share = (1, 0.2) if asked.quick else (asked.rounds, 1.0)
    all_rows = {latency: compare(latency, rounds, share) for latency in (0.02, 0.0)}
    peers = report.peer_versions("aiohttp", "uvloop", "httpx", "requests", "pandas", "dlt")
    print(f"{about}; {peers}; medians of {rounds} rounds.\n")
    print(verdicts(all_rows))
    for latency, rows in all_rows.items():
        print(f"\n{shown(latency, rows)}")
    if not asked.quick:
        rates = [(str(row["name"]).strip("*"), float(row["per_second"])) for row in all_rows[0.02][-len(CLIENTS) :]]  # type: ignore[arg-type]
        title = f"Leads per second at 20 ms latency, {IN_FLIGHT} in flight"
        (report.FOLDER / "throughput.svg").write_text(report.bars(title, rates), encoding="utf-8")
    if asked.save:
        asked.save.write_text(json.dumps({str(latency): rows for latency, rows in all_rows.items()}, indent=1))


if __name__ == "__main__":
    main()
