"""When a run stops instead of burning through the file: counting answers, pure.

A refused key or a login page stops a run at once, by itself (`Meaning.STOP`); these are about what repeats.
"""

from typing import Protocol

from importer.records import Meaning, Verdict

_WHAT_TO_DO = {
    "campaign": "Check campaign_id, and that the campaign belongs to this key's account",
    "account": "Check the plan and the rights of this key's account",
    "balance": "Top up the account's balance",
    "key": "Check the key",
    "html": "Check the address of the service, and whether it is under maintenance",
}


class Thresholds(Protocol):
    """The config's `delivery.stop_after`."""

    @property
    def same_refusal(self) -> int:
        """The same systemic refusal, so many times running."""

    @property
    def html(self) -> int:
        """A page where JSON should be, so many times running."""

    @property
    def timeouts(self) -> int:
        """Time-outs, so many in a row."""

    @property
    def doubtful(self) -> int:
        """Answers that prove nothing, so many running."""

    @property
    def rejected_share(self) -> float:
        """More than this share of the leads rejected."""

    @property
    def rejected_after(self) -> int:
        """Leads answered before the share counts."""


class Breakers:
    """Hears every verdict on a create, in the order of the answers."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._most = thresholds
        self._refusals: tuple[str, int] = ("", 0)
        self._html = 0
        self._timeouts = 0
        self._doubtful = 0
        self._answered = 0
        self._rejected = 0

    def hear(self, verdict: Verdict, *, is_late: bool = False) -> str | None:
        """Return why the run should stop; None where it may go on.

        `is_late`: it is of an attempt begun before the server last answered properly, and ended without proof. Attempts
        that hang are the last to end; that says nothing of the server now.

        A refusal of one lead (a number, a variable, a duplicate) neither counts towards a systemic one nor breaks its
        series: only a lead that was created does.
        """
        if is_late:
            return None
        self._timeouts = self._timeouts + 1 if verdict.systemic == "timeout" else 0
        self._html = self._html + 1 if verdict.systemic == "html" else 0
        self._doubtful = self._doubtful + 1 if verdict.meaning is Meaning.AMBIGUOUS else 0
        if self._timeouts >= self._most.timeouts:
            return f"{self._timeouts} requests in a row got no answer in time. Check whether the service is up, then run this again."
        if self._html >= self._most.html:
            return f"{self._html} times running a web page came where JSON should be: {verdict.message}. {_WHAT_TO_DO['html']}."
        if self._doubtful >= self._most.doubtful:
            return f"{self._doubtful} answers running proved nothing, the last one because: {verdict.message}. Check whether the service is well, then run this again."
        return self._refused(verdict) or self._share(verdict)

    def _refused(self, verdict: Verdict) -> str | None:
        if verdict.meaning is Meaning.CREATED:
            self._refusals = ("", 0)
        cause = verdict.systemic
        if verdict.meaning is not Meaning.REJECTED or cause not in ("campaign", "account", "balance", "key"):
            return None
        count = self._refusals[1] + 1 if self._refusals[0] == cause else 1
        self._refusals = (cause, count)
        if count < self._most.same_refusal:
            return None
        return f"the server refused {count} leads running for the same reason ({cause}): {verdict.message}. {_WHAT_TO_DO[cause]}, then run this again."

    def _share(self, verdict: Verdict) -> str | None:
        if verdict.meaning not in (Meaning.CREATED, Meaning.DUPLICATE, Meaning.REJECTED):
            return None
        self._answered += 1
        self._rejected += verdict.meaning is Meaning.REJECTED
        if self._answered < self._most.rejected_after or self._rejected <= self._most.rejected_share * self._answered:
            return None
        return (
            f"the server rejected {self._rejected} of the first {self._answered} leads, the last one because: {verdict.message}. "
            "Look at the reasons in the result file; the mapping may be wrong. To go on all the same, raise "
            "delivery.stop_after.rejected_share in the config."
        )
