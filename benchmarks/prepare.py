"""Prepare a million rows with `check`, against a plain loop over `phonenumbers`, bare polars and bare fastexcel.

    python benchmarks/prepare.py [ROWS] [--times N] [--no-xlsx] [--growth] [--keep FOLDER]

The list: 12 columns, phones of ten countries in the notations people use, no two alike, 5 % bad ones, 20 % secondary
rows. Every measurement is a process of its own, in turns with the others; medians are shown. `check` is the whole
command, from its start to its end. The loop does no more than ask `phonenumbers` (parse, is_valid_number,
format_number); it judges every tenth row, and its time is scaled to all. The goals: 0.4 of the loop's time (aim:
0.25), three times the memory of `polars.read_csv`; twice the time of fastexcel's read for reading a workbook.

`--growth` measures `check` from 10,000 to 3,000,000 rows instead, and draws benchmarks/growth.svg.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import median

#: Rows of which one is judged by the loop.
ONE_IN = 10

GROWTH = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)

CONFIG = """
campaign_id: 7
phone: {column: Phone, region: {column: Country}}
variables:
  customer_name: "{First Name} {Last Name}"
  email: {column: E-mail, type: email, on_error: drop}
  company: Company
  city: City
  seats: {column: Seats, type: integer}
  renewal: {column: Renewal, type: date}
secondary_contacts:
  group_by: Account ID
  primary_when: {column: Role, in: [Primary]}
  on_invalid: drop
