"""Which endpoints are asked for a reference, in which order, and with which credentials."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from podyard.images.auth import Credentials
from podyard.images.config import ImagesConfig, split_endpoint
from podyard.images.registries import hosts_toml, keychain, registries_conf
from podyard.images.registries.endpoint import API_ROOT, Endpoint
from podyard.images.registries.registries_conf import RegistriesConf
from podyard.model.reference import DEFAULT_REGISTRY, Reference

DOCKER_HUB = "registry-1.docker.io"
"""Where docker.io serves its registry."""


async def endpoints(config: ImagesConfig, reference: Reference, credentials: Credentials | None) -> list[Endpoint]:
    """The endpoints for a pull, in order, the registry itself the last.

    podyard's own mirrors come first. The rest is what a hosts.toml says of the registry, else what registries.conf
    says, else the registry alone. What registries.conf blocks is blocked in any case. Directories with certificates
    only are for all hosts that no hosts.toml names.

    Raises FailedPrecondition for a configuration that cannot be read, PermissionDenied for a reference that is blocked.
    """
    conf = await asyncio.to_thread(registries_conf.load, config.registries_conf)
    found = await asyncio.to_thread(_configured, config, conf, reference)
    files = config.auth_files if config.auth_files is not None else keychain.default_files()
    for endpoint in found:
        endpoint.repository = endpoint.repository or reference.repository
        if credentials is not None and _meant(credentials, endpoint, reference):
            endpoint.credentials.append(credentials)
        registry = DEFAULT_REGISTRY if endpoint.host == DOCKER_HUB else endpoint.host
        kept = await keychain.find(files, registry, endpoint.repository, conf.helpers)
        endpoint.credentials += kept.credentials
        endpoint.problems = tuple(kept.problems)
    return found


async def search(config: ImagesConfig) -> tuple[str, ...]:
    """The registries in which names without one are looked for; () for docker.io alone.

    Raises FailedPrecondition for a configuration that cannot be read.
    """
    return (await asyncio.to_thread(registries_conf.load, config.registries_conf)).search


def _configured(config: ImagesConfig, conf: RegistriesConf, reference: Reference) -> list[Endpoint]:
    registry = reference.registry
    ours = []
    for text in config.mirrors.get(registry, []):
        scheme, host, path = split_endpoint(text, registry)
        schemes = (scheme,) if scheme else ()
        ours.append(Endpoint(host, root=f"{path}{API_ROOT}", schemes=schemes, mirror=True))
    upstream = DOCKER_HUB if registry == DEFAULT_REGISTRY else registry
    elsewhere = conf.endpoints(reference)
    theirs = hosts_toml.endpoints(config.hosts_dirs, registry, upstream)
    if theirs is not None:
        return [*_with_certificates(config, ours), *theirs]
    others = _with_certificates(config, [*ours, *(elsewhere or [Endpoint(registry)])])
    for endpoint in others:
        endpoint.host = DOCKER_HUB if endpoint.host == DEFAULT_REGISTRY else endpoint.host
    return others


def _with_certificates(config: ImagesConfig, endpoints: list[Endpoint]) -> list[Endpoint]:
    """Endpoints with the certificates that docker's and podman's directories have for their hosts."""
    for endpoint in endpoints:
        found = hosts_toml.certificates(config.hosts_dirs, endpoint.host)
        endpoint.tls = replace(endpoint.tls, authorities=found.authorities, clients=found.clients)
    return endpoints


def _meant(credentials: Credentials, endpoint: Endpoint, reference: Reference) -> bool:
    """Whether a pull's credentials are for an endpoint: a mirror gets them only where they name it."""
    if credentials.server == endpoint.host:
        return True
    return not endpoint.mirror and credentials.server in {"", reference.registry}
