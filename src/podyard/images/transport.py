"""HTTP with one endpoint of a registry: schemes, redirects, credentials, and what its answers mean."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podyard.errors import PermissionDenied, RegistryUnavailable
from podyard.images.answers import SAID_LIMIT, SMALL_LIMIT, Passing, read_limited, read_token, refuse, said
from podyard.images.auth import Credentials, challenges
from podyard.images.config import ImagesConfig
from podyard.images.connections import no_connection, speaks_no_tls, why
from podyard.images.registries.endpoint import Endpoint, Tls, is_loopback
from podyard.images.registries.proxies import proxy_for

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

REDIRECTS_LIMIT = 10


class Transport:
    """The connections to all registries. aiohttp is imported with the first request."""

    def __init__(self, config: ImagesConfig) -> None:
        self._config = config
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()
        self._contexts: dict[tuple[Tls, tuple[int, ...]], ssl.SSLContext] = {}

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
            raise Passing(f"the connection to {endpoint.host} was cut: {why(error)}") from error
        finally:
            response.close()

    async def _authorized(
        self, endpoint: Endpoint, path: str, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """The answer with the first of the endpoint's credentials that are accepted, or the refusal of the last."""
        while True:
            tried = endpoint.credentials[:1]
            try:
                response = await self._challenged(endpoint, path, headers, params)
            except PermissionDenied:
                if not _give_up(endpoint, tried):
                    raise
                continue
            if response.status not in {401, 403} or not _give_up(endpoint, tried):
                return response
            response.close()

    async def _challenged(
        self, endpoint: Endpoint, path: str, headers: Mapping[str, str], params: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        used = endpoint.authorization
        response = await self._schemes(endpoint, path, headers, params)
        # Where a redirect leads to, nobody gets our credentials by asking for them, or by naming a token server.
        if response.status != 401 or not _is_at(response.url, endpoint.host):
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
            url = URL(f"{scheme}://{endpoint.host}{endpoint.root}/{path}", encoded=True).with_query(params)
            try:
                response = await self._redirected(endpoint, url, headers)
            except aiohttp.ClientError as error:
                if scheme != schemes[-1] and speaks_no_tls(error):
                    continue
                failure = no_connection(error, endpoint.host)
                if endpoint.mirror and isinstance(error, aiohttp.ConnectionTimeoutError):
                    # There are others to ask, and the kernel has tried more than once already.
                    failure = RegistryUnavailable(failure.args[0])
                raise failure from error
            # For this pull alone: by the next one the registry may have got a certificate.
            endpoint.schemes = (scheme,)
            return response
        raise AssertionError("there is always a scheme")

    async def _redirected(self, endpoint: Endpoint, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        origin = url.origin()
        for _ in range(REDIRECTS_LIMIT):
            sent = [("Accept-Encoding", "identity"), *headers.items()]
            # A blob store that the registry sends us to gets no credentials. From HTTP to HTTPS it stays itself.
            if url.origin() == origin or (url.scheme == "https" and _is_at(url, endpoint.host)):
                sent += endpoint.headers
                if endpoint.authorization:
                    sent.append(("Authorization", endpoint.authorization))
            response = await self._request("GET", url, endpoint, sent)
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

    def _schemes_of(self, endpoint: Endpoint) -> tuple[str, ...]:
        if endpoint.schemes:
            return endpoint.schemes
        if endpoint.host in self._config.insecure_registries:
            return ("http",)
        return ("https", "http") if is_loopback(endpoint.host) else ("https",)

    async def _authorize(self, endpoint: Endpoint, ways: list[str], asked: URL) -> str:
        credentials = endpoint.credentials[0] if endpoint.credentials else None
        if credentials and credentials.registry_token and not endpoint.authorization:
            return f"Bearer {credentials.registry_token}"
        for challenge in challenges(ways):
            if challenge.scheme == "bearer":
                return f"Bearer {await self._token(endpoint, challenge.parameters, asked)}"
            if credentials and credentials.username and not endpoint.authorization:
                return credentials.basic()
        if endpoint.authorization or (credentials and credentials.username):
            raise PermissionDenied(f"{endpoint.host} does not accept the credentials of this pull")
        problems = "".join(f"; {problem}" for problem in endpoint.problems)
        raise PermissionDenied(
            f"{endpoint.host} wants credentials: the pull has none for it, and no file of this host{problems}"
        )

    async def _token(self, endpoint: Endpoint, parameters: Mapping[str, str], asked: URL) -> str:
        import aiohttp

        if not parameters.get("realm"):
            raise PermissionDenied(f"{endpoint.host} wants a token, and names no server that gives one")
        realm = _join(asked, parameters["realm"], endpoint.host)
        if realm.scheme != "https" and not self._plain_allowed(asked.origin(), realm):
            raise PermissionDenied(f"{endpoint.host} sends credentials to {realm.origin()}, which is not secure")
        query = {key: parameters[key] for key in ("service", "scope") if parameters.get(key)}
        # A challenge need not have a scope; who asks knows what for.
        query.setdefault("scope", f"repository:{endpoint.repository}:pull")
        credentials = endpoint.credentials[0] if endpoint.credentials else Credentials()
        # What opens the door before the registry opens its token server's, too.
        headers = [*endpoint.headers] if realm.origin() == asked.origin() else []
        try:
            if credentials.identity_token:
                form = {"grant_type": "refresh_token", "client_id": "podyard"}
                form["refresh_token"] = credentials.identity_token
                response = await self._request("POST", realm, endpoint, headers, data={**query, **form})
            else:
                headers += [("Authorization", credentials.basic())] if credentials.username else []
                response = await self._request("GET", realm.update_query(query), endpoint, headers)
            async with response:
                if response.status in {400, 401, 403, 404, 405}:
                    raise PermissionDenied(f"{realm.host} gives no token for {endpoint.host}{await said(response)}")
                if response.status != 200:
                    await refuse(response, str(realm.host))
                return read_token(await read_limited(response, SMALL_LIMIT, "a token"), str(realm.host))
        except TimeoutError as error:
            raise Passing(f"{realm.host} sent nothing for {self._config.progress_timeout:g} s") from error
        except aiohttp.ClientError as error:
            raise no_connection(error, str(realm.host)) from error

    async def _request(
        self, method: str, url: URL, endpoint: Endpoint, headers: Sequence[tuple[str, str]], **more: Any
    ) -> aiohttp.ClientResponse:
        session = await self._opened()
        from multidict import CIMultiDict

        # Another host gets to see no certificate of ours.
        tls = endpoint.tls if url.raw_authority == endpoint.host else replace(endpoint.tls, clients=())
        try:
            return await session.request(
                method,
                url,
                headers=CIMultiDict(headers),
                allow_redirects=False,
                proxy=endpoint.proxy or proxy_for(url.scheme, url.raw_authority),
                max_field_size=65536,
                timeout=self._timeout(endpoint),
                ssl=await self._context(tls) if url.scheme == "https" else True,
                **more,
            )
        except UnicodeError as error:
            # The resolver's, for names with parts of more than 63 characters.
            raise RegistryUnavailable(f"{url.raw_host} can be no host's name") from error

    async def _context(self, tls: Tls) -> ssl.SSLContext:
        """The TLS settings, read again when a file has changed. Raises RegistryUnavailable when one cannot be used."""
        named = [path for pair in tls.clients for path in pair if path is not None]
        files = [*([self._config.ca_file] if self._config.ca_file else []), *tls.authorities, *named]
        key = (tls, tuple(_changed(path) for path in files))
        if key not in self._contexts:
            context = await asyncio.to_thread(_context, tls, self._config.ca_file)
            for old in [other for other in self._contexts if other[0] == tls]:
                del self._contexts[old]
            self._contexts[key] = context
        return self._contexts[key]

    def _timeout(self, endpoint: Endpoint) -> aiohttp.ClientTimeout:
        import aiohttp

        connect = endpoint.connect_timeout or self._config.connect_timeout
        return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=self._config.progress_timeout)

    async def _opened(self) -> aiohttp.ClientSession:
        async with self._opening:
            if self._session is None:
                self._session = await self._open()
            return self._session

    async def _open(self) -> aiohttp.ClientSession:
        # Importing takes longer than the event loop may be held.
        await asyncio.to_thread(importlib.import_module, "aiohttp")
        import aiohttp

        from podyard import __version__

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"podyard/{__version__}"},
        )


