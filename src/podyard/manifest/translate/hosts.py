"""A Pod's /etc/hosts (Kubernetes documentation, "Adding entries to Pod /etc/hosts with HostAliases")."""

from __future__ import annotations

from collections.abc import Sequence

from podyard.manifest.model import Pod
from podyard.manifest.translate.facts import HostFacts
from podyard.manifest.translate.hostname import domain, hostname

_LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hosts_file(pod: Pod, host: HostFacts, ips: Sequence[str]) -> str:
    """Local names, the Pod's own name and its aliases. On the host's network: the host's file and the aliases."""
    if pod.spec.host_network:
        text = host.hosts if host.hosts.endswith("\n") or not host.hosts else f"{host.hosts}\n"
    else:
        name, below = hostname(pod), domain(pod, host)
        names = f"{name}.{below}\t{name}" if below else name
        text = _LOCAL + "".join(f"{ip}\t{names}\n" for ip in ips)
    if pod.spec.host_aliases:
        text += "\n# hostAliases\n"
    for alias in pod.spec.host_aliases:
        text += "\t".join([alias.ip, *alias.hostnames]) + "\n"
    return text
