"""The files of volumes that come from elsewhere: configMap, secret, downwardAPI and projected (Kubernetes
documentation, "Volumes" and "Projected Volumes")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from podyard.errors import FailedPrecondition, NotFound
from podyard.manifest.model import (
    ConfigMapProjection,
    Container,
    DownwardFile,
    KeyToPath,
    Pod,
    Projected,
    SecretProjection,
    TokenProjection,
)
from podyard.manifest.objects import Held
from podyard.manifest.translate.facts import HostFacts
from podyard.manifest.translate.references import field_value, resource_value

_TOKEN_MODE = 0o600
"""Of a token whose owner or group is known: others need not read it."""
_GROUP_READS = 0o440


@dataclass(frozen=True)
class File:
    """A file of a volume. ``uid``: its owner, None for root."""

    content: bytes
    mode: int
    uid: int | None = None


def projected_files(
    pod: Pod, projected: Projected, host: HostFacts, held: Held, tokens: Mapping[TokenProjection, str]
) -> dict[str, File]:
    """All files of a volume by their paths in it. A later source wins.

    Raises NotFound for an object or a key that is missing and must not be, FailedPrecondition where two paths cannot
    both be files.
    """
    files: dict[str, File] = {}
    mode = projected.default_mode
    for source in projected.sources:
        if source.config_map is not None:
            config_map = held.config_maps.get(source.config_map.name)
            content = None if config_map is None else config_map.files
            files |= _keys(source.config_map, content, f"configmap {source.config_map.name!r}", mode)
        elif source.secret is not None:
            secret = held.secrets.get(source.secret.name)
            content = None if secret is None else dict(secret.data)
            files |= _keys(source.secret, content, f"secret {source.secret.name!r}", mode)
        elif source.downward_api is not None:
            files |= {item.path: _downward(pod, item, host, mode) for item in source.downward_api.items}
        else:
            assert source.service_account_token is not None  # one of the four, says checks.projection
            files |= _token(pod, source.service_account_token, tokens, mode)
    if pod.spec.security_context.fs_group is not None:
        files = {path: File(file.content, file.mode | _GROUP_READS, file.uid) for path, file in files.items()}
    return {_normal(path): file for path, file in _checked(files)}


def config_maps_of(projected: Projected) -> set[str]:
    """The names of the ConfigMaps that a volume is made of."""
    return {source.config_map.name for source in projected.sources if source.config_map is not None}


def secrets_of(projected: Projected) -> set[str]:
    """The names of the Secrets that a volume is made of."""
    return {source.secret.name for source in projected.sources if source.secret is not None}


def tokens_of(projected: Projected) -> list[TokenProjection]:
    """The tokens that a volume holds."""
    given = [source.service_account_token for source in projected.sources]
    return [token for token in given if token is not None]


def _keys(
    source: ConfigMapProjection | SecretProjection, content: Mapping[str, bytes] | None, what: str, mode: int
) -> dict[str, File]:
    if content is None:
        if source.optional:
            return {}
        raise NotFound(f"{what} not found")
    items: Sequence[KeyToPath] = source.items or [KeyToPath(key=key, path=key) for key in content]
    files = {}
    for item in items:
        if item.key in content:
            files[item.path] = File(content[item.key], mode if item.mode is None else item.mode)
        elif not source.optional:
            raise NotFound(f"the {what} has no key {item.key!r}")
    return files


def _downward(pod: Pod, item: DownwardFile, host: HostFacts, mode: int) -> File:
    if item.field_ref is not None:
        text = field_value(pod, item.field_ref, host, ())
    else:
        assert item.resource_field_ref is not None  # one of the two, says checks.projection
        text = resource_value(pod.container(item.resource_field_ref.container_name), item.resource_field_ref, host)
    return File(text.encode(), mode if item.mode is None else item.mode)


def _token(pod: Pod, source: TokenProjection, tokens: Mapping[TokenProjection, str], mode: int) -> dict[str, File]:
    owner = _only_user(pod)
    if owner is not None or pod.spec.security_context.fs_group is not None:
        mode = _TOKEN_MODE
    return {source.path: File(tokens[source].encode(), mode, owner)}


def _only_user(pod: Pod) -> int | None:
    """The user that all containers run as, where the manifest says so."""
    users = {_user(pod, container) for container in pod.all_containers()}
    return users.pop() if len(users) == 1 else None


def _user(pod: Pod, container: Container) -> int | None:
    own = container.security_context.run_as_user
    return pod.spec.security_context.run_as_user if own is None else own


def _checked(files: Mapping[str, File]) -> Iterator[tuple[str, File]]:
    folders = {parent for path in files for parent in _parents(path)}
    for path, file in files.items():
        if _normal(path) in folders:
            raise FailedPrecondition(f"the volume's path {path!r} would be a file and a directory")
        yield path, file


def _parents(path: str) -> list[str]:
    parts = _normal(path).split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _normal(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))
