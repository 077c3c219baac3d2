"""RunPodSandbox."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument
from podyard.lifecycle import requests
from podyard.linux import cgroups, mounts, namespaces
from podyard.model.ids import new_id
from podyard.model.records import Process, Sandbox
from podyard.network import AttachRequest, PortMapping
from podyard.oci import idmaps
from podyard.oci.spec import infra_spec
from podyard.operations import Operation, Step, Together
from podyard.runtime import process
from podyard.runtime.context import Context, Handler, now
from podyard.runtime.store import sandbox_name

SHM_OPTIONS = "mode=1777,size=65536k"
"""/dev/shm as containerd and docker make it: 64 MiB."""

PORTS = range(1, 65_536)


def check(config: api.PodSandboxConfig) -> None:
    """Raise InvalidArgument or Unimplemented for a sandbox that cannot be."""
    requests.check_name(config.metadata.name, "the sandbox's name")
    requests.check_name(config.metadata.namespace, "the sandbox's namespace")
    requests.check_labels(config.labels)
    requests.check_hostname(config.hostname)
    security = config.linux.security_context
    options = security.namespace_options
    check_modes(options)
    requests.check_sysctls(
        config.linux.sysctls, host_network=options.network == api.NODE, host_ipc=options.ipc == api.NODE
    )
    if security.HasField("run_as_group") and not security.HasField("run_as_user"):
        raise InvalidArgument("run_as_group of the pod sandbox is set without run_as_user")
    if options.network == api.CONTAINER:
        raise InvalidArgument("network mode CONTAINER is not one of a pod: use POD or NODE")
    if options.pid == api.TARGET or options.target_id:
        raise InvalidArgument("pid mode TARGET is for containers: a pod sandbox has none of its own to share")
    idmaps.of_sandbox(config)
    for mapping in config.port_mappings:
        check_port(mapping)
    requests.check_unimplemented({"windows": config.HasField("windows")})


def check_modes(options: api.NamespaceOption) -> None:
    """Raise InvalidArgument for a namespace mode that there is not: it must not be taken for the host's."""
    modes = {kind: getattr(options, kind) for kind in ("network", "pid", "ipc")}
    for kind, mode in (modes | {"userns_options.mode": options.userns_options.mode}).items():
        requests.check_known(f"namespace_options.{kind}", mode, api.NamespaceMode.values())


def check_port(mapping: api.PortMapping) -> None:
    """Raise InvalidArgument for a port that cannot be forwarded: no CNI plugin could take back what it made for it."""
    requests.check_known("port_mappings: protocol", mapping.protocol, api.Protocol.values())
    if not mapping.host_port:
        return  # a port of the pod alone
    for field in ("host_port", "container_port"):
        if getattr(mapping, field) not in PORTS:
            raise InvalidArgument(f"port_mappings: {field} {getattr(mapping, field)} is not between 1 and 65535")
    try:
        ipaddress.ip_address(mapping.host_ip or "0.0.0.0")
    except ValueError:
        raise InvalidArgument(f"port_mappings: host_ip {mapping.host_ip!r} is no address") from None


def check_handler(config: api.PodSandboxConfig, handler: Handler) -> None:
    """Raise FailedPrecondition for a sandbox that a handler cannot run on this host."""
    if handler.no_user_namespaces and idmaps.of_sandbox(config) is not None:
        raise FailedPrecondition(
            f"{handler.runtime.name} runs no pods with a user namespace on this host: {handler.no_user_namespaces}"
        )


def planned(context: Context, config: api.PodSandboxConfig, handler_name: str) -> Sandbox:
    """The record of a sandbox that is to be made. Raises as ``check`` and ``check_handler`` do."""
    check(config)
    requests.check_cgroup_parent(config.linux.cgroup_parent, systemd=context.systemd_cgroups)
    handler = context.handler(handler_name)
    check_handler(config, handler)
    return Sandbox(
        id=new_id(),
        config=config.SerializeToString(deterministic=True),
        handler=handler_name,
        runtime=handler.runtime.name,
        created_at=now(),
        boot_id=context.boot_id,
    )


