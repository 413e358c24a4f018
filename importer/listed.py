"""Leads of ours as the server lists them now, found by their IDs: it can't be asked for one of them alone."""

import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from importer.answers import digits
from importer.api import LookupFailed
from importer.connect import Connection
from importer.records import Created

_TRIES = 5


async def listed(
    connection: Connection, campaign_id: int, wanted: Mapping[str, float | None]
) -> dict[str, tuple[Created, float]] | None:
    """Return those wanted of a campaign's leads, by ID, each with when it was seen (`time.monotonic`); None: no look-up.

    `wanted` says of each ID when its lead was first about to be sent: epoch seconds by the server's clock, None: unknown.
    Raises `LookupFailed` where the list could not be read in a few tries, `Stopped` where the key is refused.
    """
    since = _day_before(wanted.values())
    attempt = 0
    while True:
        try:
            return await _read_pages(connection, campaign_id, since, wanted)
        except LookupFailed as failed:
            attempt += 1
            if attempt == _TRIES:
                raise
            await anyio.sleep(min(failed.verdict.retry_after or 2.0 ** (attempt - 1), 60.0))


def _day_before(intents: Iterable[float | None]) -> str | None:
    """Return a day from which the leads can be listed, since the server's dates may be those of another zone."""
    times = [0.0 if time is None else time for time in intents]
    first = datetime.fromtimestamp(min(times), UTC)
    return (first - timedelta(days=1)).date().isoformat() if all(times) else None


async def _read_pages(
    connection: Connection, campaign_id: int, since: str | None, wanted: Mapping[str, float | None]
) -> dict[str, tuple[Created, float]] | None:
    found: dict[str, tuple[Created, float]] = {}
    filters: dict[str, Any] = {} if since is None else {"date_from": since}
    async with aclosing(connection.service.pages(campaign_id, **filters)) as pages:
        await connection.gate.wait()
        async for leads in pages:
            if leads is None:
                return None
            found |= {lead.lead_id: (lead, time.monotonic()) for lead in leads if lead.lead_id in wanted}
            await connection.gate.wait()
    return found


def e164(phone: str) -> str:
    """Return a number as it is hashed, however the server writes it."""
    return "+" + digits(phone)
