"""iptables rules that the default network needs on the host, and the chains that the portmap plugin leaves there."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Sequence

import msgspec

from podyard.errors import FailedPrecondition, Internal
from podyard.linux import process
from podyard.network.plugins import tool_environment

LIMIT = 30.0
"""Seconds that one call of iptables may take; most of it is waiting for the lock that all its users share."""

HOST_PORT_CHAINS = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK")
"""What the portmap plugin makes once on a host and never removes."""


class Rule(msgspec.Struct, frozen=True):
    """One rule: ``tool`` is iptables or ip6tables, ``arguments`` what follows the chain's name."""

    tool: str
    table: str
    chain: str
    arguments: tuple[str, ...]


def rules_for(bridge: str, subnets: Sequence[str], *, masquerade: bool) -> list[Rule]:
    """The rules of a bridge network.

    What leaves the bridge's subnet gets the host's address: one rule for the network, not one chain a pod, so that
    nothing is left when a pod's namespace disappears before its DEL. Forwarding is accepted from the pods, and to
    them for answers and host ports only, since other software on a host often makes "drop" the policy of FORWARD.
    """
    rules = []
    mark = ("-m", "comment", "--comment", f"podyard {bridge}")
    for subnet in subnets:
        tool = "iptables" if ipaddress.ip_network(subnet).version == 4 else "ip6tables"
        if masquerade:
            outside = ("-s", subnet, "!", "-o", bridge)
            rules.append(Rule(tool, "nat", "POSTROUTING", (*outside, *mark, "-j", "MASQUERADE")))
        answers = ("-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT")
        rules.append(Rule(tool, "filter", "FORWARD", ("-i", bridge, *mark, "-j", "ACCEPT")))
        rules.append(Rule(tool, "filter", "FORWARD", (*answers, *mark, "-j", "ACCEPT")))
    return rules


async def add(rule: Rule) -> None:
    """Put a rule first in its chain unless it is there. Raises Internal or FailedPrecondition."""
    if not await _has(rule):
        await _call(rule.tool, "-t", rule.table, "-I", rule.chain, *rule.arguments)


async def remove(rule: Rule) -> None:
    """Take a rule away, as often as it is there. Raises Internal or FailedPrecondition."""
    while await _has(rule):
        await _call(rule.tool, "-t", rule.table, "-D", rule.chain, *rule.arguments)


async def remove_host_port_chains(tool: str) -> None:
    """Remove the portmap plugin's common chains, unless a mapping of anybody is still in them.

    One transaction: a mapping that appears meanwhile makes it fail as a whole. Raises Internal or FailedPrecondition.
    """
    lines = (await _call(tool, "-t", "nat", "-S")).splitlines()
    ours = [chain for chain in HOST_PORT_CHAINS if f"-N {chain}" in lines]
    if not ours or any(line.startswith("-N CNI-DN-") for line in lines):
        return
    jumps = [line for line in lines if re.search(rf"^-A (?!CNI-HOSTPORT-).* -j ({'|'.join(ours)})\b", line)]
    # The mark chain has a fixed rule in it, and so has the one that looks for the mark.
    fixed = [f"-F {chain}" for chain in ours if chain != HOST_PORT_CHAINS[0]]
    changes = [line.replace("-A ", "-D ", 1) for line in jumps] + fixed + [f"-X {chain}" for chain in ours]
    script = "\n".join(["*nat", *changes, "COMMIT", ""])
    await _call(f"{tool}-restore", "--noflush", stdin=script.encode())


async def _has(rule: Rule) -> bool:
    argv = [rule.tool, "-w", "-t", rule.table, "-C", rule.chain, *rule.arguments]
    done = await _run(argv)
    if done.code not in {0, 1}:
        raise _error(argv, done)
    return done.code == 0


async def _call(tool: str, *arguments: str, stdin: bytes = b"") -> str:
    argv = [tool, "-w", *arguments]
    done = await _run(argv, stdin)
    if done.code != 0:
        raise _error(argv, done)
    return done.stdout.decode(errors="replace")


async def _run(argv: Sequence[str], stdin: bytes = b"") -> process.Completed:
    try:
        return await process.run(argv, limit=LIMIT, stdin=stdin, env=tool_environment())
    except Internal as error:
        raise FailedPrecondition(f"podyard's default network needs iptables: {error}") from error


def _error(argv: Sequence[str], done: process.Completed) -> Internal:
    return Internal(f"{shlex.join(argv)} failed: {done.stderr.decode(errors='replace').strip()} (code {done.code})")