class RunPodSandbox(Operation[str]):
    """Make a sandbox: its namespaces, its files, its network, and an infra process only if it shares PIDs."""

    kind = "RunPodSandbox"
    policy = "undo"

    def __init__(self, context: Context, sandbox: Sandbox) -> None:
        self.context = context
        self.sandbox = sandbox
        self.config = api.PodSandboxConfig.FromString(sandbox.config)
        self.subject = sandbox.id
        self.options = self.config.linux.security_context.namespace_options
        self.id_map = idmaps.of_sandbox(self.config)

    @classmethod
    def from_journal(cls, context: Context, data: bytes) -> RunPodSandbox:
        """The operation again, after a crash."""
        return cls(context, msgspec.json.decode(data, type=Sandbox))

    @property
    def key(self) -> str:
        name, namespace, uid, attempt = sandbox_name(self.config)
        return f"sandbox {namespace}/{name} (uid {uid}, attempt {attempt})"

    @property
    def fingerprint(self) -> bytes:
        return self.sandbox.handler.encode() + b"\0" + self.sandbox.config

    def journal_input(self) -> bytes:
        return msgspec.json.encode(self.sandbox)

    def steps(self) -> Sequence[Step | Together]:
        steps: list[Step | Together] = [
            Step("pinning the namespaces", self.pin, undo=self.unpin),
            Step("writing the pod's files", self.write_files, undo=self.remove_files),
        ]
        live: list[Step] = []
        if self.options.network != api.NODE:
            limit = self.context.config.network.timeout + 5
            live.append(Step("attaching the network", self.attach, undo=self.detach, limit=limit))
        if self.options.pid == api.POD:
            live.append(Step("starting the infra process", self.start_infra, undo=self.stop_infra))
        if live:
            steps.append(Together(*live))
        steps.append(Step("remembering the sandbox", self.remember, undo=self.forget))
        return steps

    def result(self) -> str:
        return self.sandbox.id

    async def pin(self) -> None:
        """Its own user, network, IPC and UTS namespaces, as far as it does not use the host's."""
        own_network = self.options.network != api.NODE
        kinds = {"network", "uts"} if own_network else set()
        if self.options.ipc != api.NODE:
            kinds.add("ipc")
        sysctls = dict(DEFAULT_SYSCTLS) if own_network else {}
        sysctls.update(self.config.linux.sysctls)
        wanted = namespaces.NewNamespaces(frozenset(kinds), self.config.hostname, sysctls, self.id_map)
        await asyncio.to_thread(namespaces.pin, self.context.paths.pins(self.subject), wanted)

    async def unpin(self) -> None:
        """Take the pins away."""
        await asyncio.to_thread(namespaces.unpin, self.context.paths.pins(self.subject))

    async def write_files(self) -> None:
        """/etc/resolv.conf, /etc/hosts and /etc/hostname for containers that mount none of their own, and /dev/shm."""
        await asyncio.to_thread(self._write_files)

    def _write_files(self) -> None:
        folder = self.context.paths.sandbox(self.subject)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        resolver = resolv_conf(self.config.dns_config)
        if resolver:
            (folder / "resolv.conf").write_text(resolver, encoding="utf-8")
        else:
            # Also for an empty dns_config, as in containerd and CRI-O: without servers a resolver asks nobody's.
            _copy_or_empty(Path("/etc/resolv.conf"), folder / "resolv.conf")
        _copy_or_empty(Path("/etc/hosts"), folder / "hosts")
        # Without a name of its own it has the host's: the kernel's, whatever the host's file says, if there is one.
        name = self.config.hostname or socket.gethostname()
        (folder / "hostname").write_text(f"{name}\n", encoding="utf-8")
        if self.options.ipc != api.NODE:
            (folder / "shm").mkdir(exist_ok=True)
            uid, gid = self._root()
            mounts.mount_tmpfs(folder / "shm", f"{SHM_OPTIONS},uid={uid},gid={gid}")

    def _root(self) -> tuple[int, int]:
        """Uid and gid, on the host, of who is root in the pod."""
        if self.id_map is None:
            return 0, 0
        return self.id_map.root

    async def remove_files(self) -> None:
        """Remove the pod's files and its /dev/shm."""
        await asyncio.to_thread(mounts.remove_tree, self.context.paths.sandbox(self.subject))

    async def attach(self) -> None:
        """Let the CNI plugins give the network namespace its interface."""
        result = await self.context.network.attach(attach_request(self.context, self.sandbox.id, self.config))
        self.sandbox = replace(self.sandbox, ips=result.ips, network_result=json.dumps(result.raw))

    async def detach(self) -> None:
        """Let the CNI plugins take the interface and its address back."""
        await self.context.network.detach(attach_request(self.context, self.sandbox.id, self.config))

    async def start_infra(self) -> None:
        """Start the process whose PID namespace the pod's containers share, and pin that namespace."""
        bundle = self.context.paths.bundle(self.subject)
        (bundle / "rootfs").mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.id_map is not None:
            bundle.chmod(0o711)
        await asyncio.to_thread(self._mount_infra_root, bundle / "rootfs")
        pins = self.context.paths.pins(self.subject)
        joined = {kind: str(pins / kind) for kind in ("user", "network", "ipc", "uts") if (pins / kind).exists()}
        parent = self.context.cgroup_parent(self.subject, self.config.linux.cgroup_parent)
        spec = infra_spec(
            self.config,
            namespaces=joined,
            cgroups_path=self.context.cgroups_path(parent, self.subject),
            host=self.context.host,
            id_map=self.id_map,
        )
        process.write_bundle(bundle, spec)
        runtime = self.context.runtime(self.sandbox.runtime)
        infra = await self.context.monitor.create(self.subject, bundle, runtime)
        await runtime.start(self.subject)
        namespaces.pin_of_process(pins, "pid", infra.pid)
        self.sandbox = replace(self.sandbox, infra=infra)

    def _mount_infra_root(self, target: Path) -> None:
        """A directory with the init in it. It stands where containers' files do: /run is often mounted noexec, and in a
        user namespace nobody can lift that."""
        root = self.context.paths.writable(self.subject)
        root.mkdir(mode=0o755, exist_ok=True)
        os.chown(root, *self._root())  # the OCI runtime makes mount points in it
        shutil.copy2(self.context.init, root / "init")
        mounts.bind(str(root), target)

    async def stop_infra(self) -> None:
        """End the infra process and remove what it needed."""
        await stop_infra(self.context, self.sandbox)
        await asyncio.to_thread(remove_own_cgroup, self.context, self.subject, self.config)

    async def remember(self) -> None:
        """From here on the sandbox exists."""
        entry = self.context.store.save_sandbox(replace(self.sandbox, created_at=now()))
        self.context.watcher.watch_infra(entry)

    async def forget(self) -> None:
        """Take back the record."""
        self.context.store.delete_sandbox(self.subject)


