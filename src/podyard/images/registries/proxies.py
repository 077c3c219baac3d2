"""Which proxy a request goes through, as the environment says it.

The variables are read as curl and Go read them: HTTPS_PROXY and HTTP_PROXY by the request's scheme, in lower case too;
NO_PROXY is a list of names, of domains, of addresses and networks, each with a port if need be, or "*".
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from podyard.errors import RegistryUnavailable
from podyard.images.registries.endpoint import is_loopback


def proxy_for(scheme: str, authority: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The URL of the proxy for requests to "host[:port]"; None for a direct connection. This machine has none.

    Raises RegistryUnavailable for a proxy that speaks another protocol than HTTP.
    """
    name = f"{scheme}_proxy"
    # A CGI program's HTTP_PROXY comes from a request's header, but podyard is none.
    proxy = environment.get(name) or environment.get(name.upper())
    if not proxy or is_loopback(authority) or _excluded(scheme, authority, environment):
        return None
    kind, _, rest = proxy.lower().partition("://")
    if rest and kind not in {"http", "https"}:
        raise RegistryUnavailable(
            f"{name.upper()} names a {kind} proxy for {authority}, and podyard speaks to HTTP proxies only: "
            "name one, or the registry in NO_PROXY"
        )
    return proxy if rest else f"http://{proxy}"


def _excluded(scheme: str, authority: str, environment: Mapping[str, str]) -> bool:
    url = urlsplit(f"//{authority}")
    host = (url.hostname or "").rstrip(".")
    port = url.port or (443 if scheme == "https" else 80)
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return any(_matches(entry.strip().lower(), host, port) for entry in listed.split(",") if entry.strip())


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    network = _network(entry)
    if network is None:
        name, colon, number = entry.rpartition(":")
        if colon and number.isdigit():
            if int(number) != port:
                return False
            entry = name
        network = _network(entry.strip("[]"))
    if network is not None:
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    domain = entry.removeprefix("*").removeprefix(".")
    return host.endswith(f".{domain}") or (host == domain and not entry.startswith((".", "*")))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
