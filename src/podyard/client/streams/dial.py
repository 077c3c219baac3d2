"""From a runtime's URL to a connection that speaks one of the protocols."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from podyard.client.streams.link import Link, Refused
from podyard.client.streams.target import Target
from podyard.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PodyardError,
    ResourceExhausted,
    Unavailable,
)

__all__ = ["Transport", "agree", "dial", "unverified"]

Transport = Literal["auto", "spdy", "websocket"]
"""What to speak. "auto": SPDY/3.1, which all runtimes speak, and WebSocket where a server refuses it."""

PATIENCE = 30.0
"""Seconds for connecting and agreeing on a protocol: as long as servers wait for the streams after that."""
REDIRECTIONS = 5

_REDIRECTED = {301, 302, 303, 307, 308}
_NO_SPDY = {400, 403, 405, 426, 501}
"""How servers refuse a protocol that they do not know."""

LinkT = TypeVar("LinkT", bound=Link)
Result = TypeVar("Result")


async def agree(
    transport: Transport,
    over_spdy: Callable[[], Awaitable[Result]],
    over_websocket: Callable[[], Awaitable[Result]],
) -> Result:
    """What the first usable transport gives. Each asks the runtime for a URL of its own: a token serves once.

    Raises what ``dial`` raises, its refusals as podyard's errors, and InvalidArgument for an unknown transport.
    """
    if transport not in {"auto", "spdy", "websocket"}:
        raise InvalidArgument(f'transport {transport!r} is not known: "auto", "spdy" and "websocket" are')
    try:
        if transport == "websocket":
            return await over_websocket()
        try:
            return await over_spdy()
        except Refused as refusal:
            if transport == "spdy" or refusal.status not in _NO_SPDY:
                raise
            return await over_websocket()
    except Refused as refusal:
        raise _error(refusal) from refusal


async def dial(url: str, make: Callable[[Target], LinkT]) -> LinkT:
    """Connect to where a URL leads, redirections included. ``make`` gives a new link for each place.

    Raises Refused, Internal for a URL that cannot be used, Unavailable when nobody answers there, DeadlineExceeded
    after PATIENCE seconds, DataLoss when the answer breaks a protocol.
    """
    target = Target.parse(url)
    try:
        async with asyncio.timeout(PATIENCE):
            for _ in range(REDIRECTIONS + 1):
                try:
                    return await _connect(target, make(target))
                except Refused as refusal:
                    if refusal.status not in _REDIRECTED or not refusal.location:
                        raise
                    target = _redirected(target, refusal.location)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"the runtime's streaming server at {target} did not begin the session within {PATIENCE:.0f} s"
        ) from error
    raise Internal(f"the runtime's streaming server sent this client around in a circle, at last to {target}")


async def _connect(target: Target, link: LinkT) -> LinkT:
    loop = asyncio.get_running_loop()
    context = unverified() if target.tls else None
    try:
        await loop.create_connection(lambda: link, target.host, target.port, ssl=context)
    except OSError as error:
        raise Unavailable(
            f"cannot reach the runtime's streaming server at {target}: {error}; it listens on the runtime's own host "
            "alone, unless its configuration says otherwise"
        ) from error
    try:
        await link.ready
    except BaseException:
        link.fail(Unavailable("the session was given up before it began"))
        raise
    return link


def _redirected(target: Target, location: str) -> Target:
    found = target.redirected(location)
    if target.tls and not found.tls:
        raise Internal(f"{target} leads to {found}, which is not encrypted: the runtime is at fault")
    return found


def unverified() -> ssl.SSLContext:
    """TLS as a kubelet uses it here: the certificate is the runtime's own, and the URL came over its trusted socket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _error(refusal: Refused) -> PodyardError:
    text = f"the runtime's streaming server refused the session: {refusal}"
    match refusal.status:
        case 404:
            return NotFound(f"{text} (its token is unknown: used, or older than a minute)")
        case 401 | 403:
            return PermissionDenied(text)
        case 429:
            return ResourceExhausted(f"{text} (too many sessions wait; try again in a minute)")
        case 400:
            return InvalidArgument(text)
        case 502 | 503 | 504:
            return Unavailable(text)
    return Internal(text)
