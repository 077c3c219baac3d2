"""Names of images as people and kubelets write them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from podyard.errors import InvalidArgument

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
"""Characters of registry and repository together (the grammar of the distribution project's references)."""

_HOST_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """A whole name: registry, repository, and a tag or a digest or both."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The name without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def pinned(self) -> Reference:
        """What is meant: a digest says all, so a tag beside it is only a remark."""
        return Reference(self.registry, self.repository, "", self.digest) if self.digest else self

    def with_digest(self, digest: str) -> str:
        """The name of one content in the same repository."""
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def is_digest(text: str) -> bool:
    """Whether ``text`` is a digest that podyard can verify (sha256 or sha512)."""
    return _DIGEST.fullmatch(text) is not None


def parse(text: str) -> Reference:
    """A reference with what docker leaves out filled in.

    "busybox" is docker.io/library/busybox:latest. The part before the first slash is a registry when it has a dot, a
    colon or an upper-case letter, or is "localhost".

    Raises InvalidArgument, saying which part is wrong.
    """
    if not text:
        raise InvalidArgument("the image's name is empty")
    if _ID.fullmatch(text):
        raise InvalidArgument(f"{text} is an image's id: give a name to pull it by")
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _wrong(text, f"the digest {digest!r} must be sha256: and 64, or sha512: and 128 hexadecimal digits")
    registry, path = _split_registry(rest)
    repository, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, f"the tag {tag!r} must be up to 128 letters, digits, '_', '.' or '-'")
    if not _REGISTRY.fullmatch(registry) or not _can_be_reached(registry):
        raise _wrong(text, f"{registry!r} is no registry's host name")
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    if not _REPOSITORY.fullmatch(repository):
        raise _wrong(text, f"the repository {repository!r} must be lower-case letters, digits and single separators")
    if len(registry) + 1 + len(repository) > NAME_LIMIT:
        raise _wrong(text, f"it is longer than {NAME_LIMIT} characters")
    return Reference(registry, repository, tag or ("" if digest else DEFAULT_TAG), digest)


def candidates(text: str, registries: Sequence[str]) -> list[Reference]:
    """What a name may mean where names without a registry are looked for in ``registries``, in order.

    Without ``registries``, or with a registry in the name, it means what ``parse`` says. Raises InvalidArgument.
    """
    plain = parse(text)
    if not registries or text.startswith(f"{plain.registry}/") or text.startswith("index.docker.io/"):
        return [plain]
    return [parse(f"{registry}/{text}") for registry in registries]


def _split_registry(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if slash and (any(char in ".:[" for char in first) or first == "localhost" or first != first.lower()):
        return first, rest
    return DEFAULT_REGISTRY, text


def _can_be_reached(registry: str) -> bool:
    """Whether the address and the port of what looks like a registry are in range."""
    try:
        url = urlsplit(f"//{registry}")
        port = url.port
        if registry.startswith("["):
            ipaddress.IPv6Address(url.hostname or "")
    except ValueError:
        return False
    return port is None or port > 0


def _wrong(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{text[:300]!r} is no image's name: {why}")
