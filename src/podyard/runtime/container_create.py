"""CreateContainer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec
from msgspec.structs import replace

from podyard.cri import api
from podyard.errors import FailedPrecondition, InvalidArgument, NotFound
from podyard.lifecycle import requests, signals
from podyard.linux import cgroups
from podyard.linux.mounts import remove_tree, unmount_below
from podyard.model.ids import new_id
from podyard.model.image import Image
from podyard.model.records import Container
from podyard.model.reference import is_digest, parse
from podyard.oci import cdi, idmaps, lsm, mounts
from podyard.oci.host import HostFacts
from podyard.oci.lookup import look_up
from podyard.oci.spec import SpecInputs, build_spec
from podyard.operations import Operation, Step
from podyard.runtime import process, rootfs, volumes
from podyard.runtime.context import Context, now
from podyard.runtime.rootfs import Owners
from podyard.runtime.sandbox_run import check_modes
from podyard.runtime.store import SandboxEntry, container_name

VOLUME_LIMIT = 120.0
"""Seconds for looking at the host paths of mounts: one on a hung network file system must not hang more than this."""


def check(config: api.ContainerConfig, sandbox: SandboxEntry, host: HostFacts) -> None:
    """Raise InvalidArgument, FailedPrecondition or Unimplemented for a container that cannot be."""
    if not sandbox.record.ready:
        raise FailedPrecondition(f"pod sandbox {sandbox.record.id[:12]} is not ready: make a new one")
    requests.check_name(config.metadata.name, "the container's name")
    requests.check_labels(config.labels)
    requests.check_log_path(sandbox.config.log_directory, config.log_path)
    if not config.image.image:
        raise InvalidArgument("the container's image is empty")
    if config.linux.security_context.privileged and not sandbox.config.linux.security_context.privileged:
        raise InvalidArgument("a privileged container needs a privileged pod sandbox")
    requests.check_known("stop_signal", config.stop_signal, api.Signal.values())
    check_modes(config.linux.security_context.namespace_options)
    idmaps.check_container(config, sandbox.config)
    mounts.check(config.mounts, idmaps.of_sandbox(sandbox.config), host)
    cdi.requested(config)
    requests.check_unimplemented({"windows": config.HasField("windows")})


def image_of(context: Context, wanted: api.ImageSpec) -> Image:
    """The image that a request names; where it also says which one it means, none but that one.

    Raises NotFound, and FailedPrecondition for another one.
    """
    image = context.images.find(wanted.image)
    if image is None:
        raise NotFound(f"image {wanted.image} is not here: pull it first")
    meant = context.images.find(wanted.image_ref) if wanted.image_ref else image
    if meant is None or meant.id != image.id:
        raise FailedPrecondition(f"image {wanted.image} is {image.id} now, not {wanted.image_ref}: pull it again")
    return image


class CreateContainer(Operation[str]):
    """Make a container: its root file system, its volumes, its bundle, and its process, which waits to be started."""

    kind = "CreateContainer"
    policy = "undo"

    def __init__(
        self, context: Context, container: Container, image: Image | None, volume_images: Mapping[str, Image]
    ) -> None:
        self.context = context
        self.container = container
        # A copy of the request that becomes what is carried out: host paths are resolved, volumes of the image added.
        self.config = api.ContainerConfig.FromString(container.config)
        self.image = image
        self.volume_images = volume_images
        self.subject = container.id
        self.within = container.sandbox_id
        self.bundle = context.paths.bundle(container.id)

    @classmethod
    def planned(
        cls, context: Context, sandbox: SandboxEntry, config: api.ContainerConfig, *, restored_from: str = ""
    ) -> Self:
        """What makes the container of a request. Raises as ``check`` and ``image_of`` do."""
        check(config, sandbox, context.host)
        image = image_of(context, config.image)
        volume_images = {
            mount.image.image: image_of(context, mount.image) for mount in config.mounts if mounts.has_image(mount)
        }
        container = Container(
            id=new_id(),
            sandbox_id=sandbox.record.id,
            config=config.SerializeToString(deterministic=True),
            runtime=context.handler(sandbox.record.handler).runtime.name,
            image_id=image.id,
            image_ref=image.repo_digests[0] if image.repo_digests else image.id,
            image_name=_image_name(image, config.image),
            created_at=now(),
            boot_id=context.boot_id,
            volume_images={name: volume.id for name, volume in volume_images.items()},
            stop_signal=_stop_signal(config, context.images.image_config(image).stop_signal),
            log_path=_log_path(sandbox.config, config),
            restored_from=restored_from,
        )
        return cls(context, container, image, volume_images)

    @classmethod
    def from_journal(cls, context: Context, data: bytes) -> Self:
        """The operation again, after a crash: only ever to be undone."""
        return cls(context, msgspec.json.decode(data, type=Container), None, {})

    @property
    def key(self) -> str:
        sandbox_id, name, attempt = container_name(self.within, self.config)
        return f"container {name} (attempt {attempt}) of sandbox {sandbox_id[:12]}"

    @property
    def fingerprint(self) -> bytes:
        return self.container.config

    def journal_input(self) -> bytes:
        return msgspec.json.encode(self.container)

    def steps(self) -> Sequence[Step]:
        return [
            Step("mounting the root file system", self.mount_rootfs, undo=self.unmount_rootfs, limit=VOLUME_LIMIT),
            Step("preparing the volumes", self.prepare_volumes, limit=VOLUME_LIMIT),
            Step("writing the bundle", self.write_bundle),
            Step("creating the process", self.create_process, undo=self.delete_process, limit=150),
            Step("remembering the container", self.remember, undo=self.forget),
        ]

    def result(self) -> str:
        return self.container.id

    async def mount_rootfs(self) -> None:
        """An overlay of the image's layers below a writable one."""
        assert self.image is not None
        lower = self.context.images.lower_dirs(self.image)
        owners = self._owners()
        self.bundle.mkdir(mode=0o700 if owners is None else 0o711, parents=True, exist_ok=True)
        writable = self.context.paths.writable(self.subject)
        await asyncio.to_thread(rootfs.mount, lower, writable, self.bundle / "rootfs", owners)

    async def unmount_rootfs(self) -> None:
        """Remove the root file system, the volumes, the writable layer and the bundle."""
        await asyncio.to_thread(remove_tree, self.bundle)
        await asyncio.to_thread(remove_tree, self.context.paths.writable(self.subject))

    def _owners(self) -> Owners | None:
        id_map = idmaps.of_sandbox(self.context.store.sandbox(self.within).config)
        return Owners(id_map, self.context.paths.pins(self.within) / "user") if id_map is not None else None

    async def prepare_volumes(self) -> None:
        """Resolve and make host paths, mount what the OCI runtime cannot, and fill the image's volumes.

        The step's time limit bounds a hung mount.
        """
        assert self.image is not None
        images = self.context.images
        declared = images.image_config(self.image).volumes
        writable = self.context.paths.writable(self.subject)
        layers = {name: images.lower_dirs(image) for name, image in self.volume_images.items()}
        label = lsm.mount_label(self.config.linux.security_context, self.context.host)
        places = volumes.Places(self.bundle / "mounts", writable, self._owners(), label, layers)
        found = await asyncio.to_thread(volumes.prepare, self.config.mounts, places)
        root, folder = self.bundle / "rootfs", writable / "volumes"
        found += await asyncio.to_thread(volumes.fill, declared, self.config.mounts, root, folder)
        del self.config.mounts[:]
        self.config.mounts.extend(found)

    async def write_bundle(self) -> None:
        """The OCI spec, out of the request, the image and the host's facts."""
        assert self.image is not None
        sandbox = self.context.store.sandbox(self.within)
        image = self.context.images.image_config(self.image)
        host = self.context.host
        root = self.bundle / "rootfs"
        found = await asyncio.to_thread(look_up, self.config, image.user, root, host)
        parent = self.context.cgroup_parent(self.within, sandbox.config.linux.cgroup_parent)
        files = self.context.paths.sandbox(self.within)
        own_ipc = sandbox.config.linux.security_context.namespace_options.ipc != api.NODE
        spec = build_spec(
            SpecInputs(
                config=self.config,
                sandbox=sandbox.config,
                image=image,
                rootfs=root,
                found=found,
                namespaces=self._namespaces(sandbox),
                cgroups_path=self.context.cgroups_path(parent, self.subject),
                files={f"/etc/{name}": files / name for name in ("hosts", "hostname", "resolv.conf")},
                shm=files / "shm" if own_ipc else None,
                host=host,
                id_map=idmaps.of_sandbox(sandbox.config),
            )
        )
        process.write_bundle(self.bundle, spec)
        self.container = replace(self.container, uid=found.user.uid, gid=found.user.gid, groups=found.user.groups)

    def _namespaces(self, sandbox: SandboxEntry) -> dict[str, str]:
        pins = self.context.paths.pins(self.within)
        options = self.config.linux.security_context.namespace_options
        found = {"mount": ""}
        for kind in ("user", "network", "ipc", "uts"):
            if (pins / kind).exists():
                found[kind] = str(pins / kind)
        if options.pid == api.CONTAINER:
            found["pid"] = ""
        elif options.pid == api.POD:
            if not (pins / "pid").exists():
                raise InvalidArgument("pid mode POD needs a sandbox that was made with pid mode POD")
            found["pid"] = str(pins / "pid")
        elif options.pid == api.TARGET:
            found["pid"] = f"/proc/{self._target_pid(options.target_id)}/ns/pid"
        if self.context.host.cgroup_namespace and not self.config.linux.security_context.privileged:
            found["cgroup"] = ""
        return found

    def _target_pid(self, target_id: str) -> int:
        target = self.context.store.container(target_id)
        if target.record.sandbox_id != self.within:
            raise InvalidArgument(f"container {target_id[:12]}, whose PIDs are to be shared, is in another sandbox")
        if target.record.state != "running" or target.record.process is None:
            raise FailedPrecondition(f"container {target_id[:12]}, whose PIDs are to be shared, does not run")
        return target.record.process.pid

    async def create_process(self) -> None:
        """conmon and the OCI runtime make the process; it waits before it becomes the container's program."""
        log_path = Path(self.container.log_path) if self.container.log_path else None
        if log_path is not None:
            await asyncio.to_thread(make_log, log_path)
        created = await self.context.monitor.create(
            self.subject,
            self.bundle,
            self.context.runtime(self.container.runtime),
            log_path=log_path,
            tty=self.config.tty,
            stdin=self.config.stdin,
            stdin_once=self.config.stdin_once,
        )
        # The container has its own copies of them now; here they would keep the host's directories busy.
        await asyncio.to_thread(unmount_below, self.bundle / "mounts")
        self.container = replace(self.container, process=created, cgroup=cgroups.of_process(created.pid))

    async def delete_process(self) -> None:
        """End the process and let the OCI runtime and conmon forget it."""
        runtime = self.context.runtime(self.container.runtime)
        await process.kill_and_delete(self.context, runtime, self.subject, self.container.process)

    async def remember(self) -> None:
        """From here on the container exists."""
        entry = self.context.store.save_container(replace(self.container, created_at=now()))
        self.context.watcher.watch(entry)

    async def forget(self) -> None:
        """Take back the record."""
        self.context.store.delete_container(self.subject)


