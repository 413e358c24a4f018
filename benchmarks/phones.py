"""Hold the fast path of phones against `phonenumbers` on a million generated texts, and print its share and speed.

    python benchmarks/phones.py [COUNT] [--seed N]

Every text of a column must be answered as it is by itself. Of rare countries a column leaves that to `phonenumbers`, so
the fast path is asked once more by itself for all countries (`share`). One difference ends this with status 1.
"""

import argparse
import sys
import time
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from phone_texts import phone_texts

from importer.phone_patterns import answer
from importer.phones import judge, parse_phones

_AT_ONCE = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("count", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    column, singly, fast, accepted, wrong = 0.0, 0.0, 0, 0, []
    for part, start in enumerate(range(0, asked.count, _AT_ONCE)):
        made = phone_texts(min(_AT_ONCE, asked.count - start), asked.seed + part)
        texts = pl.Series([text for text, _ in made], dtype=pl.String)
        regions = pl.Series([region for _, region in made], dtype=pl.String)
        began = time.process_time()
        found = parse_phones(texts, regions)
        between = time.process_time()
        slow = [judge(text, region) for text, region in made]
        column, singly = column + between - began, singly + time.process_time() - between
        wrong += [one for one in zip(made, found.iter_rows(), slow, strict=True) if one[1] != one[2]]
        frame = pl.DataFrame({"text": texts, "region": regions, "phone": [phone for phone, _, _ in slow]})
        for (region,), one in frame.partition_by("region", as_dict=True).items():
            answered = answer(one["text"], region, missing_plus="refuse", worth=1)  # type: ignore[arg-type]
            fast += answered.count()
            wrong += one.filter(answered.is_not_null() & answered.ne_missing(one["phone"])).rows()
        accepted += found["phone"].count()
    print("| texts | accepted | of those by the fast path | differences | CPU of a column | CPU of one by one |")
    print("|---|---|---|---|---|---|")
    share = f"{fast / max(accepted, 1):.1%}"
    print(f"| {asked.count:,} | {accepted:,} | {share} | {len(wrong)} | {column:.1f} s | {singly:.1f} s |")
    for one in wrong[:20]:
        print(one, file=sys.stderr)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
