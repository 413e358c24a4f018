"""What people are told, and asked, before the first lead: the campaigns, how many leads, how long they take.

A wrong campaign is a wrong call, so each is named with its status, and one that the server does not know is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from importer.api import Campaign
from importer.errors import Refused
from importer.estimate import estimate, leads_within, say_deadline, say_estimate
from importer.pace import Already, Learned, Limit
from importer.wording import count_of

#: Campaign statuses in which nobody is called yet; worth a word, no reason to refuse (api.md, "What else").
AT_REST = frozenset({"draft", "stopped", "paused"})


def show_campaigns(
    campaigns: Sequence[Campaign] | None,
    counts: Mapping[int, int],
    say: Callable[[str], None],
    *,
    stands: Callable[[int], str],
) -> None:
    """Tell which campaigns get how many leads (`counts`, by ID); None: the server lists none. Refuse unknown ones.

    `stands` says in which cells a campaign stands; empty where it is one for all rows.
    """
    if campaigns is None:
        for campaign_id, leads in counts.items():
            say(f"Campaign {campaign_id}: {count_of(leads, 'lead')}. Its name can't be looked up on this server.")
        return
    known = {campaign.id: campaign for campaign in campaigns}
    missing = {campaign_id: stands(campaign_id) for campaign_id in counts if campaign_id not in known}
    if missing:
        listed = ", ".join(f"{campaign.id} {campaign.name!r}" for campaign in known.values()) or "none"
        named = "; ".join(
            f"{campaign_id} ({where})" if where else str(campaign_id) for campaign_id, where in missing.items()
        )
        advice = (
            "Put the cells or campaign_id.map right, or leave those rows out with where."
            if any(missing.values())
            else "Put campaign_id or --campaign right."
        )
        raise Refused(
            f"campaign {named}: the server does not know {'it' if len(missing) == 1 else 'them'}. "
            f"Campaigns that this key can see: {listed}. {advice} Nothing was sent."
        )
    for campaign_id, leads in counts.items():
        campaign = known[campaign_id]
        status = "a draft" if campaign.status == "draft" else campaign.status
        at_rest = f" It is {status}, so nobody is called yet." if campaign.status in AT_REST else ""
        say(
            f"Campaign {campaign_id} {campaign.name!r} ({campaign.status or 'status not told'}): {count_of(leads, 'lead')}.{at_rest}"
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """What the time of a run is reckoned by: limits that were set, else the pace that an earlier run found."""

    limits: tuple[Limit, ...] | None
    learned: Learned | None
    already: tuple[Already, ...] = ()


def show_estimate(leads: int, pace: Pace, deadline: datetime | None, say: Callable[[str], None]) -> None:
    """Tell how long so many leads take, and how many of them the deadline leaves time for."""
    now = datetime.now(UTC)
    made = estimate(leads, limits=pace.limits, learned=pace.learned, already=pace.already)
    say(say_estimate(made, now))
    if deadline is not None:
        left = max((deadline - now).total_seconds(), 0.0)
        fit = leads_within(left, leads, limits=pace.limits, learned=pace.learned, already=pace.already)
        say(say_deadline(made, deadline, now, fit=fit))
