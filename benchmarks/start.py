"""How soon the command answers: `--help` against a two-command typer app, and a whole run of ten leads.

    python benchmarks/start.py [--rounds N]

Everything is a new process, in turns; medians are shown. Goals: `--help` in at most twice the time of the small app, and
a run of ten leads at `--rate 100/s` within a second beyond the imports that it needs. Those are measured by a process
that only imports what the run has imported by its end.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import report
from throughput import made

SMALL_APP = """
import typer
from typing import Annotated

app = typer.Typer(rich_markup_mode=None, add_completion=False)

@app.command()
def send(path: str, rate: Annotated[str, typer.Option(help="Pace.")] = "auto") -> None:
    "Send a file."
    print(path, rate)

@app.command()
def check(path: str) -> None:
    "Check a file."
    print(path)

app()
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    about = report.machine()
    core, other = report.cores()
    took = defaultdict[str, list[float]](list)
    with tempfile.TemporaryDirectory(dir=report.ROOT, prefix=".bench-") as name:
        folder = Path(name)
        small, names = folder / "small.py", folder / "names.txt"
        small.write_text(SMALL_APP)
        leads = made(folder / "leads.csv", 10)
        state = {"XDG_STATE_HOME": str(folder), "OTONISTARK_API_KEY": "benchmark"}
        with report.service(latency=0.02, core=other) as address:
            sending = [
                "run",
                str(leads),
                "--campaign",
                "7",
                "--rate",
                "100/s",
                "--base-url",
                address,
                "--yes",
                "--ledger",
            ]
            command = [sys.executable, "-m", "importer", *sending]
            imported([*command, str(folder / "first.sqlite3")], state, names)
            imports = (
                f"for name in open({str(names)!r}).read().split():\n try: __import__(name)\n except ImportError: pass"
            )
            commands = {
                "python -c pass": [sys.executable, "-c", "pass"],
                "two-command typer app, --help": [sys.executable, small, "--help"],
                "lead-importer --help": [sys.executable, "-m", "importer", "--help"],
                "the imports of a run": [sys.executable, "-c", imports],
                "run of 10 leads at 100/s": command,
            }
            for number in range(rounds):
                for what, words in commands.items():
                    fresh = [folder / f"ledger{number}.sqlite3"] if words is command else []
                    took[what].append(report.run([*words, *fresh], core=core, folder=folder, environment=state).seconds)
    shown(about, rounds, {what: median(all_of_it) for what, all_of_it in took.items()})


def imported(command: list[str], state: dict[str, str], names: Path) -> None:
    """Run once, and note the modules that are there at the end."""
    watch = (
        "import atexit, runpy, sys\n"
        f"atexit.register(lambda: open({str(names)!r}, 'w').write(' '.join(n for n in sys.modules if n != '__main__')))\n"
        f"sys.argv = {['lead-importer', *command[3:]]!r}\nrunpy.run_module('importer', run_name='__main__')"
    )
    report.run([sys.executable, "-c", watch], folder=names.parent, environment=state)


def shown(about: str, rounds: int, took: dict[str, float]) -> None:
    print(f"{about}; medians of {rounds} rounds.\n")
    print(report.table(["process", "time"], [[what, f"{1000 * value:,.0f} ms"] for what, value in took.items()]))
    ratio = took["lead-importer --help"] / took["two-command typer app, --help"]
    beyond = took["run of 10 leads at 100/s"] - took["the imports of a run"]
    rows = [
        ["`--help` in times of the small app", f"{ratio:.2f}", "≤ 2"],
        ["10 leads beyond imports", f"{beyond:.2f} s", "≤ 1 s"],
    ]
    print(f"\n{report.table(['lead-importer', 'measured', 'goal'], rows)}")


if __name__ == "__main__":
    main()
