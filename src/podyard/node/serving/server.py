"""The node's own API over TLS, at a kubelet's paths."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from podyard.client import Client
from podyard.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PodyardError,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from podyard.node.agent import Agent
from podyard.node.disks import DiskUsage
from podyard.node.kube import KubeClient
from podyard.node.serving.auth import Forbidden, Gate, Unauthenticated
from podyard.node.serving.figures import Figures
from podyard.node.serving.logs import Logs
from podyard.node.serving.pods import NodePods
from podyard.node.serving.streams import Streams
from podyard.pods import PodEngine
from podyard.tls import Certificate, GivenPair, SelfSignedPair

logger = logging.getLogger(__name__)

PORT = 10250
"""A kubelet's."""
CLOSE_LIMIT = 0.5
"""Seconds that answers in flight get when the agent ends; sessions and followed logs would last for ever."""
LINE_LIMIT = 1 << 20
"""Bytes of a request's first line: a command for exec, with all its words, is a part of it."""
_FILES = "--tls-cert-file and --tls-private-key-file"
_CONTAINER = "/{namespace}/{pod}/{container}"
_CONTAINERS = (_CONTAINER, "/{namespace}/{pod}/{uid}/{container}")
_PODS = ("/{namespace}/{pod}", "/{namespace}/{pod}/{uid}")
_STATUSES: Mapping[type[PodyardError], HTTPStatus] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    InvalidArgument: HTTPStatus.BAD_REQUEST,
    FailedPrecondition: HTTPStatus.BAD_REQUEST,
    NotFound: HTTPStatus.NOT_FOUND,
    ResourceExhausted: HTTPStatus.TOO_MANY_REQUESTS,
    Unimplemented: HTTPStatus.NOT_IMPLEMENTED,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
}
_REASONS: Mapping[HTTPStatus, str] = {
    HTTPStatus.BAD_REQUEST: "BadRequest",
    HTTPStatus.UNAUTHORIZED: "Unauthorized",
    HTTPStatus.FORBIDDEN: "Forbidden",
    HTTPStatus.NOT_FOUND: "NotFound",
    HTTPStatus.TOO_MANY_REQUESTS: "TooManyRequests",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailable",
    HTTPStatus.GATEWAY_TIMEOUT: "Timeout",
}
_OTHERWISE = HTTPStatus.INTERNAL_SERVER_ERROR


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How the API is to be served."""

    own_certificate: Path
    """Where a certificate is kept that podyard makes."""
    address: str = "0.0.0.0"
    port: int = PORT
    """0 for any that is free."""
    certificate: Path | None = None
    """A certificate (PEM), with ``key``; None for one of podyard's own."""
    key: Path | None = None
    authorities: Path | None = None
    """Who may sign clients' certificates (PEM); None if none is taken."""
    anonymous_health: bool = False
    """Whether anybody may ask /healthz."""


@dataclass(frozen=True)
class NodeApi:
    """What the API is about. ``node``: the node's name; ``kube``: who knows users, and decides what they may."""

    client: Client
    engine: PodEngine
    agent: Agent
    pod_root: Path
    node: str
    kube: KubeClient | None


@asynccontextmanager
async def serving(api: NodeApi, settings: Serving, addresses: Sequence[str]) -> AsyncIterator[int]:
    """Serve while the block lasts; the port. ``addresses``: the host's, for a certificate of podyard's own.

    Raises ConfigError for files that cannot be used, FailedPrecondition when the port cannot be had.
    """
    context = await asyncio.to_thread(_context, settings, addresses)
    app = web.Application(middlewares=[_door(Gate(api.kube, api.node), anonymous_health=settings.anonymous_health)])
    disks = DiskUsage(api.engine)
    app.add_routes(_routes(api, disks))
    # What follows a log or waits for a command ends with whoever asked for it.
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=CLOSE_LIMIT,
        handler_cancellation=True,
        max_line_size=LINE_LIMIT,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.address, settings.port, ssl_context=context).start()
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen on {settings.address} port {settings.port} for the node's API: {error.strerror}; see "
                "--address and --port"
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
        await disks.close()


def _context(settings: Serving, addresses: Sequence[str]) -> ssl.SSLContext:
    if settings.certificate is not None and settings.key is not None:
        pair: GivenPair | SelfSignedPair = GivenPair(settings.certificate, settings.key)
    else:
        pair = SelfSignedPair(
            settings.own_certificate, ["127.0.0.1", "::1", *addresses, *_own(settings.address)], _FILES
        )
    return Certificate(pair, ssl.TLSVersion.TLSv1_2, _FILES, authorities=settings.authorities).context


def _own(address: str) -> list[str]:
    """The address that the API listens at; nothing where that is all of them, or a name."""
    try:
        return [] if ipaddress.ip_address(address).is_unspecified else [address]
    except ValueError:
        return []


def _routes(api: NodeApi, disks: DiskUsage) -> list[web.RouteDef]:
    pods = NodePods(api.engine, api.agent)
    streams = Streams(api.client, pods)
    figures = Figures(api.client, api.agent, pods, disks=disks, pod_root=api.pod_root, node=api.node)

    async def everything(request: web.Request) -> web.Response:
        return web.json_response(await pods.everything())

    async def running(request: web.Request) -> web.Response:
        return web.json_response(await pods.running())

    routes = [
        ("GET", "/healthz", _healthz),
        ("GET", "/pods", everything),
        ("GET", "/runningpods", running),
        ("GET", "/runningpods/", running),
        ("GET", f"/containerLogs{_CONTAINER}", Logs(api.engine, pods).get),
        ("GET", "/stats/summary", figures.summary),
        ("GET", "/metrics", figures.metrics),
        ("GET", "/metrics/resource", figures.resource),
        ("GET", "/metrics/cadvisor", figures.cadvisor),
        ("GET", "/metrics/probes", figures.probes),
        *(("POST", f"/run{path}", streams.run) for path in _CONTAINERS),
    ]
    for method in ("GET", "POST"):
        routes += [(method, f"/exec{path}", streams.exec) for path in _CONTAINERS]
        routes += [(method, f"/attach{path}", streams.attach) for path in _CONTAINERS]
        routes += [(method, f"/portForward{path}", streams.port_forward) for path in _PODS]
    return [web.route(method, path, handler) for method, path, handler in routes]


async def _healthz(request: web.Request) -> web.Response:
    return web.Response(text="ok")


def _door(gate: Gate, *, anonymous_health: bool) -> Middleware:
    """What every request comes through: who may not is sent away, and an error becomes an answer."""
    unguarded = {"/healthz"} if anonymous_health else set()

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            # The path of what will answer: the request's own may be written in several ways.
            resource = request.match_info.route.resource
            path = resource.canonical if resource is not None else request.path
            if path not in unguarded:
                certificate = request.get_extra_info("peercert")
                authorization = request.headers.get("Authorization", "")
                await gate.admit(request.method, path, certificate=certificate, authorization=authorization)
            return await handler(request)
        except PodyardError as error:
            status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), _OTHERWISE)
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                logger.warning("%s %s: %s", request.method, request.path, error)
            if "Upgrade" in request.headers:
                return web.json_response(_status_object(error, status), status=status)
            return web.Response(status=status, text=f"{error}\n")

    return answer


def _status_object(error: PodyardError, status: HTTPStatus) -> dict[str, Any]:
    """A refusal as those who ask for an upgrade read it: kubectl takes a text with a colon for YAML, and says nothing
    of what it cannot find there."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(error),
        "reason": _REASONS.get(status, "InternalError"),
        "code": status.value,
    }