def make_log(path: Path) -> None:
    """The log file with the permissions that log collectors need; conmon would make it 0600."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.touch(mode=0o640)
    path.chmod(0o640)


def _image_name(image: Image, wanted: api.ImageSpec) -> str:
    """A name of the image for a request that gives its id, as a kubelet's does: that of the Pod, where it has it."""
    if not (is_digest(wanted.image) or image.id.startswith(f"sha256:{wanted.image.removeprefix('sha256:')}")):
        return ""
    names = (*image.repo_tags, *image.repo_digests)
    with contextlib.suppress(InvalidArgument):
        meant = str(parse(wanted.user_specified_image).pinned)
        if meant in names:
            return meant
    return names[0] if names else ""


def _stop_signal(config: api.ContainerConfig, image_signal: str) -> str:
    """The request's signal, else the image's, else SIGTERM."""
    if config.stop_signal != api.SIGNAL_RUNTIME_DEFAULT:
        return api.Signal.Name(config.stop_signal).removeprefix("SIGNAL_")
    return signals.canonical(image_signal) if image_signal else signals.DEFAULT


def _log_path(sandbox: api.PodSandboxConfig, config: api.ContainerConfig) -> str:
    if not sandbox.log_directory or not config.log_path:
        return ""
    return str(Path(sandbox.log_directory) / config.log_path)
