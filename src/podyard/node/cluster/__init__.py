"""The node as a member of a cluster, through its API server.

node_object   the Node and its status;  registration: both are kept up to date;  lease: that the node lives
bound         the Pods that are bound to the node;  decode: what they say
admission     which of them it takes;  resizes: what they may have
reports       Pods' status is told, and their end;  status_patch: what is to be changed of a status
mirrors       the server's pictures of the node's own Pods
events        users are told what happens;  news: what is an event, and in which words
objects       ConfigMaps, Secrets and tokens
flags         what a node is told about itself
cluster       all of it together
"""

from podyard.node.cluster.cluster import Cluster

__all__ = ["Cluster"]
