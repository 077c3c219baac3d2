"""Sandboxes and containers as what the statistics measure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from podyard.cri import api
from podyard.runtime.context import Context
from podyard.runtime.store import ContainerEntry, SandboxEntry
from podyard.stats import ContainerTarget, SandboxTarget


def census(context: Context) -> list[SandboxTarget]:
    """All sandboxes."""
    return sandboxes(context, context.store.sandboxes.values())


def sandboxes(context: Context, entries: Iterable[SandboxEntry]) -> list[SandboxTarget]:
    """Sandboxes with those of their containers that have a process."""
    members: defaultdict[str, list[ContainerEntry]] = defaultdict(list)
    for entry in context.store.containers.values():
        if has_process(entry):
            members[entry.record.sandbox_id].append(entry)
    return [_sandbox(context, entry, members[entry.record.id]) for entry in entries]


def container(context: Context, entry: ContainerEntry) -> ContainerTarget:
    """A container in whatever state."""
    record, image = entry.record, entry.config.image
    lives = has_process(entry)
    return ContainerTarget(
        id=record.id,
        attributes=entry.attributes,
        image=image.user_specified_image or image.image,
        cgroup=record.cgroup if lives else "",
        pid=record.process.pid if lives and record.process is not None else 0,
        started_at=record.started_at,
        writable=context.paths.writable(record.id) / "upper",
    )


def has_process(entry: ContainerEntry) -> bool:
    """Whether there is something to measure."""
    return entry.record.state != "exited" and entry.record.process is not None


def _sandbox(context: Context, entry: SandboxEntry, members: Sequence[ContainerEntry]) -> SandboxTarget:
    record, linux = entry.record, entry.config.linux
    host_network = linux.security_context.namespace_options.network == api.NODE
    cgroup = context.pod_cgroup(record.id, linux.cgroup_parent)
    infra = record.infra is not None and not cgroup
    return SandboxTarget(
        id=record.id,
        attributes=entry.attributes,
        ready=record.ready,
        cgroup=cgroup,
        infra_cgroup=context.scope(record.id) if infra else "",
        network=None if host_network else context.paths.pins(record.id) / "network",
        containers=tuple(container(context, member) for member in members),
    )
