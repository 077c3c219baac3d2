"""Credentials and tokens."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from tests.support.faulty import Proxy, redirect, status
from tests.unit.images.conftest import Pushed

from podyard.cri import api
from podyard.errors import InvalidArgument, PermissionDenied, RegistryUnavailable
from podyard.images.auth import Challenge, Credentials, challenges
from podyard.images.store import ImageStore


def test_credentials_come_from_any_field_of_the_request() -> None:
    encoded = base64.b64encode(b"me:se:cret\0").decode()
    assert Credentials.of(api.AuthConfig(username="me", password="x")) == Credentials("me", "x")
    assert Credentials.of(api.AuthConfig(auth=encoded)) == Credentials("me", "se:cret")
    broken = base64.encodebytes(b"me:" + b"x" * 90).decode()
    assert Credentials.of(api.AuthConfig(auth=broken)) == Credentials("me", "x" * 90)
    assert Credentials.of(api.AuthConfig(identity_token="t")) == Credentials(identity_token="t")
    assert Credentials.of(api.AuthConfig(registry_token="t")) == Credentials(registry_token="t")
    assert Credentials.of(api.AuthConfig(server_address="a.b")) is None
    assert Credentials.of(api.AuthConfig()) is None


@pytest.mark.parametrize(
    ("address", "server"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry.test:5000", "registry.test:5000"),
        ("http://registry.test/v2", "registry.test"),
    ],
)
def test_a_server_address_is_a_host(address: str, server: str) -> None:
    made = Credentials.of(api.AuthConfig(username="me", server_address=address))
    assert made is not None
    assert made.server == server


@pytest.mark.parametrize("auth", ["%%%", base64.b64encode(b"no colon").decode(), base64.b64encode(b"\xff:").decode()])
def test_auth_that_is_no_pair_is_refused(auth: str) -> None:
    with pytest.raises(InvalidArgument, match="base64 of user:password"):
        Credentials.of(api.AuthConfig(auth=auth))


def test_credentials_show_no_secret() -> None:
    text = repr(Credentials("me", "secret", "secret", "secret"))
    assert "me" in text
    assert "secret" not in text


def test_challenges_are_read_in_all_their_forms() -> None:
    found = challenges(
        [
            'Bearer realm="https://a/token",service="b c",scope="repository:x:pull,push"',
            "basic Realm=plain",
            "Negotiate",
            'Digest realm="x"',
            "",
        ]
    )
    assert found == [
        Challenge("bearer", {"realm": "https://a/token", "service": "b c", "scope": "repository:x:pull,push"}),
        Challenge("basic", {"realm": "plain"}),
    ]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (
            'Bearer realm="https://a/token",service="b", Basic realm="c"',
            [("bearer", {"realm": "https://a/token", "service": "b"}), ("basic", {"realm": "c"})],
        ),
        (
            'Basic realm="a, Bearer realm=b" , bearer realm = "https://a/token"',
            [("basic", {"realm": "a, Bearer realm=b"}), ("bearer", {"realm": "https://a/token"})],
        ),
        ('Negotiate, Basic realm="a"', [("basic", {"realm": "a"})]),
        ('Digest realm="a", nonce="b", Basic', [("basic", {})]),
        ("Basic", [("basic", {})]),
    ],
)
def test_one_header_may_have_several_challenges(header: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert challenges([header]) == [Challenge(scheme, parameters) for scheme, parameters in found]


class TokenServer:
    """Gives tokens. ``asked`` holds what it was asked with; ``answer`` replaces its answer."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answer: web.Response | None = None
        self.address = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        query = {"method": request.method, **request.query, **{key: str(value) for key, value in form.items()}}
        self.asked.append({**query, "auth": request.headers.get("Authorization", "")})
        return self.answer or web.json_response({"token": f"token-{len(self.asked)}"})


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    app = web.Application()
    app.router.add_route("*", "/token", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.address = f"127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


class Guard:
    """Makes a proxy want a Bearer token."""

    def __init__(self, proxy: Proxy, realm: str, scope: str) -> None:
        self.good: set[str] = set()
        self.refused = 0
        self._header = {"WWW-Authenticate": f'Bearer realm="{realm}",service="reg",scope="{scope}"'}
        proxy.fault("/v2/", self._check, times=10_000)

    async def _check(self, request: web.Request, answer: web.Response) -> web.StreamResponse:
        if request.headers.get("Authorization", "") in self.good:
            return answer
        self.refused += 1
        return web.Response(status=401, headers=self._header)


@pytest.fixture
def guard(proxy: Proxy, pushed: Pushed, tokens: TokenServer) -> Guard:
    guard = Guard(proxy, f"http://{tokens.address}/token", f"repository:{pushed.repository}:pull")
    guard.good = {"Bearer token-1"}
    return guard


async def test_an_anonymous_token_is_fetched_once_for_a_pull(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, guard: Guard, store: ImageStore
) -> None:
    await store.pull(f"{proxy.address}/{pushed.repository}:1")
    scope = f"repository:{pushed.repository}:pull"
    assert tokens.asked == [{"method": "GET", "service": "reg", "scope": scope, "auth": ""}]
    assert guard.refused == 1


async def test_where_the_registry_names_no_scope_the_token_is_for_pulling_the_repository(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, store: ImageStore
) -> None:
    guard = Guard(proxy, f"http://{tokens.address}/token", "")
    guard.good = {"Bearer token-1"}
    await store.pull(f"{proxy.address}/{pushed.repository}:1")
    assert [asked["scope"] for asked in tokens.asked] == [f"repository:{pushed.repository}:pull"]


async def test_a_password_is_exchanged_for_a_token(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, guard: Guard, store: ImageStore
) -> None:
    await store.pull(f"{proxy.address}/{pushed.repository}:1", Credentials("me", "pass"))
    assert [asked["auth"] for asked in tokens.asked] == ["Basic " + base64.b64encode(b"me:pass").decode()]
    assert not any("Basic" in headers.get("Authorization", "") for _, headers in proxy.seen)


async def test_an_identity_token_is_exchanged_for_a_token(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, guard: Guard, store: ImageStore
) -> None:
    await store.pull(f"{proxy.address}/{pushed.repository}:1", Credentials(identity_token="refresh"))
    assert [(asked["method"], asked["grant_type"], asked["refresh_token"]) for asked in tokens.asked] == [
        ("POST", "refresh_token", "refresh")
    ]


async def test_a_registry_token_is_used_as_it_is(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, guard: Guard, store: ImageStore
) -> None:
    guard.good = {"Bearer ready"}
    await store.pull(f"{proxy.address}/{pushed.repository}:1", Credentials(registry_token="ready"))
    assert tokens.asked == []


async def test_a_token_that_has_expired_is_renewed(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, guard: Guard, store: ImageStore
) -> None:
    async def expire(request: web.Request, answer: web.Response) -> web.StreamResponse:
        guard.good = {"Bearer token-2"}
        return await guard._check(request, answer)

    proxy._faults.insert(0, ("/blobs/", 1, expire))
    await store.pull(f"{proxy.address}/{pushed.repository}:1")
    assert len(tokens.asked) == 2


async def test_a_token_that_does_not_help_is_a_refusal(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, guard: Guard, store: ImageStore
) -> None:
    guard.good = set()
    with pytest.raises(PermissionDenied, match=f"{proxy.address} refuses access, or does not have it"):
        await store.pull(f"{proxy.address}/{pushed.repository}:1")
    assert len(tokens.asked) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405])
