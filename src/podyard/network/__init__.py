"""The pods' network: CNI plugins, run by podyard itself.

config.py         what can be set
model.py          requests, results, status
configuration.py  the host's CNI configuration: the first valid file of a directory
default.py        the bridge network where there is none; firewall.py has its iptables rules
pod_cidr.py       the subnets that a kubelet wants; template.py fills them into a configuration
capabilities.py   what a pod asks for, as plugins want to be told
plugins.py        finding and running plugins; results.py reads their answers
attachments.py    the records that make DEL say the same as ADD, and crashes harmless
health.py         whether the plugins are ready
network.py        ties them together: attach, detach, gc, status
"""

from __future__ import annotations

from podyard.network.model import AttachRequest, AttachResult, NetworkStatus, PortMapping
from podyard.network.network import Network

__all__ = ["AttachRequest", "AttachResult", "Network", "NetworkStatus", "PortMapping"]
