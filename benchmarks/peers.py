"""What people write themselves: scripts that post leads, with nothing but `requests` or `aiohttp`.

    python benchmarks/peers.py NAME URL BODIES RESULTS

BODIES has one JSON body a line; RESULTS gets one JSON object a line: the status of the last answer (null for none), the
lead's ID where there was one, and the error. Run by `head_to_head.py` in a virtual environment of its own.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

IN_FLIGHT = 8
TIMEOUT = 1.0
RETRIES = 5
HEADERS = {"Authorization": "Bearer 1|peer", "Accept": "application/json"}
FORCELIST = (429, 500, 502, 503, 504)

Told = dict[str, Any]


def told(status: int | None, answer: Any = None, error: str = "") -> Told:
    lead = answer.get("data") if isinstance(answer, dict) else None
    lead_id = lead.get("id") if isinstance(lead, dict) else None
    return {"status": status, "id": None if lead_id is None else str(lead_id), "error": error}


def with_requests(url: str, bodies: Sequence[Any], retry: Retry | int) -> list[Told]:
    """A session in each of eight threads."""
    local = threading.local()

    def post(body: Any) -> Told:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.mount("http://", HTTPAdapter(max_retries=retry))
        try:
            response = local.session.post(f"{url}/user/lead", json=body, headers=HEADERS, timeout=TIMEOUT)
            return told(response.status_code, response.json(), "" if response.ok else response.text)
        except requests.RequestException as error:
            return told(None, error=repr(error))

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return list(pool.map(post, bodies))


def requests_retry(url: str, bodies: Sequence[Any]) -> list[Told]:
    """The usual adapter, told to repeat POST too."""
    retry = Retry(
        total=RETRIES,
        backoff_factor=0.1,
        status_forcelist=FORCELIST,
        allowed_methods=frozenset({"GET", "POST"}),
        raise_on_status=False,
    )
    return with_requests(url, bodies, retry)


def requests_once(url: str, bodies: Sequence[Any]) -> list[Told]:
    """Never repeats anything."""
    return with_requests(url, bodies, 0)


def aiohttp_retry(url: str, bodies: Sequence[Any]) -> list[Told]:
    """Eight tasks; every error and every 5xx is tried again, with a growing pause."""

    async def attempt(session: aiohttp.ClientSession, body: Any) -> Told:
        try:
            async with session.post(f"{url}/user/lead", json=body, headers=HEADERS) as response:
                return told(response.status, await response.json(), "" if response.ok else await response.text())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return told(None, error=repr(error))

    async def post(session: aiohttp.ClientSession, body: Any) -> Told:
        found = await attempt(session, body)
        for number in range(RETRIES):
            if found["status"] is not None and found["status"] not in FORCELIST:
                break
            await asyncio.sleep(0.1 * 2**number)
            found = await attempt(session, body)
        return found

    async def work() -> list[Told]:
        results: list[Told] = [told(None)] * len(bodies)
        waiting = iter(enumerate(bodies))

        async def take(session: aiohttp.ClientSession) -> None:
            for place, body in waiting:
                results[place] = await post(session, body)

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
            await asyncio.gather(*(take(session) for _ in range(IN_FLIGHT)))
        return results

    return asyncio.run(work())


PEERS: dict[str, Callable[[str, Sequence[Any]], list[Told]]] = {
    "requests_retry": requests_retry,
    "aiohttp_retry": aiohttp_retry,
    "requests_once": requests_once,
}


def main() -> None:
    name, url, bodies, results = sys.argv[1:]
    lines = Path(bodies).read_text(encoding="utf-8").splitlines()
    found = PEERS[name](url, [json.loads(line) for line in lines])
    Path(results).write_text("".join(json.dumps(line) + "\n" for line in found), encoding="utf-8")


if __name__ == "__main__":
    main()