async def test_no_token_is_a_refusal(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, guard: Guard, store: ImageStore, code: int
) -> None:
    tokens.answer = web.json_response({"errors": [{"code": "DENIED", "message": "who?"}]}, status=code)
    with pytest.raises(PermissionDenied, match=rf"gives no token for {proxy.address}: DENIED who\?"):
        await store.pull(f"{proxy.address}/{pushed.repository}:1", Credentials("me", "wrong"))


@pytest.mark.parametrize("text", ["", "{}", "[", '{"token": "a\\nb"}', '{"token": 1}', '{"token": "\u00e4"}'])
async def test_an_unusable_token_is_told(
    proxy: Proxy, pushed: Pushed, tokens: TokenServer, guard: Guard, store: ImageStore, text: str
) -> None:
    tokens.answer = web.Response(text=text)
    with pytest.raises(RegistryUnavailable, match="token"):
        await store.pull(f"{proxy.address}/{pushed.repository}:1")


async def test_a_challenge_without_a_token_server_is_told(proxy: Proxy, pushed: Pushed, store: ImageStore) -> None:
    proxy.fault("/manifests/", status(401, {"WWW-Authenticate": "Bearer"}), times=9)
    with pytest.raises(PermissionDenied, match="names no server that gives one"):
        await store.pull(f"{proxy.address}/{pushed.repository}:1")


