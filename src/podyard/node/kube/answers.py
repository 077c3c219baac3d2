"""What an API server's answers mean (Kubernetes documentation, "API Concepts"; the Status object of meta/v1)."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from podyard.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PodyardError,
    Unavailable,
    Unimplemented,
)

SAID_LIMIT = 500
"""Characters of the server's own words in an error."""


class Conflict(FailedPrecondition):
    """The object was changed, or replaced by another of its name, since it was read (409)."""


class Expired(FailedPrecondition):
    """The server does not remember so old a state of the collection any more: it has to be listed anew (410)."""


class Throttled(Unavailable):
    """The server asks to be left alone for a while (429, or any 5xx with Retry-After): nothing was done.

    ``delay``: seconds, 0 when it does not say.
    """

    def __init__(self, text: str, delay: float) -> None:
        super().__init__(text)
        self.delay = delay


class _Status(msgspec.Struct):
    """The parts of a Status that tell what to do. Whatever stands there instead counts as its text."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0


_KINDS: Mapping[int, type[PodyardError]] = {
    400: InvalidArgument,
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    405: Unimplemented,
    406: Unimplemented,
    409: Conflict,
    410: Expired,
    413: InvalidArgument,
    415: Unimplemented,
    422: InvalidArgument,
}


def error_of(code: int, body: bytes, doing: str, retry_after: str = "") -> PodyardError:
    """The error of an answer that is none of success. ``doing``: what was asked, such as "GET /api/v1/nodes/a"."""
    status = _status(body)
    said = (status.message or body.decode(errors="replace").strip())[:SAID_LIMIT]
    text = f"{doing}: the API server answers {code}" + (f" {status.reason}" if status.reason else "")
    text += f": {said}" if said else ""
    if code == 429 or (code >= 500 and retry_after):
        return Throttled(text, delay_of(retry_after))
    if code == 409 and status.reason == "AlreadyExists":
        return AlreadyExists(text)
    return _KINDS.get(code, Unavailable if code >= 500 else FailedPrecondition)(text)


def watch_error(status: Any, doing: str) -> PodyardError:
    """The error that a watch reports in its stream."""
    body = msgspec.json.encode(status)
    return error_of(_status(body).code or 500, body, doing)


def delay_of(header: str) -> float:
    """Seconds that a Retry-After header asks for; 0 without one, or with one that says nothing."""
    if header.isascii() and header.isdigit() and len(header) < 10:
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def _status(body: bytes) -> _Status:
    try:
        return msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Status()
