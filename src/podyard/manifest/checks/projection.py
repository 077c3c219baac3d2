"""Faults of volumes whose files come from elsewhere: configMap, secret, downwardAPI, projected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from podyard.manifest.checks.paths import sub_path_fault
from podyard.manifest.checks.reference import VOLUME_FIELDS, check_field, check_object_name, check_resource
from podyard.manifest.model import DownwardFile, KeyToPath, Pod, Projection, TokenProjection, Volume
from podyard.manifest.problems import Problem

MAX_MODE = 0o777
LEAST_LIFE, LONGEST_LIFE = 600, 1 << 32
"""Seconds that a token may be asked to live (core/v1, ServiceAccountTokenProjection)."""


def check_projection(pod: Pod, volume: Volume, path: str) -> Iterator[Problem]:
    """Faults of a volume at ``path`` that is made of files from elsewhere."""
    projected = volume.projection
    if projected is None:
        return
    (kind,) = volume.kinds[:1]
    yield from _check_mode(projected.default_mode, f"{path}.{kind}.defaultMode")
    paths: dict[str, str] = {}
    for index, source in enumerate(projected.sources):
        alone = volume.projected is None
        where = f"{path}.{kind}" if alone else f"{path}.projected.sources[{index}]"
        yield from _check_source(pod, source, where, alone=alone)
        for given in _paths(source):
            if given in paths:
                yield Problem(0, where, f"the path {given!r} stands in {paths[given]} already")
            paths.setdefault(given, where)
    if volume.projected is not None and not projected.sources:
        yield Problem(0, f"{path}.projected.sources", "names nothing")


def _check_source(pod: Pod, source: Projection, path: str, *, alone: bool) -> Iterator[Problem]:
    given = (source.config_map, source.secret, source.downward_api, source.service_account_token)
    if sum(one is not None for one in given) != 1:
        yield Problem(0, path, "needs one of configMap, secret, downwardAPI and serviceAccountToken")
    if source.config_map is not None:
        where = path if alone else f"{path}.configMap"
        yield from check_object_name(source.config_map.name, f"{where}.name")
        yield from _check_items(source.config_map.items, f"{where}.items")
    if source.secret is not None:
        where = path if alone else f"{path}.secret"
        yield from check_object_name(source.secret.name, f"{where}.secretName" if alone else f"{where}.name")
        yield from _check_items(source.secret.items, f"{where}.items")
    if source.downward_api is not None:
        where = path if alone else f"{path}.downwardAPI"
        for index, item in enumerate(source.downward_api.items):
            yield from _check_downward(pod, item, f"{where}.items[{index}]")
    if source.service_account_token is not None:
        yield from _check_token(source.service_account_token, f"{path}.serviceAccountToken")


def _check_items(items: Sequence[KeyToPath], path: str) -> Iterator[Problem]:
    for index, item in enumerate(items):
        yield from _check_path(item.path, f"{path}[{index}].path")
        yield from _check_mode(item.mode, f"{path}[{index}].mode")


def _check_downward(pod: Pod, item: DownwardFile, path: str) -> Iterator[Problem]:
    yield from _check_path(item.path, f"{path}.path")
    yield from _check_mode(item.mode, f"{path}.mode")
    if (item.field_ref is None) == (item.resource_field_ref is None):
        yield Problem(0, path, "needs one of fieldRef and resourceFieldRef")
    if item.field_ref is not None:
        yield from check_field(item.field_ref, VOLUME_FIELDS, f"{path}.fieldRef")
    if item.resource_field_ref is not None:
        if not item.resource_field_ref.container_name:
            yield Problem(0, f"{path}.resourceFieldRef.containerName", "missing: a volume belongs to no container")
        yield from check_resource(pod, item.resource_field_ref, f"{path}.resourceFieldRef")


def _check_token(token: TokenProjection, path: str) -> Iterator[Problem]:
    yield from _check_path(token.path, f"{path}.path")
    if not LEAST_LIFE <= token.expiration_seconds <= LONGEST_LIFE:
        text = f"{token.expiration_seconds} is not between {LEAST_LIFE} and {LONGEST_LIFE}"
        yield Problem(0, f"{path}.expirationSeconds", text)


def _check_path(given: str, path: str) -> Iterator[Problem]:
    if not given or given.strip("/.") == "":
        yield Problem(0, path, f"{given!r} names no file")
    elif fault := sub_path_fault(given):
        yield Problem(0, path, fault)
    elif given.startswith(".."):
        yield Problem(0, path, f"{given!r} must not begin with '..'")


def _check_mode(mode: int | None, path: str) -> Iterator[Problem]:
    if mode is not None and not 0 <= mode <= MAX_MODE:
        yield Problem(0, path, f"{mode} is not a file mode from 0 to 0777; an octal number begins with 0")


def _paths(source: Projection) -> Iterator[str]:
    """The paths that a source names; those of keys that are not listed are only known when it is there."""
    for keys in (source.config_map, source.secret):
        if keys is not None:
            yield from (item.path for item in keys.items)
    if source.downward_api is not None:
        yield from (item.path for item in source.downward_api.items)
    if source.service_account_token is not None:
        yield source.service_account_token.path
