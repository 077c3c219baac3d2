"""HTTP with one endpoint of a registry: schemes, redirects, credentials, and what its answers mean."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from podyard.errors import PermissionDenied, RegistryUnavailable
from podyard.images.answers import SAID_LIMIT, SMALL_LIMIT, Passing, read_limited, read_token, refuse, said
from podyard.images.auth import Credentials, challenges
from podyard.images.config import ImagesConfig

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

REDIRECTS_LIMIT = 10


@dataclass
class Endpoint:
    """A registry or a mirror of it, and what it knows us by for one repository."""

    host: str
    prefix: str = ""
    """A path before /v2/."""
    scheme: str = ""
    """"http" or "https" where the configuration says so."""
    credentials: Credentials | None = None
    authorization: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Transport:
    """The connections to all registries. aiohttp is imported with the first request."""

    def __init__(self, config: ImagesConfig) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._plain: set[str] = set()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def get(
        self, endpoint: Endpoint, path: str, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The good answer (2xx) to a GET of ``path`` ("library/busybox/manifests/latest").

        Raises NotFound, PermissionDenied, Passing for what may pass, RegistryUnavailable for the rest; also while
        the answer is read.
        """
        await self._opened()
        import aiohttp

        response = await self._authorized(endpoint, path, headers, params)
        try:
            if not 200 <= response.status < 300:
                await refuse(response, endpoint.host)
            yield response
        except TimeoutError as error:
            raise Passing(f"{endpoint.host} sent nothing for {self._config.progress_timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise Passing(f"the connection to {endpoint.host} was cut: {error}") from error
        finally:
            response.close()

    async def _authorized(
        self, endpoint: Endpoint, path: str, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        used = endpoint.authorization
        response = await self._schemes(endpoint, path, headers, params)
        if response.status != 401:
            return response
        ways = response.headers.getall("WWW-Authenticate", [])
        response.close()
        async with endpoint.lock:
            # Another request may have got a new token meanwhile.
            if endpoint.authorization == used:
                endpoint.authorization = await self._authorize(endpoint, ways, response.url)
        return await self._schemes(endpoint, path, headers, params)

    async def _schemes(
        self, endpoint: Endpoint, path: str, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        import aiohttp
        from yarl import URL

        schemes = self._schemes_of(endpoint)
        for scheme in schemes:
            url = URL(f"{scheme}://{endpoint.host}{endpoint.prefix}/v2/{path}", encoded=True).with_query(params)
            try:
                response = await self._redirected(endpoint, url, headers)
            except aiohttp.ClientError as error:
                trusted = not isinstance(error, aiohttp.ClientConnectorCertificateError)
                if trusted and scheme != schemes[-1]:
                    continue
                raise _no_connection(error, endpoint.host) from error
            if scheme == "http":
                self._plain.add(endpoint.host)
            return response
        raise AssertionError("there is always a scheme")

    async def _redirected(self, endpoint: Endpoint, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        origin = url.origin()
        for _ in range(REDIRECTS_LIMIT):
            sent = {"Accept-Encoding": "identity", **headers}
            # A blob store that the registry sends us to gets no credentials.
            if endpoint.authorization and url.origin() == origin:
                sent["Authorization"] = endpoint.authorization
            response = await self._request("GET", url, sent)
            if response.status not in {301, 302, 303, 307, 308}:
                return response
            target = response.headers.get("Location", "")
            response.close()
            url = _join(url, target, endpoint.host)
            if url.scheme != "https" and not (url.scheme == "http" and self._plain_allowed(origin, url)):
                raise RegistryUnavailable(f"{endpoint.host} redirects to {url.origin()}, which is not secure")
        raise RegistryUnavailable(f"{endpoint.host} redirects more than {REDIRECTS_LIMIT} times")

    def _plain_allowed(self, origin: URL, url: URL) -> bool:
        host = url.raw_authority
        return origin.scheme == "http" or host in self._config.insecure_registries or is_loopback(host)

    def _schemes_of(self, endpoint: Endpoint) -> list[str]:
        if endpoint.scheme:
            return [endpoint.scheme]
        if endpoint.host in self._config.insecure_registries or endpoint.host in self._plain:
            return ["http"]
        return ["https", "http"] if is_loopback(endpoint.host) else ["https"]

    async def _authorize(self, endpoint: Endpoint, ways: list[str], asked: URL) -> str:
        credentials = endpoint.credentials
        if credentials and credentials.registry_token and not endpoint.authorization:
            return f"Bearer {credentials.registry_token}"
        for challenge in challenges(ways):
            if challenge.scheme == "bearer":
                return f"Bearer {await self._token(endpoint, challenge.parameters, asked)}"
            if credentials and credentials.username and not endpoint.authorization:
                return credentials.basic()
        if endpoint.authorization or (credentials and credentials.username):
            raise PermissionDenied(f"{endpoint.host} does not accept the credentials of this pull")
        raise PermissionDenied(f"{endpoint.host} wants credentials: the pull has none for it")

    async def _token(self, endpoint: Endpoint, parameters: Mapping[str, str], asked: URL) -> str:
        import aiohttp

        realm = _join(asked, parameters.get("realm", ""), endpoint.host)
        if realm.scheme != "https" and not self._plain_allowed(asked.origin(), realm):
            raise PermissionDenied(f"{endpoint.host} sends credentials to {realm.origin()}, which is not secure")
        query = {key: parameters[key] for key in ("service", "scope") if parameters.get(key)}
        credentials = endpoint.credentials or Credentials()
        try:
            if credentials.identity_token:
                form = {"grant_type": "refresh_token", "client_id": "podyard"}
                form["refresh_token"] = credentials.identity_token
                response = await self._request("POST", realm, {}, data={**query, **form})
            else:
                headers = {"Authorization": credentials.basic()} if credentials.username else {}
                response = await self._request("GET", realm.update_query(query), headers)
            async with response:
                if response.status in {400, 401, 403}:
                    raise PermissionDenied(f"{realm.host} gives no token for {endpoint.host}{await said(response)}")
                if response.status != 200:
                    await refuse(response, str(realm.host))
                return read_token(await read_limited(response, SMALL_LIMIT, "a token"), str(realm.host))
        except TimeoutError as error:
            raise Passing(f"{realm.host} sent nothing for {self._config.progress_timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise _no_connection(error, str(realm.host)) from error

    async def _request(self, method: str, url: URL, headers: Mapping[str, str], **more: Any) -> aiohttp.ClientResponse:
        session = await self._opened()
        return await session.request(
            method, url, headers=headers, allow_redirects=False, proxy=_proxy(url), max_field_size=65536, **more
        )

    async def _opened(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                self._session = await self._open()
            return self._session

    async def _open(self) -> aiohttp.ClientSession:
        config = self._config
        context = await asyncio.to_thread(_prepare, config)
        import aiohttp

        from podyard import __version__

        timeout = aiohttp.ClientTimeout(total=None, connect=config.connect_timeout, sock_read=config.progress_timeout)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"podyard/{__version__}"},
        )


def is_loopback(host: str) -> bool:
    """Whether "host[:port]" is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _no_connection(error: Exception, host: str) -> RegistryUnavailable:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return RegistryUnavailable(f"the certificate of {host} is not trusted: {error.certificate_error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno or 0
        # Only errors of the resolver have negative numbers, and texts worth showing.
        reason = os.strerror(number) if number > 0 else error.os_error.strerror or str(error.os_error)
        return RegistryUnavailable(f"cannot connect to {host}: {reason}")
    if isinstance(error, TimeoutError):
        return Passing(f"{host} does not answer in time")
    return Passing(f"the connection to {host} was cut: {error or type(error).__name__}")


def _join(base: URL, target: str, host: str) -> URL:
    from yarl import URL

    try:
        url = base.join(URL(target, encoded=True))
        url.origin()
    except ValueError as error:
        raise RegistryUnavailable(f"{host} points to {target[:SAID_LIMIT]!r}, which is no URL") from error
    return url


def _proxy(url: URL) -> str | None:
    """The proxy that the environment names for a URL (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)."""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    if not proxies or is_loopback(url.raw_authority) or proxy_bypass(url.raw_authority):
        return None
    return proxies.get(url.scheme)


def _prepare(config: ImagesConfig) -> ssl.SSLContext:
    """What takes longer than the event loop may be held: importing aiohttp, and reading the system's certificates."""
    importlib.import_module("aiohttp")
    context = ssl.create_default_context()
    if config.ca_file is not None:
        try:
            context.load_verify_locations(config.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise RegistryUnavailable(f"cannot read the certificates in {config.ca_file}: {error}") from error
    return context
