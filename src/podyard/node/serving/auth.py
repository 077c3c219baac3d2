"""Who asks, and whether they may (Kubernetes documentation, "Kubelet authentication/authorization").

A client's certificate says who it is by its subject; a bearer token is shown to the API server. Where there is an API
server it also decides what each user may do; where there is none, whom the node's authorities know may do all.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from podyard.errors import DataLoss, PermissionDenied, PodyardError
from podyard.node.kube import KubeClient

logger = logging.getLogger(__name__)

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
AUTHENTICATED = "system:authenticated"

KNOWN_FOR = 120.0
"""Seconds for which a token counts after the API server has accepted it; a kubelet's default."""
UNKNOWN_FOR = 10.0
"""Seconds for which one that it refused is refused."""
ALLOWED_FOR = 300.0
"""Seconds for which what it allowed is allowed; a kubelet's default, as the next."""
DENIED_FOR = 30.0
REMEMBERED = 4096
"""Answers kept, of each kind."""

_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_THEIR_OWN = {"stats": "stats", "metrics": "metrics", "logs": "log", "spec": "spec", "checkpoint": "checkpoint"}
"""Subresources of nodes that paths belong to; all others are "proxy"."""
_FINER = {"pods": "pods", "runningpods": "pods", "healthz": "healthz", "configz": "configz"}
"""Those of which each is enough by itself (KEP-2862); who may all of "proxy" may them, too."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class Unauthenticated(PermissionDenied):
    """Nobody knows who asks."""


class Forbidden(PermissionDenied):
    """Whoever asks may not do this."""


class User(msgspec.Struct, frozen=True):
    """Somebody, as reviews tell of them."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] = {}


class _TokenStatus(msgspec.Struct):
    authenticated: bool = False
    user: User = User()


class _AccessStatus(msgspec.Struct):
    allowed: bool = False
    denied: bool = False
    reason: str = ""


class Gate:
    """Lets requests in. ``kube``: the API server that is asked; ``node``: the Node's name there.

    Raises Unauthenticated and Forbidden, and what the API server answers when it cannot be asked what a user may do.
    """

    def __init__(self, kube: KubeClient | None, node: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._node = node
        self._users: _Known[bytes, User | None] = _Known(clock)
        self._decisions: _Known[bytes, str | None] = _Known(clock)

    async def admit(self, method: str, path: str, *, certificate: Mapping[str, Any] | None, authorization: str) -> User:
        """Who asks, if they may. ``certificate``: as ``ssl.SSLSocket.getpeercert`` tells it, once it was verified;
        ``authorization``: the header."""
        try:
            user = user_of(certificate or {}) or await self._bearer(authorization)
        except PodyardError as error:
            # Whoever may be anybody is not told how the node's API server is.
            logger.warning("a token cannot be reviewed, so its owner is not let in: %s", error)
            raise Unauthenticated("Unauthorized") from error
        if user is None:
            raise Unauthenticated("Unauthorized")
        if self._kube is not None:
            await self._check(self._kube, user, method, path)
        return user

    async def _bearer(self, authorization: str) -> User | None:
        kind, _, token = authorization.strip().partition(" ")
        token = token.strip()
        if self._kube is None or kind.lower() != "bearer" or not token:
            return None
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        if key in self._users:
            return self._users[key]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = _status(await self._kube.create(TOKEN_REVIEWS, body), _TokenStatus)
        known = status.authenticated and status.user.username
        user = _authenticated(status.user) if known else None
        self._users.remember(key, user, KNOWN_FOR if user else UNKNOWN_FOR)
        return user

    async def _check(self, kube: KubeClient, user: User, method: str, path: str) -> None:
        verb, subresources = attributes(method, path)
        said: str | None = ""
        for subresource in subresources:
            asked = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": self._node}
            said = await self._refusal(kube, user, asked)
            if said is None:
                return
        text = f"Forbidden (user={user.username}, verb={verb}, resource=nodes, subresource={subresources[-1]})"
        raise Forbidden(f"{text}: {said}")

    async def _refusal(self, kube: KubeClient, user: User, asked: Mapping[str, str]) -> str | None:
        """Why something is not allowed; None when it is."""
        named = msgspec.to_builtins(user)
        spec = {"user": named.pop("username"), **named, "resourceAttributes": asked}
        key = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).digest()
        if key in self._decisions:
            return self._decisions[key]
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = _status(await kube.create(ACCESS_REVIEWS, body), _AccessStatus)
        refusal = None if status.allowed and not status.denied else status.reason or "no rule allows it"
        self._decisions.remember(key, refusal, ALLOWED_FOR if refusal is None else DENIED_FOR)
        return refusal


def user_of(certificate: Mapping[str, Any]) -> User | None:
    """Whom a certificate's subject names: the common name is the user, each organization a group. None for nobody."""
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    name = next((value for field, value in subject if field == "commonName"), "")
    groups = tuple(value for field, value in subject if field == "organizationName")
    return _authenticated(User(username=name, groups=groups)) if name else None


def attributes(method: str, path: str) -> tuple[str, Sequence[str]]:
    """What a request is for an authorizer: the verb, and subresources of nodes of which one must be allowed.

    Source: the kubelet's own table. Exec over WebSocket is a GET, so "get" on "proxy" lets in to containers.
    """
    first = path.strip("/").partition("/")[0]
    subresource = _OF_THEIR_OWN.get(first, "proxy")
    return _VERBS.get(method, method.lower()), [_FINER[first], subresource] if first in _FINER else [subresource]


class _Known(Generic[Key, Value]):
    """Answers, each for a time; beyond ``REMEMBERED`` the oldest are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        found = self._found.get(key)
        return found is not None and self._clock() < found[0]

    def __getitem__(self, key: Key) -> Value:
        return self._found[key][1]

    def remember(self, key: Key, value: Value, seconds: float) -> None:
        self._found[key] = self._clock() + seconds, value
        self._found.move_to_end(key)
        while len(self._found) > REMEMBERED:
            self._found.popitem(last=False)


Status = TypeVar("Status")


def _status(answer: Mapping[str, Any], kind: type[Status]) -> Status:
    try:
        return msgspec.convert(answer.get("status") or {}, kind)
    except msgspec.ValidationError as error:
        raise DataLoss(f"the API server's review cannot be read: {error}") from error


def _authenticated(user: User) -> User:
    return msgspec.structs.replace(user, groups=tuple(dict.fromkeys((*user.groups, AUTHENTICATED))))