where: {column: Status, in: [New]}
"""

COUNTRIES = ("US", "DE", "GB", "FR", "BR", "ES", "IT", "MX", "AU", "IN")


# The list.


def make(rows: int, folder: Path, *, xlsx: bool) -> None:
    """Write list.csv, list.xlsx where it is wanted and holds them, and list.yaml."""
    import polars as pl
    import rustpy_xlsxwriter

    chance = Random(rows)
    country = [chance.choice(COUNTRIES) for _ in range(rows)]
    numbers = {region: _numbers(region, chance) for region in COUNTRIES}
    phones = [next(numbers[region]) for region in country]
    for place in chance.sample(range(rows), rows // 20):
        phones[place] = chance.choice(BAD)(phones[place])
    account, accounts, roles = 0, [], []
    for _ in range(rows):
        secondary = account > 0 and roles[-1] == "Primary" and chance.random() < 0.25
        account += not secondary
        accounts.append(f"A-{account:07}")
        roles.append("Spouse" if secondary else "Primary")
    first = [chance.choice(("Ada", "Nadja", "José", "Zoë", "Karl", "Mei", "Omar", "Anne-Marie")) for _ in range(rows)]
    last = [
        chance.choice(("Müller", "Smith", "García", "Rossi", "Silva", "Dubois", "O’Neill", "Khan")) for _ in range(rows)
    ]
    frame = pl.DataFrame(
        {
            "Account ID": accounts,
            "Role": roles,
            "First Name": first,
            "Last Name": last,
            "Phone": phones,
            "Country": country,
            "E-mail": [f"person{chance.randrange(10**8)}@mail{chance.randrange(500)}.com" for _ in range(rows)],
            "Company": [f"Weber & Söhne {chance.randrange(10**4)} GmbH" for _ in range(rows)],
            "City": [
                chance.choice(("Berlin", "São Paulo", "New York", "Lyon", "Sevilla", "Pune")) for _ in range(rows)
            ],
            "Seats": [str(chance.randrange(1, 400)) for _ in range(rows)],
            "Renewal": [f"2027-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}" for _ in range(rows)],
            "Status": [chance.choice(("New", "New", "New", "New", "Old")) for _ in range(rows)],
        }
    )
    frame.write_csv(folder / "list.csv", quote_style="never")
    (folder / "list.yaml").write_text(CONFIG, encoding="utf-8")
    if xlsx and rows < 1_048_576:
        rustpy_xlsxwriter.write_worksheet(frame, str(folder / "list.xlsx"))


#: What goes wrong with phones in lists.
BAD: Sequence[Callable[[str], str]] = (
    lambda text: text[:-4],
    lambda text: text + "9182",
    lambda text: text + " ext. 12",
    lambda text: "n/a",
    lambda text: "",
    lambda text: "4.91701E+11",
    lambda text: text.replace("1", "7").replace("2", "9"),
    lambda text: text + " / " + text,
)


def _numbers(region: str, chance: Random) -> Iterator[str]:
    """Yield valid numbers of a region, no two alike, in the notations people use."""
    from phonenumbers import PhoneNumber, PhoneNumberFormat, example_number_for_type, format_number, is_valid_number

    stems: list[str] = []
    seen: set[str] = set()
    while len(stems) < 40:
        example = example_number_for_type(region, chance.randrange(2))
        national = str(example.national_number)
        length = len(national)
        lead = chance.randrange(1, 4)
        stem = national[:lead] + "".join(str(chance.randrange(10)) for _ in range(length - 5 - lead))
        tried = [int(stem + f"{tail:05}") for tail in range(1, 100_000, 9_973)]
        if stem not in seen and all(is_valid_number(PhoneNumber(example.country_code, number)) for number in tried):
            stems.append(stem)
            seen.add(stem)
    code = example.country_code
    written: list[str] = []
    for stem in stems:
        number = PhoneNumber(code, int(stem + "00000"))
        e164 = format_number(number, PhoneNumberFormat.E164)
        abroad = format_number(number, PhoneNumberFormat.INTERNATIONAL)
        home = format_number(number, PhoneNumberFormat.NATIONAL)
        digits = "".join(letter for letter in home if letter.isdigit())
        written += [e164, abroad, home, digits, home.replace(" ", "-"), "00" + e164[1:] if region != "US" else abroad]
    patterns = [_with_gaps(text) for text in written]
    used: set[tuple[int, int]] = set()
    while True:
        place, tail = chance.randrange(len(patterns)), chance.randrange(100_000)
        number = place * len(stems) // len(patterns), tail
        if number not in used:
            used.add(number)
            yield patterns[place] % tuple(f"{tail:05}")


def _with_gaps(text: str) -> str:
    """Leave the last five digits of a notation open."""
    letters = list(text)
    places = [place for place, letter in enumerate(letters) if letter.isdigit()][-5:]
    for place in places:
        letters[place] = "%s"
    return "".join(letters)


# What is measured. Each is the body of a process.


def loop(folder: Path) -> float:
    """Return the seconds in which a plain loop judges all phones."""
    import csv

    import phonenumbers

    with (folder / "list.csv").open(encoding="utf-8", newline="") as file:
        cells = [(row["Phone"], row["Country"]) for row in csv.DictReader(file)]
    part = cells[::ONE_IN]
    for region in COUNTRIES:  # its metadata is read when it is first met
        phonenumbers.is_valid_number(phonenumbers.example_number(region))
    began = time.perf_counter()
    found = []
    for text, region in part:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            found.append(None)
            continue
        valid = phonenumbers.is_valid_number(number)
        found.append(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if valid else None)
    return (time.perf_counter() - began) * len(cells) / len(part)


def bare_csv(folder: Path) -> float:
    import polars as pl

    began = time.perf_counter()
    frame = pl.read_csv(folder / "list.csv", infer_schema=False)
    assert frame.height
    return time.perf_counter() - began


def bare_xlsx(folder: Path) -> float:
    import fastexcel

    began = time.perf_counter()
    frame = fastexcel.read_excel(folder / "list.xlsx").load_sheet(0, dtypes="string").to_polars()
    assert frame.height
    return time.perf_counter() - began


def our_xlsx(folder: Path) -> float:
    from importer.read import Source, read

    began = time.perf_counter()
    table = read(folder / "list.xlsx", Source())
    assert table.cells.height
    return time.perf_counter() - began


PEERS = {"our_xlsx": our_xlsx, "loop": loop, "bare_csv": bare_csv, "bare_xlsx": bare_xlsx}


def measured(words: Sequence[str], *, told: bool = False) -> tuple[float, float, float]:
    """Run a process; return its seconds (what it prints itself, if `told`), CPU seconds, and most memory in MB.

    This process stays small: a child begins with its parent's memory, and that counts as its own.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(words, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said, problems = out.read(), err.read()
    if child.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(words)} ended with {child.returncode}:\n{problems}")
    return float(said) if told else seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def peer(name: str, folder: Path) -> tuple[float, float, float]:
    return measured([sys.executable, __file__, "--peer", name, "--keep", str(folder)], told=True)


def check(folder: Path, kind: str) -> tuple[float, float, float]:
    result = folder / f"list.check.{kind}"
    result.unlink(missing_ok=True)
    files = [str(folder / f"list.{kind}"), "-c", str(folder / "list.yaml"), "--out", str(result)]
    ledger = ["--ledger", str(folder / "none.sqlite3"), "--no-progress"]
    found = measured([sys.executable, "-m", "importer", "check", *files, *ledger])
    if not result.exists():  # a check with bad rows ends with 1, as a traceback does
        raise SystemExit("check wrote no result, so what it took says nothing")
    return found


