"""The id maps of a request: those of a sandbox's user namespace and those of a mount (CRI ``IDMapping``)."""

from __future__ import annotations

from collections.abc import Iterable

from podyard.cri import api
from podyard.errors import InvalidArgument
from podyard.linux.userns import IdMap, Range, check

USERNS = "namespace_options.userns_options"


def of_sandbox(config: api.PodSandboxConfig) -> IdMap | None:
    """The map of a sandbox's user namespace; None where it uses the host's.

    Raises InvalidArgument for maps that cannot be: without root, or not as the kernel takes them. A pod with a user
    namespace cannot use the host's PID or IPC namespace, whose /proc and /dev/mqueue it could not mount.
    """
    options = config.linux.security_context.namespace_options
    wanted = options.userns_options
    if not options.HasField("userns_options") or wanted.mode == api.NODE:
        if wanted.uids or wanted.gids:
            raise InvalidArgument(f"{USERNS} has mappings and the mode NODE: they need the mode POD")
        return None
    if wanted.mode != api.POD:
        raise InvalidArgument(f"{USERNS}.mode {api.NamespaceMode.Name(wanted.mode)} is neither POD nor NODE")
    for kind in ("pid", "ipc"):
        if getattr(options, kind) == api.NODE:
            raise InvalidArgument(f"{USERNS}: a user namespace of its own cannot go with the host's {kind.upper()}s")
    found = of_mappings(wanted.uids, wanted.gids, (f"{USERNS}.uids", f"{USERNS}.gids"))
    if found.uid(0) is None or found.gid(0) is None:
        raise InvalidArgument(f"{USERNS}: the mappings leave out container_id 0, and something must be root inside")
    return found


def of_mappings(uids: Iterable[api.IDMapping], gids: Iterable[api.IDMapping], fields: tuple[str, str]) -> IdMap:
    """Two lists of the protocol as a map; ``fields`` names them. Raises InvalidArgument for what cannot be a map."""
    return IdMap(check(_ranges(uids), fields[0]), check(_ranges(gids), fields[1]))


def check_container(config: api.ContainerConfig, sandbox: api.PodSandboxConfig) -> None:
    """Raise InvalidArgument when a container wants another user namespace than its sandbox has.

    A container that says nothing of it joins its sandbox's.
    """
    options = config.linux.security_context.namespace_options
    if not options.HasField("userns_options"):
        return
    has = sandbox.linux.security_context.namespace_options.userns_options
    own = has.mode == api.POD and sandbox.linux.security_context.namespace_options.HasField("userns_options")
    wants = options.userns_options
    if (wants.mode == api.POD) != own or wants.mode not in {api.POD, api.NODE}:
        mode = api.NamespaceMode.Name(wants.mode)
        raise InvalidArgument(f"{USERNS}.mode {mode} is not that of the pod sandbox: all its containers share one")
    if own and (list(wants.uids) != list(has.uids) or list(wants.gids) != list(has.gids)):
        raise InvalidArgument(f"{USERNS}: the mappings differ from those of the pod sandbox")


def documents(id_map: IdMap) -> dict[str, list[dict[str, int]]]:
    """The keys ``uidMappings`` and ``gidMappings`` of OCI ``linux`` (config-linux.md, User namespace mappings)."""
    return {
        name: [{"containerID": entry.inside, "hostID": entry.outside, "size": entry.length} for entry in ranges]
        for name, ranges in (("uidMappings", id_map.uids), ("gidMappings", id_map.gids))
    }


def _ranges(mappings: Iterable[api.IDMapping]) -> list[Range]:
    return [Range(entry.container_id, entry.host_id, entry.length) for entry in mappings]
