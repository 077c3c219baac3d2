"""The node agent: the Pods of a directory of manifests, carried out over any CRI runtime.

    source  which Pods the directory asks for
    agent   what is wanted and what runs are brought to agree
    worker  one Pod: kept running while it is wanted, then removed
    watch   the runtime: whether it can be used, and its events
    status  a Pod's status as kubectl shows it;  render: a Pod as the Kubernetes API writes it
    api     the node's own API
    run     all of it together

How a Pod is started, supervised and probed is in ``podyard.pods``.
"""

from podyard.node.run import run

__all__ = ["run"]
