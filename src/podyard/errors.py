"""Every error that podyard raises on purpose.

    PodyardError                      UNKNOWN              exit 1
    ├── InvalidArgument               INVALID_ARGUMENT     exit 2    the request, manifest or option is wrong
    │   └── ConfigError               INVALID_ARGUMENT     exit 2    the configuration file or a flag is wrong
    ├── NotFound                      NOT_FOUND            exit 3    no such sandbox, container, image
    ├── AlreadyExists                 ALREADY_EXISTS       exit 4    the name is taken by something else
    ├── FailedPrecondition            FAILED_PRECONDITION  exit 5    right request, wrong state
    ├── Unimplemented                 UNIMPLEMENTED        exit 6    podyard cannot do this yet, or this endpoint cannot
    ├── DeadlineExceeded              DEADLINE_EXCEEDED    exit 7    a bounded wait ran out
    ├── Unavailable                   UNAVAILABLE          exit 8    not now: recovering, no network, no runtime
    │   ├── EndpointError             UNAVAILABLE          exit 14   nothing usable listens on a CRI endpoint
    │   └── RegistryUnavailable       UNAVAILABLE          exit 8    the registry did not answer
    ├── PermissionDenied              PERMISSION_DENIED    exit 9    the registry or the host said no
    │   └── SignatureValidationFailed PERMISSION_DENIED    exit 9    the image is not signed as the policy asks for
    ├── ResourceExhausted             RESOURCE_EXHAUSTED   exit 10   disk full, a limit reached
    ├── DataLoss                      DATA_LOSS            exit 11   a digest does not match, a record cannot be read
    ├── Cancelled                     CANCELLED            exit 12   the caller went away
    └── Internal                      INTERNAL             exit 13   a host tool failed, or podyard has a bug

An error's text says what failed, on what, why, and what to do. It is translated once, at the edge: the server turns
``status`` into a gRPC status, the command line turns ``exit_code`` into its own. The client raises the same classes
for the statuses that it receives, so a caller sees one hierarchy on both ends.
"""

from __future__ import annotations

import errno
import os
from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "Cancelled",
    "ConfigError",
    "DataLoss",
    "DeadlineExceeded",
    "EndpointError",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "PodyardError",
    "RegistryUnavailable",
    "ResourceExhausted",
    "SignatureValidationFailed",
    "Unavailable",
    "Unimplemented",
    "for_status",
    "translate",
]


class PodyardError(Exception):
    """Base of all errors raised on purpose.

    ``status`` is the name of a gRPC status code (``grpc.StatusCode`` member name), ``exit_code`` what the command line
    exits with.
    """

    status: ClassVar[str] = "UNKNOWN"
    exit_code: ClassVar[int] = 1


class InvalidArgument(PodyardError):
    """The request itself is wrong: repeating it unchanged cannot help."""

    status = "INVALID_ARGUMENT"
    exit_code = 2


class ConfigError(InvalidArgument):
    """A configuration file or a flag is wrong; the text names the file and the key."""


class NotFound(PodyardError):
    """Nothing goes by that id or name."""

    status = "NOT_FOUND"
    exit_code = 3


class AlreadyExists(PodyardError):
    """The name is taken by something that the request does not describe."""

    status = "ALREADY_EXISTS"
    exit_code = 4


class FailedPrecondition(PodyardError):
    """The object is not in a state that allows the request; the text names the state."""

    status = "FAILED_PRECONDITION"
    exit_code = 5


class Unimplemented(PodyardError):
    """The call or the field is not built (or the endpoint does not have it): never a silent success."""

    status = "UNIMPLEMENTED"
    exit_code = 6


class DeadlineExceeded(PodyardError):
    """A bounded wait ran out; the text names the stage and what it waited for."""

    status = "DEADLINE_EXCEEDED"
    exit_code = 7


class Unavailable(PodyardError):
    """Not possible now, perhaps later."""

    status = "UNAVAILABLE"
    exit_code = 8


class EndpointError(Unavailable):
    """No usable CRI service on an endpoint: absent, stale, mute, or without a version that may be spoken."""

    exit_code = 14


class RegistryUnavailable(Unavailable):
    """The registry did not answer. The kubelet knows the text's prefix, so it is kept when the error is shown."""

    def __str__(self) -> str:
        return f"RegistryUnavailable: {super().__str__()}"


class PermissionDenied(PodyardError):
    """The registry or the host refused."""

    status = "PERMISSION_DENIED"
    exit_code = 9


class SignatureValidationFailed(PermissionDenied):
    """An image does not meet the signature policy. The kubelet knows the text's prefix."""

    def __str__(self) -> str:
        return f"SignatureValidationFailed: {super().__str__()}"


class ResourceExhausted(PodyardError):
    """A disk is full or a limit is reached; the text names which."""

    status = "RESOURCE_EXHAUSTED"
    exit_code = 10


class DataLoss(PodyardError):
    """Content is not what its digest or its record says."""

    status = "DATA_LOSS"
    exit_code = 11


class Cancelled(PodyardError):
    """The caller went away before the result was there."""

    status = "CANCELLED"
    exit_code = 12


class Internal(PodyardError):
    """A host tool failed in a way that the request cannot explain, or podyard has a bug."""

    status = "INTERNAL"
    exit_code = 13


_BY_STATUS: dict[str, type[PodyardError]] = {
    cls.status: cls
    for cls in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        Unimplemented,
        DeadlineExceeded,
        Unavailable,
        PermissionDenied,
        ResourceExhausted,
        DataLoss,
        Cancelled,
        Internal,
    )
}


def for_status(status: str, text: str) -> PodyardError:
    """The error for a gRPC status name and its text, as the client receives them."""
    return _BY_STATUS.get(status, PodyardError)(text)


def translate(error: BaseException, doing: str) -> PodyardError:
    """Any error as a PodyardError whose text ends with what was being done (``doing`` completes "while …").

    A PodyardError keeps its class; a full disk becomes ResourceExhausted, a time limit DeadlineExceeded, text that is
    not UTF-8 InvalidArgument, anything else Internal.
    """
    text = str(error) or repr(error)
    kind: type[PodyardError] = Internal
    if isinstance(error, PodyardError):
        kind, text = type(error), error.args[0] if error.args else text
    elif isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}:
        kind = ResourceExhausted
    elif isinstance(error, TimeoutError):
        kind, text = DeadlineExceeded, "the time limit ran out"
    elif isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":
        # Arguments and file names have other bytes as surrogates (os.fsdecode), which no protocol carries.
        kind, text = InvalidArgument, f"{os.fsencode(error.object)!r} is not UTF-8"
    elif not isinstance(error, OSError):
        text = repr(error)
    translated = kind(f"{text} (while {doing})")
    translated.__cause__ = error
    return translated
