"""A Kubernetes API server's client: what a node needs of it.

config     a kubeconfig file: where the server is, whom it trusts and whom we trust
client     KubeClient: get, list, create, update, patch, delete, watch
answers    what the server's answers mean
paths      where objects are
reflector  a copy of a collection, kept up to date by a watch
"""

from podyard.node.kube.answers import Conflict, Expired
from podyard.node.kube.client import KubeClient
from podyard.node.kube.config import Access, load_kubeconfig
from podyard.node.kube.reflector import Reflector
from podyard.node.kube.waits import Waits, for_ever

__all__ = ["Access", "Conflict", "Expired", "KubeClient", "Reflector", "Waits", "for_ever", "load_kubeconfig"]
