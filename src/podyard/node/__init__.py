"""The node agent: Pods carried out over any CRI runtime, for a directory of manifests, a URL and an API server.

    wanted    what a source of Pods says;  source: a directory of manifests;  url: a manifest on a server
    sources   all of them together
    agent     what is wanted and what runs are brought to agree
    worker    one Pod: kept running while it is wanted, then removed
    watch     the runtime: whether it can be used, and its events
    status    a Pod's status as kubectl shows it;  statuses: computed when something has changed
    render    a Pod as the Kubernetes API writes it;  times: times as it writes them;  wake: waiting for news
    machine   what this machine is;  requests: what a Pod asks for of it
    usage     what is used of it;  filesystem: what a disk has left;  disks: what Pods take of it
    housekeeping  clearing up, and evictions;  shutdown: Pods end before the machine does;  logind: how that is told
    objects   ConfigMaps and Secrets from several places
    api       the node's own API on a unix socket;  serving: over TLS, at a kubelet's paths
    kube      an API server's client;  cluster: the node as a member of a cluster
    run       all of it together

How a Pod is started, supervised and probed is in ``podyard.pods``.
"""

from podyard.node.run import Options, run

__all__ = ["Options", "run"]