DEFAULT_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
"""What containerd and CRI-O set in a pod's own network: low ports and ping need no privilege there."""


async def stop_infra(context: Context, sandbox: Sandbox) -> None:
    """End a sandbox's infra process and remove its bundle; one that is not there is fine."""
    bundle = context.paths.bundle(sandbox.id)
    if bundle.exists():
        same_boot = sandbox.boot_id == context.boot_id
        target: Process | None = sandbox.infra if same_boot else None
        await process.kill_and_delete(context, context.runtime(sandbox.runtime), sandbox.id, target)
        await asyncio.to_thread(mounts.remove_tree, bundle)
    await asyncio.to_thread(mounts.remove_tree, context.paths.writable(sandbox.id))


def attach_request(context: Context, sandbox_id: str, config: api.PodSandboxConfig) -> AttachRequest:
    """What the CNI plugins are told of a sandbox."""
    return AttachRequest(
        sandbox_id=sandbox_id,
        netns=context.paths.pins(sandbox_id) / "network",
        name=config.metadata.name,
        namespace=config.metadata.namespace,
        uid=config.metadata.uid,
        annotations=dict(config.annotations),
        port_mappings=tuple(
            PortMapping(
                host_port=mapping.host_port,
                container_port=mapping.container_port,
                protocol=api.Protocol.Name(mapping.protocol).lower(),
                host_ip=mapping.host_ip,
            )
            for mapping in config.port_mappings
            if mapping.host_port
        ),
        cgroup_parent=config.linux.cgroup_parent,
        dns_servers=tuple(config.dns_config.servers),
        dns_searches=tuple(config.dns_config.searches),
        dns_options=tuple(config.dns_config.options),
    )


def resolv_conf(dns: api.DNSConfig) -> str:
    """A resolv.conf(5) with a request's servers, search domains and options."""
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    lines += [f"options {' '.join(dns.options)}"] if dns.options else []
    return "".join(f"{line}\n" for line in lines)


def remove_own_cgroup(context: Context, sandbox_id: str, config: api.PodSandboxConfig) -> None:
    """Remove the cgroup above a sandbox's containers where it is podyard's own, not the client's or systemd's."""
    if not config.linux.cgroup_parent and not context.systemd_cgroups:
        cgroups.remove(context.cgroup_parent(sandbox_id, ""))


def _copy_or_empty(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        target.touch()
