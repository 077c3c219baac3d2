"""The node's own API over TLS, at a kubelet's paths, so that an API server reaches it for kubectl.

server    the port, its certificate, and which path leads where
auth      who asks, and whether they may
pods      the Pods as requests name them
logs      container logs;  options: what a query asks of them
streams   exec, attach, port-forward and run;  relay: a connection handed on to the runtime
figures   statistics and metrics;  summary: how they are told
"""

from podyard.node.serving.server import PORT, NodeApi, Serving, serving

__all__ = ["PORT", "NodeApi", "Serving", "serving"]
