"""Whether there is room for Pods that ask for more than they were taken with (Kubernetes documentation, "Resize CPU and
Memory Resources assigned to Containers"). One that there is no room for goes on with what it has."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from podyard.manifest.model import Container, Pod
from podyard.node.cluster.admission import NodeView, no_room
from podyard.node.requests import pod_requests
from podyard.node.wanted import Rejection


class Resizes:
    """Remembers what was set aside for each Pod."""

    def __init__(self) -> None:
        self.pending: dict[str, Rejection] = {}
        """Why Pods have not what they ask for, by uid: "Deferred" until there is room, or "Infeasible" on this node."""
        self._sizes: dict[str, Pod] = {}

    def sized(self, pod: Pod, node: NodeView, own: Iterable[Pod]) -> Pod:
        """The Pod, with the resources that it was taken with where there is no room for those it asks for now.

        ``own``: the Pods of the node's own, which count, too.
        """
        uid = pod.metadata.uid
        before = self._sizes.get(uid)
        if before is not None and pod_requests(before) != pod_requests(pod):
            others = [one for other, one in self._sizes.items() if other != uid]
            refused = no_room(pod, node, [*own, *others])
            if refused is not None:
                kind = "Infeasible" if no_room(pod, node, []) is not None else "Deferred"
                self.pending[uid] = Rejection(kind, refused.message)
                return with_resources_of(pod, before)
        self.pending.pop(uid, None)
        self._sizes[uid] = pod
        return pod

    def keep(self, uids: set[str]) -> None:
        """Forget all Pods but these."""
        self._sizes = {uid: pod for uid, pod in self._sizes.items() if uid in uids}
        self.pending = {uid: why for uid, why in self.pending.items() if uid in uids}


def with_resources_of(pod: Pod, before: Pod) -> Pod:
    """A Pod whose containers have the resources that they had before."""
    known = {container.name: container.resources for container in before.all_containers()}

    def sized(containers: tuple[Container, ...]) -> tuple[Container, ...]:
        return tuple(replace(one, resources=known.get(one.name, one.resources)) for one in containers)

    spec = pod.spec
    spec = replace(spec, containers=sized(spec.containers), init_containers=sized(spec.init_containers))
    return replace(pod, spec=spec)
