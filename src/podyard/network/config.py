"""How pods get their network."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import msgspec

from podyard.network.pod_cidr import too_small


class NetworkConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where the CNI configuration and plugins are, and the network that is used where the host configures none."""

    conf_dir: Path = Path("/etc/cni/net.d")
    """The CNI configuration: the first valid *.conflist, *.conf or *.json by name. A change is noticed at once."""
    bin_dirs: tuple[Path, ...] = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
    """Where the CNI plugins are looked up, in this order."""
    timeout: float = 60.0
    """Seconds that attaching or detaching one sandbox may take, all plugins together."""
    ifname: str = "eth0"
    """Name of the interface inside the pod."""
    default: bool = True
    """Whether pods get a bridge network of podyard's own where ``conf_dir`` has no configuration file at all."""
    bridge: str = "podyard0"
    """The default network's bridge. Daemons side by side need one each, and subnets of their own."""
    subnets: tuple[str, ...] = ("10.119.0.0/16",)
    """The default network's subnets: one IPv4, one IPv6, or one of each. A pod has an address of each. The pod CIDR of
    a kubelet that has one takes their place."""
    template: Path | None = None
    """A CNI configuration list with gaps in the form of containerd's conf_template ({{.PodCIDR}}, and lists
    {{.PodCIDRRanges}} and {{.Routes}}). It is filled and written to ``conf_dir`` when a kubelet tells the pod CIDR,
    unless another configuration is there. None: the pod CIDR matters to the default network alone."""
    masquerade: bool = True
    """Whether what pods of the default network send to the outside gets the host's address as its source."""

    def __post_init__(self) -> None:
        for name in (self.ifname, self.bridge):
            if not re.fullmatch(r"[^\s/:]{1,15}", name) or name in {".", ".."}:
                raise ValueError(f"network: {name!r} is no interface name: at most 15 characters, no '/', ':' or blank")
        if self.timeout <= 0:
            raise ValueError("network.timeout must be more than 0 seconds")
        versions = [ipaddress.ip_network(subnet).version for subnet in self.subnets]
        if not versions or len(set(versions)) != len(versions):
            raise ValueError("network.subnets must be one IPv4 subnet, one IPv6 subnet, or one of each")
        if small := too_small(self.subnets):
            raise ValueError(f"network.subnets: {', '.join(small)} has no address for a pod: a larger one is needed")
