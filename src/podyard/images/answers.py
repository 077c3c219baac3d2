"""What a registry's answers mean."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING

import msgspec

from podyard.errors import NotFound, PermissionDenied, RegistryUnavailable

if TYPE_CHECKING:
    import aiohttp

SMALL_LIMIT = 1 << 20
"""Bytes of a token answer or an error's text."""
SAID_LIMIT = 300
"""Characters of a registry's own words in an error."""


class Passing(RegistryUnavailable):
    """What may be different the next time. ``delay``: seconds that the registry asks to wait."""

    def __init__(self, text: str, delay: float = 0.0) -> None:
        super().__init__(text)
        self.delay = delay


class RangeRefused(Passing):
    """The registry does not give the range that was asked for."""


async def read_limited(response: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
    """The body. Raises RegistryUnavailable when it is longer than ``limit`` bytes."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise RegistryUnavailable(f"{response.url.host} sends {what} of more than {limit} bytes")
    return bytes(data)


async def refuse(response: aiohttp.ClientResponse, host: str) -> None:
    """Raise what a bad status means."""
    words = await said(response)
    status = f"{response.status} {response.reason}"
    if response.status == 404:
        raise NotFound(f"{host} does not have it ({status}{words})")
    if response.status in {401, 403}:
        raise PermissionDenied(f"{host} refuses access, or does not have it ({status}{words})")
    if response.status == 416:
        raise RangeRefused(f"{host} answers {status}{words}")
    if response.status == 429 or response.status >= 500:
        raise Passing(f"{host} answers {status}{words}", _retry_after(response.headers.get("Retry-After", "")))
    raise RegistryUnavailable(f"{host} answers {status}{words}")


class _Said(msgspec.Struct):
    message: str = ""
    code: str = ""


class _SaidAll(msgspec.Struct):
    errors: list[_Said] = []


async def said(response: aiohttp.ClientResponse) -> str:
    """A registry's own words on an error, where it follows the distribution specification; "" otherwise."""
    try:
        answer = msgspec.json.decode(await response.content.read(SMALL_LIMIT), type=_SaidAll)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    text = "; ".join(f"{error.code} {error.message}".strip() for error in answer.errors[:3])
    return ": " + "".join(char if char.isprintable() else "?" for char in text[:SAID_LIMIT]) if text else ""


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3); 0 where it cannot be read."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


def read_token(data: bytes, host: str) -> str:
    """The token of an answer. Raises RegistryUnavailable when there is no usable one."""
    try:
        answer = msgspec.json.decode(data, type=_Token)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryUnavailable(f"the token of {host} cannot be read: {error}") from error
    token = answer.token or answer.access_token
    if not token or not token.isascii() or not token.isprintable():
        raise RegistryUnavailable(f"{host} answers without a usable token")
    return token
