"""Memory while sending: leads are streamed out of the frame, not queued as tasks.

    python benchmarks/memory.py [--quick]

A run of each size, against a `check` of the same file, which holds the same frame and writes the same result but sends
nothing. What sending adds must not grow with tasks, payloads or outcomes.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import report
from throughput import IN_FLIGHT, made

SIZES = (10_000, 30_000, 100_000)
MIB = 2**20


def peak(command: str, leads: int, address: str) -> int:
    """Return the largest memory of a process, in bytes."""
    core, _ = report.cores()
    with tempfile.TemporaryDirectory(dir=report.ROOT, prefix=".bench-") as name:
        folder = Path(name)
        path = made(folder / "leads.csv", leads)
        words = [sys.executable, "-m", "importer", command, str(path), "--campaign", "7", "--base-url", address]
        if command == "run":
            words += ["--rate", "100000/s", "--concurrency", str(IN_FLIGHT), "--yes"]
        state = {"XDG_STATE_HOME": str(folder), "OTONISTARK_API_KEY": "benchmark"}
        return report.run(words, core=core, folder=folder, environment=state).most_bytes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the leads: to see that it works")
    sizes = [size // 10 for size in SIZES] if parser.parse_args().quick else SIZES
    about = report.machine()
    rows, added = [], []
    with report.service(latency=0.0, core=report.cores()[1]) as address:
        for leads in sizes:
            check, sending = peak("check", leads, address), peak("run", leads, address)
            added.append(sending - check)
            rows.append([f"{leads:,}", *(f"{size / MIB:,.0f} MiB" for size in (check, sending, sending - check))])
    print(f"{about}; peak resident memory of one process each, {IN_FLIGHT} in flight.\n")
    print(report.table(["leads", "check (the frame)", "run", "more while sending"], rows))
    per_lead = (added[-1] - added[0]) / (sizes[-1] - sizes[0])
    print(f"\nSending adds {per_lead:,.0f} bytes for each further lead.")


if __name__ == "__main__":
    main()
