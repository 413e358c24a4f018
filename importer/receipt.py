"""The receipt of a result: what was read, decided and written, by hashes; and whether that is still so.

It stands beside the result as `<its name without suffix>.receipt.json`. It holds no person's data and no key.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from importer.errors import Refused
from importer.ledger import SANDBOX_RUN, Ledger, Run
from importer.read import read
from importer.records import PastResult, Source
from importer.wording import count_of

_VERSION = 1
_ENDING = ".receipt.json"
#: Statuses of rows whose people are called, or may be.
_MAY_BE_THERE = ("created", "already_imported", "unknown")


def receipt_path(result: Path) -> Path:
    """Return where a result's receipt lies: without the kind, where no result of another kind has that name already."""
    usual, longer = result.with_name(result.stem + _ENDING), result.with_name(result.name + _ENDING)
    return longer if longer.exists() or _is_of_another_kind(usual, result) else usual


def _is_of_another_kind(receipt: Path, result: Path) -> bool:
    if not receipt.is_file():
        return False
    try:
        kind = Path(_read(receipt)["result"]["name"]).suffix
    except Refused:
        return False
    return kind != result.suffix and result.with_suffix(kind).exists()


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
    result: Path,
    facts: Facts,
    *,
    source: Path,
    source_sha256: str,
    config: Path | None,
    config_sha256: str | None,
    counts: Mapping[str, int],
) -> Path:
    """Write the receipt of a result; `counts` are its rows by status. An older one under its name is replaced.

    `source` is where the input lies now: that of `retry` may have been given another name. Raises `OSError`.
    """
    content = {
        "receipt": _VERSION,
        **{name: getattr(facts, name) for name in Facts.__slots__},
        "input": {"name": source.name, "folder": str(source.resolve().parent), "sha256": source_sha256},
        "config": None if config is None else {"path": str(config.resolve()), "sha256": config_sha256},
        "result": {"name": result.name, "sha256": sha256_of(result)},
        "rows": sum(counts.values()),
        "counts": dict(counts),
    }
    path = receipt_path(result)
    fresh = path.with_name(f".lead-importer-{path.name}.tmp")
    try:
        fresh.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def past_result(path: Path) -> PastResult | None:
    """Return what the receipt of a result says; None where there is neither, or where nothing was created."""
    try:
        told = _read(receipt_path(path)) if path.is_file() else {}
    except Refused:
        return None
    rows = sum(told["counts"].get(status, 0) for status in _MAY_BE_THERE) if told else 0
    if not rows:
        return None
    ended = told.get("finished_at")
    return PastResult(path, told["run_id"], told["service"], str(told.get("started_at")), ended, rows)


def forgotten(results: Iterable[PastResult | None], ledger: Ledger | None, service: str) -> list[str]:
    """Say of results of runs at this service that the ledger does not know them: their leads would be sent again."""
    return [
        f"{one.path}: this is the result of run {one.run_id} (began {one.started_at}; {count_of(one.rows, 'row')} created, or perhaps), {lacks}. "
        "Use the ledger of that run (--ledger; or put it back from your backup), or send only what its rows show as not done: "
        f"lead-importer retry {one.path}. If the list holds other leads now, move that result away."
        for one in results
        if one is not None and one.service == service and (lacks := _lacks(ledger, one)) is not None
    ]


def _lacks(ledger: Ledger | None, result: PastResult) -> str | None:
    """Say what a ledger does not know of a run; None where it knows all. A copy may be from while the run was going on."""
    if ledger is None:
        return "which no ledger here knows"
    run = ledger.run(result.run_id)
    if run is None:
        return f"which ledger {ledger.path} does not know"
    if result.finished_at is not None and run.finished_at is None:
        return f"of which ledger {ledger.path} knows only the beginning, as a copy does that was made while it was going on"
    return None


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
    result = path.with_name(told["result"]["name"])
    if path.name.endswith(_ENDING):  # a result that was set aside has another name now
        result = path.with_name(path.name.removesuffix(_ENDING).removesuffix(result.suffix) + result.suffix)
    _hold(agrees, differs, "input", _source(path, told, ledger), told["input"]["sha256"])
    if told["config"] is not None:
        config = Path(told["config"]["path"])
        places = [config, path.with_name(config.name)]
        _hold(agrees, differs, "config", _there(places) or config, told["config"]["sha256"])
    _hold(agrees, differs, "result", result, told["result"]["sha256"])
    cells = _cells(result, differs) if _stands(result) else pl.DataFrame()
    if "import_status" in cells.columns:
        _hold_rows(agrees, differs, result, cells, told)
    _hold_ledger(agrees, differs, told, result, cells, ledger)
    return agrees, differs


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        beside = receipt_path(path)
        if beside.is_file():
            raise Refused(f"{path}: this is no receipt; its receipt is {beside}. Name that one.") from error
        raise Refused(
            f"{path}: this is no receipt that can be read ({error}). Right is a {_ENDING} file of a run."
        ) from error
    if not _is_receipt(told):
        raise Refused(f"{path}: this is no receipt of this version. Right is a {_ENDING} file of a run.")
    return dict(told)


