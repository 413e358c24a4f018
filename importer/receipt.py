"""The receipt of a result: what was read, decided and written, by hashes; and whether that is still so.

It stands beside the result as `<its name without suffix>.receipt.json`. It holds no person's data and no key.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from importer.errors import Refused
from importer.ledger import SANDBOX_RUN, Ledger, Run
from importer.read import read
from importer.records import Source

_VERSION = 1
_ENDING = ".receipt.json"


def receipt_path(result: Path) -> Path:
    """Return where a result's receipt lies."""
    return result.with_name(result.stem + _ENDING)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Facts:
    """What a receipt says of its run beside the files."""

    run_id: str
    command: str
    service: str
    tool_version: str
    started_at: str
    finished_at: str | None
    exit_status: int | None
    guarantee: str | None
    cause: str | None
    decisions: str
    """Fingerprint of the config: what decides which leads are sent where."""

    @classmethod
    def of(cls, run: Run) -> "Facts":
        """Take what the ledger holds of a run that has ended."""
        return cls(
            run_id=run.run_id,
            command=run.command,
            service=run.service,
            tool_version=run.tool_version,
            started_at=run.started_at,
            finished_at=run.finished_at,
            exit_status=run.exit_status,
            guarantee=run.guarantee,
            cause=run.cause,
            decisions=run.config_hash or "",
        )


def write_receipt(
    result: Path, facts: Facts, *, source: Path, source_sha256: str, config: Path | None, counts: Mapping[str, int]
) -> Path:
    """Write the receipt of a result; `counts` are its rows by status. An older one under its name is replaced."""
    content = {
        "receipt": _VERSION,
        **{name: getattr(facts, name) for name in Facts.__slots__},
        "input": {"name": source.name, "folder": str(source.resolve().parent), "sha256": source_sha256},
        "config": None if config is None else {"path": str(config.resolve()), "sha256": sha256_of(config)},
        "result": {"name": result.name, "sha256": sha256_of(result)},
        "rows": sum(counts.values()),
        "counts": dict(counts),
    }
    path = receipt_path(result)
    fresh = path.with_name(f".lead-importer-{path.name}.tmp")
    fresh.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(path)
    return path


def move_along(old: Path, new: Path) -> None:
    """Let the receipt of a result that got another name follow it."""
    if receipt_path(old).exists():
        receipt_path(old).replace(receipt_path(new))


def differences(path: Path, ledger: Ledger | None) -> tuple[list[str], list[str]]:
    """Hold a receipt against input, config, result and ledger; return what agrees, and what differs.

    Raises `Refused` for what is no receipt.
    """
    told = _read(path)
    agrees: list[str] = []
    differs: list[str] = []
    result = path.with_name(path.name.removesuffix(_ENDING) + Path(told["result"]["name"]).suffix)
    source = Path(told["input"]["folder"]) / told["input"]["name"]
    beside = path.with_name(told["input"]["name"])
    _hold(agrees, differs, "input", beside if beside.exists() else source, told["input"]["sha256"])
    if told["config"] is not None:
        _hold(agrees, differs, "config", Path(told["config"]["path"]), told["config"]["sha256"])
    _hold(agrees, differs, "result", result, told["result"]["sha256"])
    if result.exists():
        _hold_rows(agrees, differs, result, told)
    _hold_ledger(agrees, differs, told, result, ledger)
    return agrees, differs


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        right = told["receipt"] == _VERSION and {"run_id", "input", "config", "result", "counts", "rows"} <= told.keys()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"{path}: this is no receipt that can be read ({error}). Right is a {_ENDING} file of a run."
        ) from error
    if not right:
        raise Refused(f"{path}: this is no receipt of this version. Right is a {_ENDING} file of a run.")
    return dict(told)


def _hold(agrees: list[str], differs: list[str], what: str, path: Path, sha256: str) -> None:
    if not path.is_file():
        differs.append(f"{what} {path}: it is not there any more")
    elif sha256_of(path) != sha256:
        differs.append(f"{what} {path}: it was changed since the run")
    else:
        agrees.append(f"{what} {path}: unchanged")


def _hold_rows(agrees: list[str], differs: list[str], result: Path, told: Mapping[str, Any]) -> None:
    """Hold the statuses that stand in the result now against the counts."""
    try:
        statuses = read(result, Source()).cells.get_column("import_status")
    except (Refused, pl.exceptions.PolarsError) as error:
        differs.append(f"result {result}: it can't be read as one ({error})")
        return
    now = dict(statuses.fill_null("").value_counts().iter_rows())
    for status in sorted(now.keys() | told["counts"].keys()):
        was, stands = told["counts"].get(status, 0), now.get(status, 0)
        if was != stands:
            differs.append(f"result {result}: {stands} rows are {status or 'without a status'}, the receipt says {was}")
    if now == told["counts"]:
        agrees.append(f"result {result}: {told['rows']} rows, statuses as in the receipt")


def _hold_ledger(
    agrees: list[str], differs: list[str], told: Mapping[str, Any], result: Path, ledger: Ledger | None
) -> None:
    """Hold the run, its input, and each lead that the result shows as created against the ledger."""
    if told["run_id"].startswith(SANDBOX_RUN):
        agrees.append("ledger: this was a rehearsal, which keeps none")
        return
    if ledger is None or not ledger.has_run(told["run_id"]):
        differs.append(f"ledger: it does not know run {told['run_id']}")
        return
    if told["input"]["sha256"] not in {one.sha256 for one in ledger.inputs(told["run_id"])}:
        differs.append(f"ledger: run {told['run_id']} had another input")
    if not result.is_file():
        return
    cells = read(result, Source()).cells
    if not {"import_status", "import_lead_id", "import_row"} <= set(cells.columns):
        return
    created = cells.filter(pl.col("import_status") == "created").select("import_lead_id", "import_row")
    standing = ledger.lead_states(told["service"])
    wrong = [(row, lead_id) for lead_id, row in created.iter_rows() if standing.get(lead_id or "") != "created"]
    for row, lead_id in wrong[:20]:
        state = standing.get(lead_id or "")
        differs.append(
            f"row {row}: lead {lead_id or '(no ID)'} is created in the result, "
            + (f"{state} in the ledger" if state else "and not in the ledger")
        )
    if len(wrong) > 20:
        differs.append(f"and {len(wrong) - 20} more rows like these")
    if not wrong:
        agrees.append(f"ledger: it holds each of the {created.height} rows' leads as created")