async def test_whom_a_redirect_leads_to_cannot_ask_for_credentials(
    proxy: Proxy, upstream: str, pushed: Pushed, store: ImageStore, tokens: TokenServer
) -> None:
    async with Proxy(upstream).serving() as elsewhere:
        challenge = f'Bearer realm="http://{tokens.address}/token",service="x"'
        elsewhere.fault("/blobs/", status(401, {"WWW-Authenticate": challenge}), times=99)
        proxy.fault("/blobs/", redirect(lambda request: f"http://{elsewhere.address}{request.path_qs}"), times=99)
        with pytest.raises(PermissionDenied, match="refuses access"):
            await store.pull(f"{proxy.address}/{pushed.repository}:1", Credentials("me", "secret"))
        assert elsewhere.asked
    assert tokens.asked == []


async def test_a_realm_that_is_not_secure_gets_no_credentials(
    proxy: Proxy, pushed: Pushed, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yarl import URL

    monkeypatch.setattr("podyard.images.transport.is_loopback", lambda host: False)
    from podyard.images.registries.endpoint import Endpoint

    endpoint = Endpoint("registry.test", credentials=[Credentials("me", "pass")])
    ways = ['Bearer realm="http://tokens.test/token"']
    with pytest.raises(PermissionDenied, match=r"sends credentials to http://tokens\.test, which is not secure"):
        await store._puller._transport._authorize(endpoint, ways, URL("https://registry.test/v2/"))


async def test_basic_credentials_are_sent_when_they_are_asked_for(
    proxy: Proxy, pushed: Pushed, store: ImageStore
) -> None:
    name = f"{proxy.address}/{pushed.repository}:1"
    proxy.fault("/manifests/", status(401, {"WWW-Authenticate": 'Basic realm="x"'}))
    await store.pull(name, Credentials("me", "pass"))
    sent = [headers.get("Authorization") for _, headers in proxy.seen]
    assert sent[0] is None
    assert set(sent[1:]) == {"Basic " + base64.b64encode(b"me:pass").decode()}


async def test_missing_and_wrong_credentials_are_told_apart(proxy: Proxy, pushed: Pushed, store: ImageStore) -> None:
    name = f"{proxy.address}/{pushed.repository}:1"
    proxy.fault("/manifests/", status(401, {"WWW-Authenticate": 'Basic realm="x"'}), times=99)
    with pytest.raises(PermissionDenied, match="wants credentials: the pull has none for it"):
        await store.pull(name)
    with pytest.raises(PermissionDenied, match="wants credentials: the pull has none for it"):
        await store.pull(name, Credentials("me", "pass", server="other.test"))
    with pytest.raises(PermissionDenied, match="refuses access"):
        await store.pull(name, Credentials("me", "wrong"))
