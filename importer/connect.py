"""Opens the service for a command about a past run: address, key, the lock that keeps senders apart, and the pace."""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from importer import config as configs
from importer.address import normalise_address
from importer.api import Service
from importer.config import Api, Delivery
from importer.config_values import parse_rate
from importer.errors import Refused
from importer.gate import Gate, Stop, pacer_from_now
from importer.hashes import Hashes
from importer.ledger import Ledger, Run
from importer.machine import api_key, ledger_path, sole_sender
from importer.pace import Learned, Limit

#: Connections for look-ups and deletes, at least.
_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says about a past run, or about the service alone; None where it says nothing."""

    config: Path | None = None
    ledger: Path | None = None
    base_url: str | None = None
    rate: str | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Terms:
    """Where the service is, how its key is named, and how it is asked."""

    api: Api
    delivery: Delivery
    ledger: Path
    limits: tuple[Limit, ...] | None
    wait: float

    @classmethod
    def of(cls, asked: Asked) -> "Terms":
        """Put the command line on top of the config, or of the defaults where none is named."""
        config = configs.load(asked.config) if asked.config is not None else None
        delivery = config.delivery if config else Delivery()
        return cls(
            api=config.api if config else Api(),
            delivery=delivery,
            ledger=ledger_path(asked.ledger, config.ledger if config else None),
            limits=limits_of(asked.rate, delivery),
            wait=asked.wait,
        )

    @classmethod
    def of_run(cls, asked: Asked, run: Run) -> "Terms":
        """Do the same with the config that a run had, where it is still there and the command line names no other.

        Raises `Refused` where the command line names another address than the run sent to.
        """
        if asked.base_url is not None:
            _must_be_of_run(normalise_address(asked.base_url), run)
        recorded = run.request.get("config")
        if asked.config is None and recorded and Path(recorded).is_file():
            asked = replace(asked, config=Path(recorded))
        return cls.of(asked)


@dataclass(frozen=True, slots=True)
class Connection:
    """An open service, what the ledger knows of it, and the pace that its requests share."""

    service: Service
    ledger: Ledger
    hashes: Hashes
    gate: Gate
    stop: Stop
    """Ends what waits at the gate."""
    terms: Terms


def _must_be_of_run(address: str, run: Run) -> None:
    """Refuse another address: lead IDs say nothing there, or name somebody else's leads."""
    sent_to = run.service.partition("#")[0]
    if address != sent_to:
        raise Refused(
            f"--base-url {address}: run {run.run_id} sent to {sent_to}, and its leads are there alone. Leave --base-url out, "
            "or name a run that sent to this address: lead-importer history lists them, and show RUN says where one sent to."
        )


def limits_of(rate: str | None, delivery: Delivery) -> tuple[Limit, ...] | None:
    """Return the limits that were set, on the command line or in the config; None where the pace is to be found."""
    try:
        rates = delivery.rate if rate is None else parse_rate(rate)
    except ValueError as error:
        raise Refused(f"--rate {rate}: right is {error}.") from error
    return tuple(_whole(one.count, one.seconds) for one in rates) or None


def _whole(count: float, seconds: float) -> Limit:
    """Return a limit of whole requests: half a request a second is one in two."""
    return Limit(int(count), seconds) if count >= 1 else Limit(1, seconds / count)


def open_ledger(path: Path, *, only_read: bool) -> Ledger:
    """Open the ledger of past runs; refuse where there is none."""
    if not path.exists() or not path.stat().st_size:
        raise Refused(f"ledger {path}: there is none, so no run is known. Name its place with --ledger.")
    return Ledger(path, create=not only_read)


@asynccontextmanager
async def connect(
    terms: Terms, ledger: Ledger, run: Run, say: Callable[[str], None], *, doing: str, own_id: str | None = None
) -> AsyncIterator[Connection]:
    """Open the service that a run sent to. Raises `Busy` while another sender holds it.

    Others are told what the command is `doing`, and know it by `own_id` where the history has it as a run of its own.
    """
    base, _, instance = run.service.partition("#")
    key = api_key(terms.api.key_env, terms.api.key_file_env, say=say)
    with ExitStack() as held:
        held.enter_context(
            sole_sender(base, key, run_id=own_id or run.run_id, doing=doing, wait=terms.wait, announce=say)
        )
        facts = ledger.facts(base)
        learned = Learned(**facts["pace"]) if facts.get("pace") else None
        async with Service(
            base,
            key,
            timeout=terms.delivery.timeout,
            connections=max(_CONNECTIONS, terms.delivery.concurrency or 0),
            duplicate_texts=terms.api.duplicate_texts,
        ) as service:
            stop = Stop()
            gate = Gate(pacer_from_now(terms.limits, learned), stop, say, service.clock)
            service.on_limits, service.on_wait = gate.hear, say
            service.clock.remembered = dict(facts.get("created_ahead") or {})
            if instance:
                await service.campaigns()
                if service.instance != instance:
                    raise Refused(
                        f"run {run.run_id}: it sent to a sandbox at {base} that is gone, and its leads with it."
                    )
            service.on_unreached = gate.tell_unreached
            yield Connection(service, ledger, ledger.hashes(run.service), gate, stop, terms)
