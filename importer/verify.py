"""Test key, address and campaigns before anything is sent, and find out what the server can do.

What was found is remembered for the address, and decides which guarantee a run can give.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio

from importer import config as configs
from importer.address import base_address
from importer.api import Campaign, LookupFailed, Service
from importer.briefing import AT_REST
from importer.connect import Asked, Terms
from importer.errors import ExitStatus, Refused
from importer.ledger import Ledger
from importer.machine import api_key
from importer.receipt import differences
from importer.settle import guarantee

#: Digits that no lead has: whatever comes back for them shows that the filter is not honoured.
_NOBODY = "000000000000"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server can do; None: it does not tell, now."""

    lookup: bool | None
    filters: bool | None
    delete: bool | None
    campaigns: bool


def verify(
    asked: Asked, campaign: int | None, say: Callable[[str], None], *, on_wait: Callable[[str], None]
) -> ExitStatus:
    """Tell what key, address and campaigns come to, and `on_wait` what is waited for.

    Raises `Refused` for what is wrong on this side or a campaign that is not there, `Stopped` where the server refuses
    the key or can't be reached.
    """
    config = configs.load(asked.config) if asked.config is not None else None
    terms = Terms.of(asked)
    base = base_address(asked.base_url, terms.api.base_url)
    key = api_key(terms.api.key_env, terms.api.key_file_env, say=on_wait)
    wanted = campaign or (config.campaign_id if config and isinstance(config.campaign_id, int) else None)
    mapped = config.campaign_id.map if config and not isinstance(config.campaign_id, int | None) else None
    several = [wanted] if wanted else sorted(set((mapped or {}).values()))
    allow = config.allow_duplicate if config else False
    return anyio.run(_online, terms, base, key, several, allow, say, on_wait)


async def _online(
    terms: Terms,
    base: str,
    key: str,
    wanted: Sequence[int],
    allow: bool,
    say: Callable[[str], None],
    on_wait: Callable[[str], None],
) -> ExitStatus:
    say(f"Address: {base}")
    async with Service(base, key, timeout=terms.delivery.timeout, connections=2) as service:
        service.on_wait = on_wait
        account = await service.me()
        if account is not None:
            said = [("", account.name), ("", account.email), ("balance ", account.balance)]
            say("Key: accepted; it belongs to " + ", ".join(f"{word}{value}" for word, value in said if value))
        campaigns = await service.campaigns()
        known = wanted[0] if wanted else (campaigns[0].id if campaigns else 1)
        found = await _abilities(service, known, campaigns is not None)
        if account is None:
            accepted = found.campaigns or found.lookup
            say("Key: accepted" if accepted else "Key: not refused, but nothing tells that it is accepted")
        _say_campaigns(campaigns, wanted, say)
    with Ledger(terms.ledger) as ledger:
        told = {name: can for name, can in asdict(found).items() if can is not None}
        ledger.remember(base, **told)
        remembered = ledger.facts(base)
    for name, what in _WORDS.items():
        can = remembered.get(name)
        if name == "filters" and remembered.get("lookup") is False:
            continue
        now = "" if name in told or can is None else " (as it was told earlier)"
        say(f"{what}: {'not told' if can is None else 'yes' if can else 'no'}{now}")
    promise = guarantee(allow_duplicate=allow, offers_lookup=bool(remembered.get("lookup")))
    say(f"Guarantee of a run{' with allow_duplicate' if allow else ''}: {promise}.")
    return ExitStatus.OK


#: What a server may be able to do, in words.
_WORDS = {
    "lookup": "Look-up of leads",
    "filters": "Look-up by number and campaign",
    "delete": "Delete (for undo)",
    "campaigns": "List of campaigns",
}


def _say_campaigns(campaigns: Sequence[Campaign] | None, wanted: Sequence[int], say: Callable[[str], None]) -> None:
    if campaigns is None:
        say("Campaigns: this server lists none, so whether a campaign exists shows with the first lead.")
        return
    for campaign in campaigns:
        rests = f" It is {campaign.status}, so nobody is called yet." if campaign.status in AT_REST else ""
        mark = f"  <- where leads would go.{rests}" if campaign.id in wanted else ""
        say(f"Campaign {campaign.id} {campaign.name!r}: {campaign.status or 'status not told'}{mark}")
    missing = sorted(set(wanted) - {campaign.id for campaign in campaigns})
    if missing:
        raise Refused(
            f"campaign {', '.join(map(str, missing))}: the server does not know it. Put campaign_id or --campaign right; "
            "those that this key can see are listed above."
        )


async def _abilities(service: Service, campaign_id: int, campaigns: bool) -> Abilities:
    lookup = await service.offers_lookup(campaign_id)
    filters: bool | None = None
    if lookup:
        with suppress(LookupFailed):
            filters = await service.honours_filters(campaign_id, _NOBODY)
    return Abilities(lookup, filters, await service.offers_delete(), campaigns)


def verify_receipt(receipt: Path, asked: Asked, say: Callable[[str], None]) -> ExitStatus:
    """Hold a receipt against input, config, result and ledger, and name what differs. Needs no key and no network."""
    where = Terms.of(asked).ledger
    ledger = Ledger(where, create=False) if where.exists() else None
    try:
        agrees, differs = differences(receipt, ledger)
    finally:
        if ledger is not None:
            ledger.close()
    for text in agrees:
        say(f"agrees   {text}")
    for text in differs:
        say(f"DIFFERS  {text}")
    return ExitStatus.SOME_ROWS_ARE_NOT if differs else ExitStatus.OK