# The table.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--no-xlsx", action="store_true")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for the list, which is used again")
    parser.add_argument("--peer", choices=sorted(PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        if asked.peer:
            print(PEERS[asked.peer](folder))
        elif asked.make:
            make(asked.rows, folder, xlsx=not asked.no_xlsx)
        elif asked.growth:
            grow(folder, asked.times)
        else:
            compare(folder, asked.rows, asked.times, xlsx=not asked.no_xlsx)


def made(folder: Path, rows: int, *, xlsx: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "list.csv").exists():
        words = [sys.executable, __file__, str(rows), "--make", "--keep", str(folder), *([] if xlsx else ["--no-xlsx"])]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


def compare(folder: Path, rows: int, times: int, *, xlsx: bool) -> None:
    made(folder, rows, xlsx=xlsx)
    runs: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(times):
        runs.setdefault("check, CSV", []).append(check(folder, "csv"))
        runs.setdefault("polars.read_csv", []).append(peer("bare_csv", folder))
        runs.setdefault("loop over phonenumbers", []).append(peer("loop", folder))
        if xlsx and (folder / "list.xlsx").exists():
            runs.setdefault("check, XLSX", []).append(check(folder, "xlsx"))
            runs.setdefault("our read of the XLSX", []).append(peer("our_xlsx", folder))
            runs.setdefault("fastexcel read", []).append(peer("bare_xlsx", folder))
    print(f"{rows:,} rows, median of {times}\n\n| what | s | CPU s | MB |\n|---|---|---|---|")
    middle = {name: [median(column) for column in zip(*found, strict=True)] for name, found in runs.items()}
    for name, (seconds, cpu, mb) in middle.items():
        print(f"| {name} | {seconds:.2f} | {cpu:.2f} | {mb:,.0f} |")
    print("\n| goal | reached |\n|---|---|")
    print(f"| time of the loop: 0.4 | {ratio(runs, 'check, CSV', 'loop over phonenumbers', 0):.2f} |")
    print(f"| memory of polars.read_csv: 3 | {ratio(runs, 'check, CSV', 'polars.read_csv', 2):.2f} |")
    if "fastexcel read" in runs:
        print(f"| time of fastexcel's read: 2 | {ratio(runs, 'our read of the XLSX', 'fastexcel read', 0):.2f} |")


def ratio(runs: dict[str, list[tuple[float, float, float]]], ours: str, peers: str, what: int) -> float:
    """Return the median of the ratios of measurements that were made side by side."""
    return median(mine[what] / theirs[what] for mine, theirs in zip(runs[ours], runs[peers], strict=True))


# The plot.


def grow(folder: Path, times: int) -> None:
    """Measure `check` on lists of growing length; print a table, and draw it."""
    found = []
    print("| rows | s | µs a row | MB |\n|---|---|---|---|")
    for rows in GROWTH:
        made(folder / str(rows), rows, xlsx=False)
        runs = [check(folder / str(rows), "csv") for _ in range(times)]
        seconds, _, mb = (median(column) for column in zip(*runs, strict=True))
        found.append((rows, seconds))
        print(f"| {rows:,} | {seconds:.2f} | {seconds / rows * 1e6:.1f} | {mb:,.0f} |", flush=True)
    Path(__file__).with_name("growth.svg").write_text(drawn(found), encoding="utf-8")


def drawn(found: Sequence[tuple[int, float]]) -> str:
    """Draw seconds over rows, both on logarithmic scales: growth in proportion is a line at 45 degrees."""
    width, height, left, low = 640, 400, 70, 340

    def x(rows: float) -> float:
        return left + (math.log10(rows) - 4) * 200

    def y(seconds: float) -> float:
        return low - (math.log10(seconds) + 0.5) * 120

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="30" font-size="15">lead-importer check: seconds by rows (12 columns)</text>',
    ]
    for seconds in (1, 3, 10, 30, 100):
        lines.append(f'<path d="M{left} {y(seconds):.0f}H{width - 40}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 8}" y="{y(seconds) + 4:.0f}" text-anchor="end">{seconds} s</text>')
    for rows, _ in found:
        lines.append(f'<text x="{x(rows):.0f}" y="{low + 30}" text-anchor="middle">{rows:,}</text>')
    # In proportion to the longest list.
    rows, seconds = found[-1]
    start = rows * 10**-0.5 / seconds
    lines.append(
        f'<path d="M{x(start):.0f} {y(10**-0.5):.0f}L{x(rows):.0f} {y(seconds):.0f}" stroke="#999" stroke-dasharray="5 4"/>'
    )
    lines.append(f'<text x="{x(start) + 30:.0f}" y="{low - 6}" fill="#777">in proportion to the rows</text>')
    points = " ".join(f"{x(rows):.0f},{y(seconds):.0f}" for rows, seconds in found)
    lines.append(f'<polyline points="{points}" fill="none" stroke="#1f6fb2" stroke-width="2"/>')
    for rows, seconds in found:
        lines.append(f'<circle cx="{x(rows):.0f}" cy="{y(seconds):.0f}" r="4" fill="#1f6fb2"/>')
        lines.append(f'<text x="{x(rows):.0f}" y="{y(seconds) - 10:.0f}" text-anchor="middle">{seconds:.1f} s</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    main()
