"""What aiohttp's errors mean to who pulls."""

from __future__ import annotations

import os

from podyard.errors import RegistryUnavailable
from podyard.images.answers import Passing


def speaks_no_tls(error: Exception) -> bool:
    """Whether plain HTTP may do better. A host that TLS led to, and that then hung up, has other reasons."""
    import aiohttp

    connecting = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return connecting and not isinstance(error, aiohttp.ClientConnectorCertificateError)


def no_connection(error: Exception, host: str) -> RegistryUnavailable:
    """The error for a request that got no answer. ``host``: the registry's; it may have sent us elsewhere."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError):
        there = f"[{error.host}]:{error.port}" if ":" in error.host else f"{error.host}:{error.port}"
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return RegistryUnavailable(
                f"the certificate of {there} is not trusted: {error.certificate_error} (authorities of your own are "
                "trusted by ca_file, and by ca.crt in the registry's directory below one of hosts_dirs)"
            )
        number = error.os_error.errno or 0
        # Only errors of the resolver have negative numbers, and texts worth showing.
        reason = os.strerror(number) if number > 0 else error.os_error.strerror or str(error.os_error)
        return RegistryUnavailable(f"cannot connect to {there}: {reason}")
    if isinstance(error, TimeoutError):
        return Passing(f"{host} does not answer in time")
    if isinstance(error, aiohttp.InvalidURL):
        # Other URLs were looked at before. This one may have a password in it.
        return RegistryUnavailable(
            f"the proxy for {host} is no URL: look at HTTPS_PROXY and HTTP_PROXY of podyard serve"
        )
    if isinstance(error, aiohttp.ClientHttpProxyError):
        proxy = error.request_info.real_url.host_port_subcomponent
        return Passing(f"the proxy {proxy} does not lead to {host}: {why(error)}")
    return Passing(f"the connection to {host} was cut: {why(error)}")


def why(error: Exception) -> str:
    """An error of aiohttp without its URL, which may hold a proxy's password or a signature that opens a blob."""
    import aiohttp

    if isinstance(error, aiohttp.ClientResponseError):
        return f"{error.status} {error.message.partition(chr(10))[0]}"
    return str(error) or type(error).__name__