def _give_up(endpoint: Endpoint, tried: list[Credentials]) -> bool:
    """Go on to the next credentials, unless another request has done so; False where there are none."""
    if len(endpoint.credentials) < 2:
        return endpoint.credentials[:1] != tried
    if endpoint.credentials[:1] == tried:
        del endpoint.credentials[0]
        endpoint.authorization = ""
    return True


def _is_at(url: URL, host: str) -> bool:
    """Whether a URL is of "host[:port]", where a scheme's own port may be left out."""
    return url.origin() == type(url)(f"{url.scheme}://{host}", encoded=True).origin()


def _join(base: URL, target: str, host: str) -> URL:
    from yarl import URL

    try:
        url = base.join(URL(target, encoded=True))
        # Host and port are looked at only where a URL is made of a text.
        URL(str(url.origin()))
    except ValueError as error:
        raise RegistryUnavailable(f"{host} points to {target[:SAID_LIMIT]!r}, which is no URL") from error
    return url


def _context(tls: Tls, ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in (*([ca_file] if ca_file else []), *tls.authorities):
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            raise RegistryUnavailable(f"cannot read the certificates in {path}: {error}") from error
    for certificate, key in tls.clients:
        try:
            # A password would be asked for on a terminal.
            context.load_cert_chain(certificate, key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise RegistryUnavailable(f"cannot use the client certificate {certificate}: {error}") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
