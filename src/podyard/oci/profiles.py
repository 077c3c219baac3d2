"""What a request says about a seccomp or AppArmor profile, in either of its two forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from podyard.cri import api
from podyard.errors import InvalidArgument

LOCALHOST = "localhost/"
"""Prefix of a profile on this node in the deprecated string form."""


@dataclass(frozen=True)
class Profile:
    """``name``: the profile on this node, for "localhost" alone."""

    kind: Literal["default", "unconfined", "localhost"]
    name: str = ""


def requested(message: api.SecurityProfile | None, path: str, field: str) -> Profile | None:
    """The profile that a request asks for; None where it says nothing.

    ``message``: the field of type SecurityProfile, None where unset; it wins. ``path``: the deprecated string, one of
    "", "runtime/default", "docker/default", "unconfined", "localhost/<name>". ``field`` names it in errors.

    Raises InvalidArgument when the request contradicts itself or the string has another form.
    """
    if message is None:
        return _from_path(path, field)
    kinds = api.SecurityProfile
    if message.profile_type == kinds.Localhost:
        if not message.localhost_ref:
            raise InvalidArgument(f"{field}: a profile of type Localhost needs localhost_ref")
        return Profile("localhost", message.localhost_ref.removeprefix(LOCALHOST))
    if message.localhost_ref:
        raise InvalidArgument(
            f"{field}: localhost_ref {message.localhost_ref!r} is for profiles of type Localhost only"
        )
    if message.profile_type == kinds.Unconfined:
        return Profile("unconfined")
    if message.profile_type == kinds.RuntimeDefault:
        return Profile("default")
    raise InvalidArgument(f"{field}: there is no profile type {message.profile_type}")


def _from_path(path: str, field: str) -> Profile | None:
    if not path:
        return None
    if path in {"runtime/default", "docker/default"}:
        return Profile("default")
    if path == "unconfined":
        return Profile("unconfined")
    if path.startswith(LOCALHOST) and path != LOCALHOST:
        return Profile("localhost", path.removeprefix(LOCALHOST))
    raise InvalidArgument(f"{field}: {path!r} is none of runtime/default, unconfined, localhost/<profile>")
