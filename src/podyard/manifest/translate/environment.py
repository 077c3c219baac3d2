"""Environment variables, and ``$(NAME)`` in commands, arguments and values (Kubernetes documentation, "Define
Dependent Environment Variables")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from podyard.errors import NotFound
from podyard.manifest.model import Container, EnvFrom, KeyRef, Pod, ValueFrom
from podyard.manifest.names import variable_fault
from podyard.manifest.objects import Held
from podyard.manifest.translate.facts import HostFacts
from podyard.manifest.translate.references import field_value, resource_value
from podyard.manifest.translate.services import service_variables

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """``text`` with each ``$(NAME)`` of a known variable replaced. ``$$`` is one ``$``; an unknown name stays."""

    def value(match: re.Match[str]) -> str:
        if match.group(1) == "$":
            return "$"
        return variables.get(match.group(2), match.group(0))

    return _REFERENCE.sub(value, text)


def environment(
    pod: Pod, container: Container, host: HostFacts, ips: Sequence[str], held: Held
) -> tuple[dict[str, str], list[str]]:
    """A container's variables, and what was left out of its ``envFrom`` because it cannot be a variable's name.

    Those of Services come first, then ``envFrom``, then ``env`` in the manifest's order; the later wins, and a value
    may name those before it. ``ips``: the Pod's. Raises NotFound for an object or key that is missing and must not be.
    """
    variables = service_variables(held.services)
    skipped: list[str] = []
    for whole in container.env_from:
        values, what = _whole(pod, whole, held)
        names = {whole.prefix + key: value for key, value in values.items()}
        faulty = [name for name in names if variable_fault(name)]
        variables |= {name: value for name, value in names.items() if name not in faulty}
        if faulty:
            skipped.append(f"keys [{', '.join(sorted(faulty))}] of the {what}, which cannot be variables' names")
    for variable in container.env:
        if variable.value_from is None:
            variables[variable.name] = expand(variable.value, variables)
        elif (value := _value(pod, container, variable.value_from, host, ips, held=held)) is not None:
            variables[variable.name] = value
    return variables, skipped


def config_maps_of(container: Container) -> set[str]:
    """The names of the ConfigMaps that a container's variables come from."""
    keys = [variable.value_from.config_map_key_ref for variable in container.env if variable.value_from is not None]
    refs = [source.config_map_ref for source in container.env_from]
    return {one.name for one in [*keys, *refs] if one is not None}


def secrets_of(container: Container) -> set[str]:
    """The names of the Secrets that a container's variables come from."""
    keys = [variable.value_from.secret_key_ref for variable in container.env if variable.value_from is not None]
    refs = [source.secret_ref for source in container.env_from]
    return {one.name for one in [*keys, *refs] if one is not None}


def _value(
    pod: Pod, container: Container, source: ValueFrom, host: HostFacts, ips: Sequence[str], *, held: Held
) -> str | None:
    """The text that a variable's source stands for; None where it is missing and may be."""
    if source.field_ref is not None:
        return field_value(pod, source.field_ref, host, ips)
    if (resource := source.resource_field_ref) is not None:
        return resource_value(pod.container(resource.container_name or container.name), resource, host)
    if (key := source.config_map_key_ref) is not None:
        config_map = held.config_maps.get(key.name)
        return _key(key, None if config_map is None else config_map.data, f"configmap {key.name!r}")
    key = source.secret_key_ref
    assert key is not None  # one of the four, says checks.environment
    secret = held.secrets.get(key.name)
    return _key(key, None if secret is None else _texts(secret.data), f"secret {key.name!r}")


def _key(key: KeyRef, values: Mapping[str, str] | None, what: str) -> str | None:
    if values is not None and key.key in values:
        return values[key.key]
    if key.optional:
        return None
    raise NotFound(f"{what} not found" if values is None else f"the {what} has no key {key.key!r}")


def _whole(pod: Pod, source: EnvFrom, held: Held) -> tuple[Mapping[str, str], str]:
    """All texts of an object, and what it is."""
    values: Mapping[str, str] | None = None
    if source.config_map_ref is not None:
        ref, what = source.config_map_ref, f"configmap {source.config_map_ref.name!r}"
        if (config_map := held.config_maps.get(ref.name)) is not None:
            values = config_map.data
    else:
        assert source.secret_ref is not None  # one of the two, says checks.environment
        ref, what = source.secret_ref, f"secret {source.secret_ref.name!r}"
        if (secret := held.secrets.get(ref.name)) is not None:
            values = _texts(secret.data)
    if values is None and not ref.optional:
        raise NotFound(f"{what} not found")
    return values or {}, what


def _texts(data: Mapping[str, bytes]) -> dict[str, str]:
    """Variables are bytes in the end; what is no UTF-8 survives as it is."""
    return {key: value.decode("utf-8", "surrogateescape") for key, value in data.items()}
