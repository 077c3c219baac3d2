"""Pods carried out over any CRI endpoint: the part of a kubelet that concerns one Pod.

    engine     PodEngine: run, supervise, keep, find, list, stop, remove, discard
    start      the steps that start a Pod, in their order;  launch: those that start one container
    keep       what to do with a Pod that is there already
    supervise  containers that end are started again;  restarts: when
    prober     containers are probed;  probes: what the answers mean;  actions: what probes and hooks do
    board      what is known of containers beside what the endpoint tells
    inventory  which Pods there are, from the endpoint's lists;  views: how they are shown
    verdict    why a Pod was ended for good
    removal    stop and remove;  stopping: one container;  cleanup: of old attempts at a container
    leftovers  what Pods leave behind;  usage: what they take of the disk
    volumes    the host side of volumes;  folders: where a Pod's files are;  host: what must be known of the node
    objects    ConfigMaps, Secrets and tokens;  projections: volumes made of them;  atomic: how files are exchanged
    images     the Pod's images;  credentials: for their registries;  mounts: what containers mount
    changes    a manifest that changes while its containers run;  users: ids for user namespaces
    logs       container logs, read and followed;  loglines: their format

It knows the runtime only through ``podyard.client``, so it works with containerd and CRI-O too. Files of a Pod are on
this host: the endpoint's containers must run here.
"""

from podyard.pods.board import Board, Waiting
from podyard.pods.engine import PodEngine
from podyard.pods.loglines import LogLine
from podyard.pods.logs import follow, previous, read_lines
from podyard.pods.views import ContainerView, PodEvent, PodView, RunningPod

__all__ = [
    "Board",
    "ContainerView",
    "LogLine",
    "PodEngine",
    "PodEvent",
    "PodView",
    "RunningPod",
    "Waiting",
    "follow",
    "previous",
    "read_lines",
]
