"""What starts one Pod's containers in its sandbox: images, volumes, files, then the calls."""

from __future__ import annotations

from dataclasses import replace

from podyard.client import Client
from podyard.cri import api
from podyard.errors import FailedPrecondition, PodyardError, Unimplemented
from podyard.manifest.model import Container, EphemeralContainer, LifecycleHandler, Pod
from podyard.manifest.translate import (
    HostFacts,
    check_non_root,
    container_config,
    environment,
    hosts_file,
    labels,
    sandbox_config,
)
from podyard.manifest.translate.environment import config_maps_of, secrets_of
from podyard.pods import volumes
from podyard.pods.actions import Actions
from podyard.pods.board import Board
from podyard.pods.folders import PodFolder
from podyard.pods.images import Images, PullPolicy
from podyard.pods.mounts import Mounts
from podyard.pods.objects import Objects, held
from podyard.pods.patience import in_thread, is_away
from podyard.pods.projections import Projections
from podyard.pods.steps import Steps
from podyard.pods.stopping import stop_container
from podyard.pods.takeover import Found
from podyard.pods.users import check_groups_policy, check_user_namespaces

HOOK_LIMIT = 3600
"""Seconds for a postStart hook: a bound for what a kubelet waits for without one."""


class Launcher:
    """Makes the sandbox and starts containers of a Pod (which has its uid).

    ``users``: the host id of its root where it has its own user namespace. ``found``: what was there of it.
    """

    def __init__(
        self,
        client: Client,
        pod: Pod,
        folder: PodFolder,
        host: HostFacts,
        steps: Steps,
        *,
        objects: Objects,
        users: int | None = None,
        board: Board | None = None,
        found: Found | None = None,
    ) -> None:
        self.pod = pod
        self.folder = folder
        self.host = host
        self.board = board or Board()
        self.projections = Projections(pod, folder, host, objects)
        self._client = client
        self._steps = steps
        self._objects = objects
        self._users = users
        found = found or Found()
        self.is_new = found.view is None
        """Whether the Pod has never had a sandbox, so that its volumes hold nothing of its own."""
        self._next_attempts = found.next_attempts()
        attempt = found.sandbox_attempt()
        self._sandbox = sandbox_config(pod, host, log_directory=str(folder.logs), users=users, attempt=attempt)
        self._images = Images(client, pod, objects, steps, self._sandbox)
        self._mounts = Mounts(client, pod, folder, self._images, self._handler)
        self.sandbox_id = ""
        self.ips: tuple[str, ...] = ()
        self.created_at = 0.0
        """When the sandbox was made: seconds since 1970."""

    async def fetch_images(self) -> None:
        """See that all images are there, side by side.

        Raises NotFound for a missing image that must not be pulled, InvalidArgument where one would run as root and
        must not, and what pulling raises.
        """
        await self._images.fetch_all()
        for container in self.pod.all_containers():
            check_non_root(self.pod, container, self._images[container.image])

    async def prepare_volumes(self) -> None:
        """Make the Pod's directories and volumes. Raises NotFound for an object that one of them is made of."""
        await in_thread(volumes.prepare, self.pod, self.folder)
        await in_thread(self.folder.endpoint.write_text, self._client.endpoint, encoding="utf-8")
        await self.projections.write()

    async def run_sandbox(self) -> None:
        """Make the log directory and the sandbox."""
        handler = await self._handler()
        if self._users is not None:
            await check_user_namespaces(self._client, self.pod, handler)
        await check_groups_policy(self._client, self.pod)
        await in_thread(_make_log_folder, self.folder)
        sandbox_id = await self._client.runtime.run_pod_sandbox(self._sandbox, handler)
        await self.adopt(sandbox_id)

    async def _handler(self) -> str:
        """The endpoint's name for the Pod's runtime class; "" for its default."""
        name = self.pod.spec.runtime_class_name
        return await self._objects.runtime_handler(name) if name else ""

    async def adopt(self, sandbox_id: str) -> None:
        """Use this sandbox, and write the Pod's /etc/hosts with its addresses."""
        status = (await self._client.runtime.pod_sandbox_status(sandbox_id)).status
        addresses = [status.network.ip, *(more.ip for more in status.network.additional_ips)]
        self.ips = tuple(address for address in addresses if address)
        if self.pod.spec.host_network and not self.ips:
            self.ips = self.host.ips  # some endpoints tell no address for the host's network
        self.sandbox_id, self.created_at = sandbox_id, status.created_at / 1e9
        text = hosts_file(self.pod, self.host, self.ips)
        await in_thread(_write_hosts, self.folder, text)

    def next_attempt(self, name: str) -> int:
        """The number of a container's first attempt in a sandbox: it goes on from those in earlier ones."""
        return self._next_attempts.get(name, 0)

    async def launch(self, container: Container, attempt: int) -> str:
        """Make and start one attempt at a container; its id. Raises as ``start`` does, and what making it raises."""
        name, reason = container.name, self.board.reason
        for image, policy in self._images_of(container):
            if image not in self._images:
                with reason(name, "ErrImageNeverPull" if policy == "Never" else "ErrImagePull"):
                    await self._images.fetch(image, policy)
        with self._steps.step("creating the container", name) as note:
            with reason(name, "CreateContainerConfigError"):
                config = await self._config(container, attempt)
            with reason(name, "CreateContainerError"):
                container_id = await self._client.runtime.create_container(self.sandbox_id, config, self._sandbox)
                await self._check_stop_signal(container, config, container_id)
            note.detail = container_id[:12]
        await self.start(container, container_id)
        return container_id

    async def start(self, container: Container, container_id: str) -> None:
        """Start a container that is made, and run its postStart hook. One whose hook fails is stopped again."""
        name, reason = container.name, self.board.reason
        with reason(name, "RunContainerError"), self._steps.step("starting the container", name):
            await self._client.runtime.start_container(container_id)
        if container.lifecycle.post_start is not None:
            with reason(name, "PostStartHookError"), self._steps.step("running the postStart hook of", name):
                await self._post_start(container, container.lifecycle.post_start, container_id)
        self.board.runs(name)

    async def go_on(self, container: Container, container_id: str) -> None:
        """Start a container that a start made which was cut off: the attempt is the same one, since it never ran.

        Raises as ``start`` does. One that the endpoint does not start, and leaves as it was, is removed, so that the
        attempt can be made anew.
        """
        try:
            await self.start(container, container_id)
        except PodyardError as error:
            if not is_away(error):
                status = (await self._client.runtime.container_status(container_id)).status
                if status.state == api.CONTAINER_CREATED:
                    await self._client.runtime.remove_container(container_id)
            raise

    async def stop(self, container: Container, container_id: str, grace: int) -> None:
        """Stop a container that runs, its preStop hook first. ``grace``: seconds."""
        hook = container.lifecycle.pre_stop
        if hook is not None:
            hook = labels.with_port_number(container, hook)
        await stop_container(
            self._client, container_id, container.name, grace, hook=hook, ips=self.ips, steps=self._steps
        )

    async def _post_start(self, container: Container, hook: LifecycleHandler, container_id: str) -> None:
        (action,) = hook.actions
        try:
            failure = await Actions(self._client, self.ips).perform(action, container_id, container, HOOK_LIMIT)
        except PodyardError as error:
            failure = str(error)
        if failure:
            await self.stop(container, container_id, self.pod.spec.termination_grace_period_seconds)
            raise FailedPrecondition(f"the hook failed and the container was stopped: {failure}")

    def forget_images(self, container: Container) -> None:
        """Look at a container's images again before it is started the next time, as their pull policies say."""
        for image, _ in self._images_of(container):
            self._images.forget(image)

    def _images_of(self, container: Container) -> list[tuple[str, PullPolicy]]:
        """Its own image and those that it mounts."""
        mounted = [self._images.volume_policy(mount.name) for mount in container.volume_mounts]
        return [(container.image, container.pull_policy), *(image for image in mounted if image is not None)]

    async def _config(self, container: Container, attempt: int) -> api.ContainerConfig:
        check_non_root(self.pod, container, self._images[container.image])
        namespace = self.pod.metadata.namespace
        found = await held(self._objects, namespace, config_maps_of(container), secrets_of(container))
        found = replace(found, services=await self._objects.services(namespace, self.pod.spec.enable_service_links))
        variables, skipped = environment(self.pod, container, self.host, self.ips, found)
        for keys in skipped:
            self._steps.tell("leaving out of the environment of", container.name, detail=keys)
        last_words = self.folder.termination_message(container.name, attempt)
        await in_thread(_make_container_files, self.folder, container.name, attempt)
        config = container_config(
            self.pod,
            container,
            self._images[container.image],
            self.host,
            attempt=attempt,
            variables=variables,
            volumes=await self._mounts.resolve(container, attempt, variables),
            files={"/etc/hosts": str(self.folder.hosts), container.termination_message_path: str(last_words)},
            target=await self._target(container),
            users=self._users,
        )
        limits = config.linux.resources.SerializeToString(deterministic=True)
        await in_thread(self.folder.resources(container.name, attempt).write_bytes, limits)
        return config

    async def _check_stop_signal(self, container: Container, config: api.ContainerConfig, container_id: str) -> None:
        """Raise Unimplemented, and leave no container, where the endpoint knows no stop signals: it would send another.

        Those that know them tell them in a container's status.
        """
        if config.stop_signal == api.SIGNAL_RUNTIME_DEFAULT:
            return
        status = (await self._client.runtime.container_status(container_id)).status
        if status.stop_signal != config.stop_signal:
            await self._client.runtime.remove_container(container_id)
            raise Unimplemented(
                f"the container {container.name!r} wants the stopSignal {container.lifecycle.stop_signal}, which "
                f"{self._client.endpoint} does not know: take it out, or use a runtime that does"
            )

    async def _target(self, container: Container) -> str:
        """The id of the container whose processes this one sees; "" for most. Raises FailedPrecondition."""
        if not isinstance(container, EphemeralContainer) or not container.target_container_name:
            return ""
        name = container.target_container_name
        for found in await self._client.runtime.list_containers(api.ContainerFilter(pod_sandbox_id=self.sandbox_id)):
            if found.metadata.name == name and found.state == api.CONTAINER_RUNNING:
                return found.id
        raise FailedPrecondition(f"the container {name!r}, whose processes it is to see, does not run")


def _make_log_folder(folder: PodFolder) -> None:
    folder.logs.mkdir(mode=0o755, parents=True, exist_ok=True)


def _write_hosts(folder: PodFolder, text: str) -> None:
    """In place: containers have this very file mounted."""
    folder.hosts.write_text(text, encoding="utf-8")
    folder.hosts.chmod(0o644)


def _make_container_files(folder: PodFolder, name: str, attempt: int) -> None:
    (folder.logs / name).mkdir(mode=0o755, exist_ok=True)
    path = folder.termination_message(name, attempt)
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o666)  # whatever user the container runs as may write it
