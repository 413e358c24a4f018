"""Prepare a million rows with `check`, against a plain loop over `phonenumbers`, bare polars and bare fastexcel.

    python benchmarks/prepare.py [ROWS] [--times N] [--no-xlsx] [--growth] [--keep FOLDER]

The list: 12 columns, phones of ten countries in the notations people use, 5 % bad ones, 20 % secondary rows. Every
measurement is a process of its own, in turns with the others; medians are shown. The loop asks `phonenumbers` only
(parse, is_valid_number, format_number) and judges every tenth row; its time is scaled to all. `--growth` measures
10,000 to 3,000,000 rows too, and `benchmarks/growth.svg` shows them. The goals: 0.4 of the loop's time (aim: 0.25),
three times the memory of `polars.read_csv`, twice the time of fastexcel's read.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
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


def make(rows: int, folder: Path) -> None:
    """Write list.csv, list.xlsx where it holds them, and list.yaml."""
    import random

    import polars as pl
    import rustpy_xlsxwriter

    chance = random.Random(rows)
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
    if rows < 1_048_576:
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


def _numbers(region: str, chance):  # type: ignore[no-untyped-def]
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
    tails = [(pattern, tail) for pattern in range(len(patterns)) for tail in range(0)]
    del tails
    used: set[tuple[int, int]] = set()
    while True:
        place, tail = chance.randrange(len(patterns)), chance.randrange(100_000)
        stem = place // 6
        if (stem, tail) not in used:
            used.add((stem, tail))
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


PEERS = {"loop": loop, "bare_csv": bare_csv, "bare_xlsx": bare_xlsx}


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
    if os.environ.get("SHOW"):
        print(problems, file=sys.stderr)
    return float(said) if told else seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def peer(name: str, folder: Path) -> tuple[float, float, float]:
    return measured([sys.executable, __file__, "--peer", name, "--keep", str(folder)], told=True)


def check(folder: Path, kind: str) -> tuple[float, float, float]:
    files = [str(folder / f"list.{kind}"), "-c", str(folder / "list.yaml"), "--out", str(folder / f"out.{kind}")]
    ledger = ["--ledger", str(folder / "none.sqlite3"), "--no-progress"]
    return measured([sys.executable, "-m", "importer", "check", *files, *ledger])


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
    if asked.peer:
        print(PEERS[asked.peer](asked.keep))
    elif asked.make:
        make(asked.rows, asked.keep)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            compare(asked, asked.keep or Path(temporary))


def compare(asked: argparse.Namespace, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "list.csv").exists():
        subprocess.run(
            [sys.executable, __file__, str(asked.rows), "--make", "--keep", str(folder)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
    xlsx = not asked.no_xlsx and (folder / "list.xlsx").exists()
    runs: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(asked.times):
        runs.setdefault("check, CSV", []).append(check(folder, "csv"))
        runs.setdefault("polars.read_csv", []).append(peer("bare_csv", folder))
        runs.setdefault("loop over phonenumbers", []).append(peer("loop", folder))
        if xlsx:
            runs.setdefault("check, XLSX", []).append(check(folder, "xlsx"))
            runs.setdefault("fastexcel read", []).append(peer("bare_xlsx", folder))
    print("| what | s | CPU s | MB |\n|---|---|---|---|")
    middle = {name: tuple(median(column) for column in zip(*found, strict=True)) for name, found in runs.items()}
    for name, (seconds, cpu, mb) in middle.items():
        print(f"| {name} | {seconds:.2f} | {cpu:.2f} | {mb:,.0f} |")


if __name__ == "__main__":
    main()