def _is_receipt(told: Any) -> bool:
    """Tell whether everything stands there that is held against something; anybody may have changed it."""

    def has(part: Any, **kinds: type) -> bool:
        return isinstance(part, dict) and all(type(part.get(name)) is kind for name, kind in kinds.items())

    return (
        has(told, receipt=int, run_id=str, service=str, rows=int, counts=dict)
        and told["receipt"] == _VERSION
        and has(told.get("input"), name=str, folder=str, sha256=str)
        and has(told.get("result"), name=str, sha256=str)
        and ("config" in told and (told["config"] is None or has(told["config"], path=str, sha256=str)))
        and all(name and name == Path(name).name for name in (told["input"]["name"], told["result"]["name"]))
        and (told["config"] is None or bool(Path(told["config"]["path"]).name))
    )


def _source(path: Path, told: Mapping[str, Any], ledger: Ledger | None) -> Path:
    """Find the input: where it lay, beside the receipt, or where a later result's writing has put it."""
    name, sha256 = told["input"]["name"], told["input"]["sha256"]
    places: list[Path] = [Path(told["input"]["folder"]) / name, path.with_name(name)]
    if ledger is not None:
        places += [one.path for one in ledger.inputs(told["run_id"]) if one.sha256 == sha256]
    return next((place for place in places if _sha256(place) == sha256), _there(places) or places[0])


def _there(places: Sequence[Path]) -> Path | None:
    return next((place for place in places if _stands(place)), None)


def _stands(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file has
        return False


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except (OSError, ValueError):  # a name that no file has
        return None


def _hold(agrees: list[str], differs: list[str], what: str, path: Path, sha256: str) -> None:
    found = _sha256(path)
    if found == sha256:
        agrees.append(f"{what} {path}: unchanged")
    elif found is not None:
        differs.append(f"{what} {path}: it was changed since the run")
    else:
        differs.append(f"{what} {path}: it {'can not be read' if _stands(path) else 'is not there any more'}")


def _cells(result: Path, differs: list[str]) -> pl.DataFrame:
    try:
        cells = read(result, Source()).cells
    except (Refused, pl.exceptions.PolarsError) as error:
        differs.append(f"result {result}: it can't be read as one ({error})")
        return pl.DataFrame()
    if not {"import_status", "import_lead_id", "import_row"} <= set(cells.columns):
        differs.append(f"result {result}: it lacks columns of ours")
    return cells


def _hold_rows(
    agrees: list[str], differs: list[str], result: Path, cells: pl.DataFrame, told: Mapping[str, Any]
) -> None:
    """Hold the statuses that stand in the result now against the counts."""
    statuses = cells.get_column("import_status")
    now = dict(statuses.fill_null("").value_counts().iter_rows())
    for status in sorted(now.keys() | told["counts"].keys()):
        was, stands = told["counts"].get(status, 0), now.get(status, 0)
        if was != stands:
            differs.append(
                f"result {result}: {count_of(stands, 'row is', plural='rows are')} {status or 'without a status'}, the receipt says {was}"
            )
    if now == told["counts"]:
        agrees.append(f"result {result}: {count_of(told['rows'], 'row')}, statuses as in the receipt")


def _hold_ledger(
    agrees: list[str],
    differs: list[str],
    told: Mapping[str, Any],
    result: Path,
    cells: pl.DataFrame,
    ledger: Ledger | None,
) -> None:
    """Hold the run, its input, and each lead that the result shows as created against the ledger."""
    if told["run_id"].startswith(SANDBOX_RUN):
        agrees.append("ledger: this was a rehearsal, which keeps none")
        return
    run = ledger.run(told["run_id"]) if ledger is not None else None
    if ledger is None or run is None:
        differs.append(f"ledger: it does not know run {told['run_id']}")
        return
    for name, value in asdict(Facts.of(run)).items():
        if told.get(name) != value:
            differs.append(f"ledger: run {run.run_id} has {name} {value!r}, the receipt says {told.get(name)!r}")
    if (run.request.get("config") is None) != (told["config"] is None):
        had, says = ("no", "one") if run.request.get("config") is None else ("a", "none")
        differs.append(f"ledger: run {run.run_id} had {had} config, the receipt names {says}")
    inputs = ledger.inputs(run.run_id)
    if told["input"]["sha256"] not in {one.sha256 for one in inputs}:
        differs.append(f"ledger: run {run.run_id} had another input")
    written = {one.result_path: one.result_sha256 for one in inputs}
    if written.get(result.resolve(), told["result"]["sha256"]) != told["result"]["sha256"]:
        differs.append(f"ledger: run {run.run_id} wrote another result {result}")
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
    if created.height and not wrong:
        agrees.append(f"ledger: it holds the lead of {count_of(created.height, 'created row')} as created")
