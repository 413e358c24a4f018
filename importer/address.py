"""The service's address: what people write it like, and what leads are known by."""

import re
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from importer.errors import Refused

_RIGHT = "Right is, for instance, https://call.otonistark.com.br/api."
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise_address(text: str) -> str:
    """Return the service's base address from what people paste: the host, `…/api`, `…/api/` or the whole endpoint.

    Scheme and host come back in lower case, without the default port and without a slash at the end. Raises `Refused`
    for what is no such address, and for anything but https outside this machine.
    """
    said = text.strip()
    if "://" not in said:
        bare = _split(f"//{said}", text)
        said = f"{'http' if bare.port and _is_loopback(bare.hostname or '') else 'https'}://{said}"
    parts = _split(said, text)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    if "@" in parts.netloc or "?" in said or "#" in said:
        raise Refused(f"address of the service: {scheme}://{host}… with a user, a query or a fragment. {_RIGHT}")
    if scheme not in _DEFAULT_PORTS or not _is_host(host) or not re.fullmatch(r"[\w.~/-]*", parts.path, re.ASCII):
        raise Refused(f"address of the service: {_shown(text)} is none. {_RIGHT}")
    if scheme == "http" and not _is_loopback(host):
        raise Refused(
            f"address of the service: {_shown(text)} would send the key and people's data unencrypted. Write https://."
        )
    path = re.sub("/{2,}", "/", parts.path).rstrip("/")
    path = re.sub(r"/user/leads?$", "", path) or "/api"
    if "/user" in path or ".." in path:
        raise Refused(f"address of the service: {_shown(text)} goes on after its base. {_RIGHT}")
    port = "" if parts.port in (None, _DEFAULT_PORTS[scheme]) else f":{parts.port}"
    return f"{scheme}://{f'[{ip_address(host).compressed}]' if ':' in host else host}{port}{path}"


def base_address(base_url: str | None, configured: str) -> str:
    """Return the service's address: the command line's, else the config's."""
    # An empty --base-url is a variable of a shell that was not set: the config's address may be another one.
    return normalise_address(configured if base_url is None else base_url)


def with_instance(address: str, instance: str | None) -> str:
    """Return what identities are made of: a sandbox that starts anew knows nothing of its former leads."""
    return f"{address}#{instance}" if instance else address


def is_loopback(address: str) -> bool:
    """Tell whether an address is this machine's: only there can a sandbox be."""
    return _is_loopback(urlsplit(address).hostname or "")


def _split(said: str, text: str) -> SplitResult:
    try:
        parts = urlsplit(said)
        if parts.port == 0:
            raise ValueError
    except ValueError:
        raise Refused(
            f"address of the service: {_shown(text)} is none: look at its port and brackets. {_RIGHT}"
        ) from None
    return parts


def _shown(text: str) -> str:
    """Quote an address, but nothing that might hold a secret: people paste keys into the wrong place."""
    return repr(text) if re.fullmatch(r"[\w.:/\[\]\s~-]*", text) else "what stands there"


def _is_host(host: str) -> bool:
    return _is_ip(host) if ":" in host else bool(re.fullmatch(r"[\w-]+(\.[\w-]+)*", host))


def _is_ip(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host).compressed)
    return False


def _is_loopback(host: str) -> bool:
    return host.lower() == "localhost" or (_is_ip(host) and ip_address(host).is_loopback)
