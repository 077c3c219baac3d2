"""The network that pods get where the host configures none: a bridge, addresses from host-local, and host ports.

The CNI plugins make the bridge with the first pod. The rules for masquerading and forwarding are podyard's own. What is
on the host is noted before it is made, so that ``remove`` takes away that and nothing else.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from podyard.errors import FailedPrecondition
from podyard.linux import bridges
from podyard.network import firewall
from podyard.network.config import NetworkConfig
from podyard.network.configuration import NetworkConfiguration, parse
from podyard.network.pod_cidr import routes, write_new

NAME = "podyard"
"""The network's name; the plugins' files and iptables comments have it."""


class OnHost(msgspec.Struct, frozen=True, kw_only=True):
    """What the default network may have put on the host. ``host_ports``: whether portmap was asked for mappings."""

    bridge: str
    rules: tuple[firewall.Rule, ...] = ()
    host_ports: bool = False


class DefaultNetwork:
    """podyard's own bridge network. ``folder`` holds its address files and its notes."""

    def __init__(self, config: NetworkConfig, folder: Path) -> None:
        self._config = config
        self._notes = folder / "bridges"
        self._data = folder / "addresses"
        self._chosen = folder / "subnets.json"
        self._settled = False
        self._use(config.subnets)

    def prepare(self) -> None:
        """Make the directories, and read which subnets were chosen last."""
        self._notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._chosen.exists():
            self._use(msgspec.json.decode(self._chosen.read_bytes(), type=tuple[str, ...]))

    def choose(self, subnets: tuple[str, ...]) -> None:
        """Take other subnets than the configuration's, now and after a restart. No sandbox may be attached."""
        write_new(self._chosen, msgspec.json.encode(subnets))
        self._use(subnets)

    def _use(self, subnets: tuple[str, ...]) -> None:
        self.subnets = subnets
        self._settled = False
        raw = configuration(self._config.bridge, subnets, self._data)
        self.configuration: NetworkConfiguration = parse(json.dumps(raw).encode(), is_list=True)

    async def claim(self, *, host_ports: bool) -> None:
        """Make sure that the bridge's name is podyard's to use, and that the rules are there.

        Raises FailedPrecondition when others use the bridge or iptables is not installed, Internal when it fails.
        """
        name = self._config.bridge
        known = self._note(name)
        if known is None:
            self._check_unused()
        wanted = tuple(firewall.rules_for(name, self.subnets, masquerade=self._config.masquerade))
        found = known or OnHost(bridge=name)
        noted = replace(
            found, rules=tuple(dict.fromkeys((*found.rules, *wanted))), host_ports=found.host_ports or host_ports
        )
        if noted != known:
            self._save(noted)
        if not self._settled:
            await self._settle(noted, wanted)
            self._settled = True

    async def _settle(self, noted: OnHost, wanted: tuple[firewall.Rule, ...]) -> None:
        """Once in a daemon's life and after a change of subnets: what other settings have left goes, the rules come."""
        if bridges.exists(noted.bridge) and not bridges.ports(noted.bridge):
            # It may have another subnet's address, which the plugin does not change; it makes the bridge anew.
            bridges.remove(noted.bridge)
        for rule in noted.rules:
            if rule not in wanted:
                await firewall.remove(rule)
        for rule in wanted:
            await firewall.add(rule)
        self._save(replace(noted, rules=wanted))

    async def remove(self) -> None:
        """Take away bridges, rules, address files, and the portmap plugin's common chains if nobody uses them.

        Raises FailedPrecondition when a bridge still has ports, Internal when a rule cannot be removed.
        """
        self._settled = False
        for file in sorted(self._notes.glob("*.json")):
            noted = msgspec.json.decode(file.read_bytes(), type=OnHost)
            ports = bridges.ports(noted.bridge)
            if ports:
                raise FailedPrecondition(f"the bridge {noted.bridge} is still in use by {', '.join(ports)}")
            for rule in noted.rules:
                await firewall.remove(rule)
            if noted.host_ports:
                for tool in dict.fromkeys(rule.tool for rule in noted.rules):
                    await firewall.remove_host_port_chains(tool)
            bridges.remove(noted.bridge)
            file.unlink()
        if self._data.exists():
            shutil.rmtree(self._data)

    def release_addresses(self, known: set[str]) -> list[str]:
        """Free the addresses of sandboxes that are not in ``known``; the addresses.

        host-local notes each address in a file of its name whose first line is the sandbox's id. A power cut may have
        kept such a file and lost the record that a DEL needs.
        """
        freed = []
        for file in (self._data / NAME).glob("*"):
            if _is_address(file.name) and file.read_text(encoding="utf-8").split("\n")[0].strip() not in known:
                file.unlink()
                freed.append(file.name)
        return sorted(freed)

    def _check_unused(self) -> None:
        """A bridge that is there before podyard's note of it, with others' interfaces, is another's."""
        name = self._config.bridge
        if bridges.exists(name) and (bridges.ports(name) or not bridges.is_bridge(name)):
            raise FailedPrecondition(
                f"the interface {name} is there already and others use it: choose another network.bridge and "
                "network.subnets for this daemon, or remove it"
            )

    def _note(self, bridge: str) -> OnHost | None:
        try:
            return msgspec.json.decode((self._notes / f"{bridge}.json").read_bytes(), type=OnHost)
        except FileNotFoundError:
            return None

    def _save(self, noted: OnHost) -> None:
        write_new(self._notes / f"{noted.bridge}.json", msgspec.json.encode(noted))


def configuration(bridge_name: str, subnets: Sequence[str], data: Path) -> dict[str, Any]:
    """The CNI configuration list of the default network; ``data`` is where host-local keeps its address files."""
    networks = [ipaddress.ip_network(subnet) for subnet in subnets]
    bridge = {
        "type": "bridge",
        "bridge": bridge_name,
        "isGateway": True,
        # One rule for the whole network stands for this (firewall.rules_for).
        "ipMasq": False,
        # A pod reaches itself through its own host port.
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(data),
            "ranges": [[{"subnet": str(network)}] for network in networks],
            "routes": [{"dst": destination} for destination in routes(subnets)],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "1.0.0", "name": NAME, "plugins": [bridge, portmap]}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        # host-local has a lock and notes of the last address there too.
        return False
    return True
