"""Attaching sandboxes to the host's CNI network and detaching them (CNI 1.1.0, section 3)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from podyard.errors import DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, PodyardError, Unavailable
from podyard.linux import namespaces
from podyard.network import default, pod_cidr
from podyard.network.attachments import Attachment, Attachments, execution_config
from podyard.network.capabilities import runtime_configs
from podyard.network.config import NetworkConfig
from podyard.network.configuration import Directory, Loaded, NetworkConfiguration
from podyard.network.default import DefaultNetwork
from podyard.network.health import Health
from podyard.network.model import AttachRequest, AttachResult, NetworkStatus
from podyard.network.plugins import Invocation, Plugins
from podyard.network.results import addresses

logger = logging.getLogger(__name__)

NOT_READY = "NetworkPluginNotReady"
"""The reason that kubelets and their users know."""

GRACE = 1.0
"""Seconds after the plugins' own time limit: a plugin that hangs is named before the whole is given up."""

GC_AT_ONCE = 8
"""Sandboxes that are detached side by side when a start finds attachments that nobody wants."""


class Network:
    """The network of all sandboxes. ``state_folder`` holds what was attached, and the default network's addresses."""

    def __init__(self, config: NetworkConfig, state_folder: Path) -> None:
        self._config = config
        self._directory = Directory(config.conf_dir)
        self._plugins = Plugins(config.bin_dirs)
        self._attachments = Attachments(state_folder / "attachments")
        self._default = DefaultNetwork(config, state_folder)
        self._health = Health(self._plugins)
        self._first = asyncio.Lock()
        self._attaching: set[str] = set()
        self._tried: NetworkConfiguration | None = None

    async def start(self) -> None:
        """Make the directories, and ask the plugins for their status, so that the first answer to Status is true."""
        self._attachments.prepare()
        self._default.prepare()
        configuration = self._chosen(self._directory.load())
        if configuration is not None:
            await self._health.ask(configuration)

    async def close(self) -> None:
        """Stop what runs beside calls. Attachments stay."""
        await self._health.close()

    def status(self) -> NetworkStatus:
        """Whether sandboxes can be attached now, from memory."""
        loaded = self._directory.load()
        configuration = self._chosen(loaded)
        if configuration is None:
            return NetworkStatus(False, NOT_READY, self._why_none(loaded))
        problem = self._plugins.missing(configuration) or self._health.problem(configuration)
        message = "; ".join(filter(None, (problem and f"network {configuration.name}: {problem}", *loaded.problems)))
        return NetworkStatus(not problem, NOT_READY if problem else "", message, configuration.raw)

    async def attach(self, request: AttachRequest) -> AttachResult:
        """Let the plugins give a sandbox's network namespace its interface and its addresses (ADD).

        What a failure leaves is taken away by ``detach``, which is to be called then.

        Raises Unavailable when there is no usable network, FailedPrecondition when the sandbox is attached or the
        configuration or the host does not allow it, InvalidArgument for a request that the network cannot take,
        DeadlineExceeded, and Internal when a plugin fails.
        """
        configuration = self._usable()
        if self._attachments.find(request.sandbox_id) is not None:
            raise FailedPrecondition(f"sandbox {request.sandbox_id} is attached to a network: detach it first")
        deadline = asyncio.get_running_loop().time() + self._config.timeout
        self._attaching.add(request.sandbox_id)
        try:
            async with asyncio.timeout_at(deadline + GRACE):
                return await self._attach(configuration, request, deadline)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"attaching sandbox {request.sandbox_id[:12]} to the network {configuration.name} took longer than "
                f"{self._config.timeout:g} s: it waited for iptables, or for the network's first attachment"
            ) from error
        finally:
            self._attaching.discard(request.sandbox_id)

    async def detach(self, request: AttachRequest) -> None:
        """Let the plugins take back what ``attach`` gave, or what is left of it (DEL).

        They get the configuration and the result of the ADD, however the host's configuration has changed since. A
        sandbox that was never attached, or is detached already, is fine; so is a namespace that is gone.

        Raises what the first failing plugin raised, when all have been run; then the sandbox stays attached.
        """
        await self._detach(request.sandbox_id)

    async def set_pod_cidr(self, text: str) -> None:
        """Let pods have addresses of the subnets that a kubelet was given: one, or one of each family.

        A template is filled and written as the host's CNI configuration, unless there is another one. The default
        network takes them as its own. Any other configuration is its administrator's and stays. Repeating it changes
        nothing.

        Raises InvalidArgument for what are no subnets, or too small ones for the default network, FailedPrecondition
        when the template makes no configuration, or the default network has pods with addresses of other subnets.
        """
        subnets = pod_cidr.parse_subnets(text)
        loaded = self._directory.load()
        if self._config.template is not None:
            await asyncio.to_thread(self._fill_template, self._config.template, subnets, loaded)
        elif self._chosen(loaded) is not self._default.configuration:
            logger.info("the pod CIDR %s is left to the CNI configuration in %s", text, self._config.conf_dir)
        elif subnets != self._default.subnets:
            if small := pod_cidr.too_small(subnets):
                raise InvalidArgument(
                    f"the pod CIDR {', '.join(small)} has no address for a pod: a larger one is needed"
                )
            self._check_none_attached(subnets)
            self._default.choose(subnets)
            logger.info("pods get addresses of %s", ", ".join(subnets))

    def _fill_template(self, template: Path, subnets: tuple[str, ...], loaded: Loaded) -> None:
        file = self._config.conf_dir / pod_cidr.FILE
        content = pod_cidr.filled(template, subnets)
        if not file.exists() and loaded.configuration is not None:
            logger.info("the template for the pod CIDR is not used: %s has a configuration", self._config.conf_dir)
        elif not file.exists() or file.read_bytes() != content:
            file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            pod_cidr.write_new(file, content)
            logger.info("wrote %s for the pod CIDR %s", file, ", ".join(subnets))

    def _check_none_attached(self, subnets: tuple[str, ...]) -> None:
        attached = [self._attachments.find(sandbox) for sandbox in sorted(self._attachments.ids())]
        ours = {one.sandbox_id for one in attached if one is not None and one.network == default.NAME} | self._attaching
        if ours:
            raise FailedPrecondition(
                f"pods cannot get addresses of {', '.join(subnets)} while others have some of "
                f"{', '.join(self._default.subnets)}: stop {', '.join(one[:12] for one in sorted(ours))} first"
            )

    async def gc(self, valid: set[str]) -> list[str]:
        """Detach every sandbox that is not in ``valid``, and tell the plugins which are (GC). What failed, as text.

        To be called while no sandbox is attached or detached. A configuration that other runtimes use as well must
        say ``disableGC``, as the specification has it.
        """
        strangers = sorted(self._attachments.ids() - valid)
        at_once = asyncio.Semaphore(GC_AT_ONCE)
        problems = [p for p in await asyncio.gather(*(self._drop(stranger, at_once) for stranger in strangers)) if p]
        try:
            self._default.release_addresses(valid | self._attachments.ids())
            await self._gc_plugins(valid)
        except (PodyardError, OSError) as error:
            problems.append(f"the network's leftovers: {error}")
        return problems

    async def remove_default_network(self) -> None:
        """Take away all that the default network has put on the host; without it this does nothing.

        The sysctl net.ipv4.ip_forward, which the bridge plugin sets, stays as it is: others may rely on it by now.

        Raises FailedPrecondition while sandboxes are attached, Internal when something cannot be removed.
        """
        left = sorted(self._attachments.ids())
        if left:
            raise FailedPrecondition(f"sandboxes are still attached to the network: {', '.join(left)}")
        await self._default.remove()

    def _chosen(self, loaded: Loaded) -> NetworkConfiguration | None:
        if loaded.configuration is None and self._config.default and not loaded.any_file:
            return self._default.configuration
        return loaded.configuration

    def _why_none(self, loaded: Loaded) -> str:
        if loaded.any_file:
            return f"no CNI configuration in {self._config.conf_dir} can be used: {'; '.join(loaded.problems)}"
        return (
            f"there is no CNI configuration in {self._config.conf_dir}: put one there, "
            "or set network.default = true for podyard's own bridge network"
        )

    def _usable(self) -> NetworkConfiguration:
        loaded = self._directory.load()
        configuration = self._chosen(loaded)
        if configuration is None:
            raise Unavailable(f"pods cannot get a network: {self._why_none(loaded)}")
        return configuration

    async def _attach(
        self, configuration: NetworkConfiguration, request: AttachRequest, deadline: float
    ) -> AttachResult:
        # The first makes what all pods share, such as the bridge and its rules: several at once would race.
        if self._tried is not configuration:
            async with self._first:
                if self._tried is not configuration:
                    result = await self._add(configuration, request, deadline)
                    self._tried = configuration
                    return result
        return await self._add(configuration, request, deadline)

    async def _add(self, configuration: NetworkConfiguration, request: AttachRequest, deadline: float) -> AttachResult:
        wishes = runtime_configs(configuration, request)
        if configuration is self._default.configuration:
            await self._default.claim(host_ports=bool(request.port_mappings))
        version = await self._plugins.version_for(configuration)
        attachment = Attachment(
            sandbox_id=request.sandbox_id,
            netns=str(request.netns),
            ifname=self._config.ifname,
            args=_args(request),
            network=configuration.name,
            version=version,
            plugins=[
                execution_config(configuration.name, version, plugin, wish)
                for plugin, wish in zip(configuration.plugins, wishes, strict=True)
            ],
        )
        self._attachments.save(attachment)
        result = await self._run_add(attachment, deadline)
        self._attachments.save(replace(attachment, result=result))
        try:
            ips = addresses(result, attachment.ifname)
        except ValueError as error:
            raise Internal(f"the CNI network {configuration.name}: {error}") from error
        if not ips:
            raise Internal(f"the CNI network {configuration.name} gave sandbox {request.sandbox_id[:12]} no address")
        return AttachResult(ips, result)

    async def _run_add(self, attachment: Attachment, deadline: float) -> dict[str, Any]:
        invocation = _invocation("ADD", attachment, attachment.netns)
        result: dict[str, Any] = {}
        for number, config in enumerate(attachment.plugins):
            given = config if number == 0 else config | {"prevResult": result}
            result = await self._plugins.run(invocation, given, deadline)
        return result

    async def _detach(self, sandbox_id: str) -> None:
        attachment = self._attachments.find(sandbox_id)
        if attachment is None:
            return
        deadline = asyncio.get_running_loop().time() + self._config.timeout
        # An empty name tells the plugins that the namespace is gone (CNI, DEL).
        netns = attachment.netns if namespaces.is_pinned(Path(attachment.netns)) else ""
        invocation = _invocation("DEL", attachment, netns)
        # CNI before 0.4.0 has no prevResult on DEL.
        with_result = attachment.result is not None and attachment.version not in {"0.3.0", "0.3.1"}
        previous = {"prevResult": attachment.result} if with_result else {}
        failures: list[PodyardError] = []
        for config in reversed(attachment.plugins):
            try:
                await self._plugins.run(invocation, config | previous, deadline)
            except PodyardError as error:
                failures.append(error)
        if failures:
            raise type(failures[0])("; ".join(failure.args[0] for failure in failures)) from failures[0]
        self._attachments.remove(sandbox_id)

    async def _drop(self, sandbox_id: str, at_once: asyncio.Semaphore) -> str:
        async with at_once:
            try:
                await self._detach(sandbox_id)
            except (PodyardError, OSError) as error:
                return f"sandbox {sandbox_id[:12]} is gone and cannot be detached from its network: {error}"
        return ""

    async def _gc_plugins(self, valid: set[str]) -> None:
        """Tell the plugins which attachments there are, where the configuration speaks CNI 1.1.0."""
        configuration = self._chosen(self._directory.load())
        if configuration is None or "1.1.0" not in configuration.versions:
            return
        if configuration.raw.get("disableGC") is True or await self._plugins.version_for(configuration) != "1.1.0":
            return
        found = [self._attachments.find(sandbox) for sandbox in sorted(valid)]
        known = [
            {"containerID": attachment.sandbox_id, "ifname": attachment.ifname}
            for attachment in found
            if attachment is not None and attachment.network == configuration.name
        ]
        deadline = asyncio.get_running_loop().time() + self._config.timeout
        for plugin in configuration.plugins:
            config = execution_config(configuration.name, "1.1.0", plugin)
            # The second key is what the first plugins with GC read.
            given = config | {"cni.dev/valid-attachments": known, "cni.dev/attachments": known}
            await self._plugins.run(Invocation("GC"), given, deadline)


def _invocation(verb: str, attachment: Attachment, netns: str) -> Invocation:
    return Invocation(verb, attachment.sandbox_id, netns, attachment.ifname, attachment.args)


def _args(request: AttachRequest) -> str:
    """CNI_ARGS as Kubernetes' plugins know them."""
    values = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": request.namespace,
        "K8S_POD_NAME": request.name,
        "K8S_POD_INFRA_CONTAINER_ID": request.sandbox_id,
        "K8S_POD_UID": request.uid,
    }
    for name, value in values.items():
        if ";" in value or "=" in value:
            raise InvalidArgument(f"CNI cannot pass {name}={value!r}: it has a ';' or a '='")
    return ";".join(f"{name}={value}" for name, value in values.items())
