"""Past runs, as the ledger remembers them: which there were, what came of one. Only reads; no key, no network."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from importer.errors import ExitStatus, Refused
from importer.ledger import Ledger, Run
from importer.machine import process_of
from importer.records import Status
from importer.wording import count_of

#: States of leads of which nobody knows what became.
_IN_DOUBT = ("sending", "doubtful", "unknown")

#: How runs ended, in words.
_ENDS = {
    ExitStatus.OK: "all done",
    ExitStatus.SOME_ROWS_ARE_NOT: "finished, some rows are not done",
    ExitStatus.REFUSED: "refused, nothing was sent",
    ExitStatus.STOPPED: "stopped early",
    ExitStatus.SOME_UNKNOWN: "finished, some outcomes are unknown",
    ExitStatus.INTERRUPTED: "stopped by Ctrl-C",
    ExitStatus.TERMINATED: "stopped by a signal",
}


def find_run(ledger: Ledger, wanted: str) -> Run:
    """Return the run that an ID, its beginning, or `last` names. Raises `Refused` where none or several fit.

    `last` is the last one that sent leads: what `undo` did is no run to settle, or to undo.
    """
    runs = ledger.runs()
    if wanted in ("last", "latest") and (sent := next((run for run in runs if run.command != "undo"), None)):
        return sent
    if not wanted.strip():  # an unset variable of a script must not mean "any"
        raise Refused("RUN is empty: it should be a run's ID, its beginning, or last. See: lead-importer history")
    fitting = [run for run in runs if run.run_id == wanted] or [run for run in runs if run.run_id.startswith(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    what = "several runs begin so" if fitting else "the ledger knows no such run"
    listed = ", ".join(run.run_id for run in (fitting or runs)[:5]) or "none"
    raise Refused(
        f"run {wanted!r}: {what}. {'They are' if fitting else 'The last ones are'}: {listed}. See: lead-importer history"
    )


def tell_history(ledger: Ledger, *, limit: int, as_json: bool) -> str:
    """Return the newest runs, a line or a JSON object each."""
    runs = ledger.runs()[:limit]
    if as_json:
        return "\n".join(json.dumps(_facts(ledger, run), ensure_ascii=False) for run in runs)
    if not runs:
        return "No run yet."
    lines = [f"{'RUN':<26} {'LOCAL TIME':<16} {'COMMAND':<7} {'BY':<10} {'EXIT':>4}  ROWS AND INPUTS"]
    for run in runs:
        inputs = ", ".join(one.path.name for one in ledger.inputs(run.run_id)) or _undoes(run)
        status = str(run.exit_status) if run.exit_status is not None else _without_end(run)[0]
        counts = _counts(run.counts) or _without_rows(run)
        told = f"{run.run_id:<26} {_when(run.started_at):<16} {run.command:<7} {run.who or '':<10}"
        lines.append(f"{told} {status:>4}  {inputs}: {counts}")
    return "\n".join(lines)


def tell_run(ledger: Ledger, run: Run, *, as_json: bool) -> str:
    """Return everything that is known of one run, for people or as a JSON object."""
    if as_json:
        return json.dumps(_facts(ledger, run), ensure_ascii=False, indent=2)
    ended = _without_end(run)[1] if run.exit_status is None else _ENDS.get(ExitStatus(run.exit_status), "")
    standings = ledger.standings(run.run_id)
    doubts = sum(standings.get(state, 0) for state in _IN_DOUBT)
    contacts = sum(len(lead.numbers) for lead in ledger.unconfirmed(run.run_id))
    lines: list[tuple[str, object]] = [
        ("Run", run.run_id),
        ("Command", run.command + _options(run.request)),
        ("Undoes", run.request.get("run")),
        ("Went on from", ", ".join(went_on_from(ledger, run))),
        ("By", run.who),
        ("Began", f"{_when(run.started_at)}, local time"),
        ("Ended", f"{_when(run.finished_at)}, exit status {run.exit_status}: {ended}" if run.finished_at else ended),
        ("Why it stopped", run.cause),
        ("Rows", _counts(run.counts)),
        ("Leads now", _counts({state: count for state, count in standings.items() if state not in _IN_DOUBT})),
        ("Undone", "; ".join(_undone(ledger, run))),
        ("Leads in doubt", f"{doubts:,} (lead-importer settle {run.run_id})" if doubts else None),
        ("Not confirmed", f"{count_of(contacts, 'contact')} (lead-importer settle {run.run_id})" if contacts else None),
        ("Guarantee", run.guarantee),
        ("Service", run.service and run.service.partition("#")[0]),  # behind it a hash of the key
        ("Version", run.tool_version),
        (
            "Config",
            f"{run.request.get('config') or 'none'} (decisions {_short(run.config_hash)})" if run.config_hash else None,
        ),
    ]
    for one in ledger.inputs(run.run_id):
        result = f"{one.result_path} (SHA-256 {_short(one.result_sha256)})" if one.result_path else "not written"
        lines += [("Input", f"{one.path} (SHA-256 {_short(one.sha256)})"), ("Result", result)]
    return "\n".join(f"{name + ':':<16} {value}" for name, value in lines if value)


def went_on_from(ledger: Ledger, run: Run) -> list[str]:
    """Return the runs whose results a retry took, the last one of each: it created leads beside theirs. None: not known."""
    if run.command != "retry":
        return []
    taken = {one.path for one in ledger.inputs(run.run_id)}
    wrote: dict[object, str] = {}
    for before in ledger.runs():  # the newest first
        for one in ledger.inputs(before.run_id) if before.run_id < run.run_id else ():
            if one.result_path in taken:
                wrote.setdefault(one.result_path, before.run_id)
    return sorted(set(wrote.values()))


def still_to_undo(ledger: Ledger, run: Run) -> list[str] | None:
    """Return the runs before a retry whose leads stand, the nearest of each line. None: it is not known what it went on from."""
    before = went_on_from(ledger, run)
    standing: list[str] = []
    for one in before:
        earlier = ledger.run(one)
        if any(ledger.created_by(one)):
            standing.append(one)
        elif earlier is not None and earlier.command == "retry":  # that created nothing, or was undone
            standing += still_to_undo(ledger, earlier) or ()
    return list(dict.fromkeys(standing)) if before else None


def _undoes(run: Run) -> str:
    return f"of run {run.request['run']}" if run.command == "undo" else ""


def _undone(ledger: Ledger, run: Run) -> Iterable[str]:
    """Say what `undo` did to a run, the first time first."""
    for one in reversed(ledger.runs()):
        if one.command == "undo" and one.request.get("run") == run.run_id:
            yield f"{_when(one.started_at)} {_counts(one.counts) or _without_rows(one)} (run {one.run_id})"


def _short(digest: str | None) -> str:
    """Return the beginning of a hash, by which people compare; `--json` has it whole."""
    return f"{digest[:12]}…" if digest else "unknown"


def _facts(ledger: Ledger, run: Run) -> dict[str, Any]:
    inputs = [
        {name: str(value) if value is not None else None for name, value in asdict(one).items()}
        for one in ledger.inputs(run.run_id)
    ]
    standings = ledger.standings(run.run_id)
    doubts = sum(standings.get(state, 0) for state in _IN_DOUBT)
    going_on = run.exit_status is None and process_of(run.run_id, run.request.get("locks")) is not None
    return asdict(run) | {"inputs": inputs, "going_on": going_on, "leads_now": standings, "in_doubt": doubts}


def _without_end(run: Run) -> tuple[str, str]:
    """Say of a run that has no end yet whether it goes on or was cut off, in a word and in more."""
    if (process := process_of(run.run_id, run.request.get("locks"))) is not None:
        return "now", f"still going on (process {process})"
    again = "undo the same run again" if run.command == "undo" else "run it again"
    return "cut", f"cut off before its end; {again} to go on"


def _options(request: dict[str, Any]) -> str:
    said = [
        ("--campaign", request.get("campaign")),
        ("--region", request.get("region")),
        ("--base-url", request.get("base_url")),
        ("--limit", request.get("limit")),
    ]
    said += [("--include", status) for status in _texts(request.get("include"))]
    return "".join(f" {option} {value}" for option, value in said if value is not None)


def _texts(value: Any) -> Iterable[str]:
    return value if isinstance(value, list) else ()


def _counts(counts: dict[str, int]) -> str:
    """Name what there is of each status, in the order of the summary; states of leads that are no status go last."""
    order = {status.value: number for number, status in enumerate(Status)}
    ordered = sorted(counts.items(), key=lambda one: order.get(one[0], len(order)))
    return ", ".join(f"{count:,} {status}" for status, count in ordered)


def _without_rows(run: Run) -> str:
    if run.exit_status is None:
        return _without_end(run)[1]
    if run.exit_status == ExitStatus.STOPPED:  # by a "no", or before it came to its rows
        return "stopped before the first lead"
    return _ENDS.get(ExitStatus(run.exit_status), "no rows") if run.exit_status else "no rows"


def _when(stamp: str | None) -> str:
    return f"{datetime.fromisoformat(stamp).astimezone():%Y-%m-%d %H:%M}" if stamp else ""
