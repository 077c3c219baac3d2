"""The daemon: the only place that wires objects together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from podyard.admin import AdminService
from podyard.config import Config, HandlerConfig
from podyard.errors import FailedPrecondition, PodyardError
from podyard.images.metrics import metrics as images_metrics
from podyard.images.service import ImageService
from podyard.images.store import ImageStore
from podyard.linux import cgroups, mounts, orphans, process
from podyard.metrics import MetricsServer
from podyard.network import Network
from podyard.oci import apparmor, probe
from podyard.oci.host import read_host_facts
from podyard.oci.monitor import Monitor
from podyard.oci.runtime import OciRuntime
from podyard.operations import Engine, Hooks, Journal
from podyard.runtime import measured
from podyard.runtime.container_create import CreateContainer
from podyard.runtime.container_remove import ReapContainer
from podyard.runtime.context import Context, Handler, Paths
from podyard.runtime.events import Events
from podyard.runtime.exits import Watcher
from podyard.runtime.oom import OomKills
from podyard.runtime.restart import reconcile
from podyard.runtime.sandbox_stop import RemovePodSandbox
from podyard.runtime.service import RuntimeService
from podyard.runtime.store import Store
from podyard.server import Server
from podyard.state.database import Database
from podyard.state.records import Records
from podyard.stats import Collector
from podyard.streaming import StreamingServer

logger = logging.getLogger(__name__)

SLICE_LIMIT = 60.0
"""Seconds for systemd to stop a slice that is empty."""

STOP_PATIENCE = 20.0
"""Seconds that calls and operations in flight get when the daemon is told to stop."""


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Containers go on when the daemon ends.

    Raises FailedPrecondition when the host lacks something, or another daemon uses the same directories.
    """
    for chatty in ("asyncio", "grpc"):
        logging.getLogger(chatty).setLevel(logging.INFO)
    logging.basicConfig(
        level=config.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    asyncio.run(_serve(config))


def reset(config: Config) -> None:
    """Remove every sandbox, container and image of a stopped daemon, and all that podyard has put on the host.

    Raises FailedPrecondition when a daemon still runs there.
    """
    asyncio.run(_reset(config))


async def _serve(config: Config) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    # Taken out of the environment: the OCI runtimes would take it as theirs and wait for a container that is ready.
    manager = os.environ.pop("NOTIFY_SOCKET", "")
    state = ["podyard is starting: it reconciles its records with the host; ask again in a moment"]
    async with _opened(config) as context:
        server = Server(config.slow_call, gate=lambda: state[0])
        await context.streaming.start()
        metrics = MetricsServer(config.metrics_listen, lambda: images_metrics(context.images))
        if config.metrics_listen:
            await metrics.start()
        try:
            await _listen(server, config, context)
            for problem in await reconcile(context):
                logger.error("after the start: %s", problem)
        except BaseException:
            await server.close(0)
            raise
        context.stats.start()
        state[0] = ""
        _notify(manager, "READY=1")
        spoken = [", ".join(versions) or "no version" for versions in (config.versions, config.versions_of_images)]
        logger.info("serving %s (images %s) on %s", *spoken, config.listen)
        await stopping.wait()
        _notify(manager, "STOPPING=1")
        logger.info("stopping; containers go on")
        context.events.close()
        await metrics.close()
        await context.streaming.close()
        await server.close(STOP_PATIENCE)
        await context.engine.close(STOP_PATIENCE)
        await context.stats.close()


async def _reset(config: Config) -> None:
    if not config.root.exists() and not config.run.exists():
        return
    async with _opened(config) as context:
        for problem in await reconcile(context):
            logger.warning("before the removal: %s", problem)
        removals = [context.engine.run(RemovePodSandbox(context, sandbox)) for sandbox in context.store.sandboxes]
        failures = [error for error in await asyncio.gather(*removals, return_exceptions=True) if error is not None]
        if failures:
            raise PodyardError(f"not everything could be removed: {'; '.join(map(str, failures))}")
        # What the ends of the containers have begun: an OCI runtime would make its directory again after the removal.
        await context.engine.close(STOP_PATIENCE)
        await context.network.remove_default_network()
        if not config.runtime.cgroup_parent:
            await _remove_parent(context)
    config.listen.unlink(missing_ok=True)
    mounts.remove_tree(config.run)
    mounts.remove_tree(config.root)


async def _remove_parent(context: Context) -> None:
    """Remove the cgroup of pods that name none, unless another podyard, with other directories, has pods below it."""
    parent = context.cgroup_parent("", "").rstrip("/")
    if not context.systemd_cgroups:
        cgroups.remove_if_empty(parent)
    elif not cgroups.processes(cgroups.of_slice(parent)):
        stopped = await process.run(["systemctl", "stop", parent], limit=SLICE_LIMIT)
        if stopped.code != 0:
            logger.warning("systemd did not stop %s: %s", parent, stopped.stderr.decode(errors="replace").strip())


@contextlib.asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[Context]:
    """Everything but the server, and its orderly end."""
    paths = Paths(config.root, config.run)
    paths.prepare()
    locks = _lock(paths)
    orphans.adopt()
    sweeping = asyncio.create_task(orphans.Sweeper().run())
    database = Database(paths.root / "state.db")
    try:
        store = Store(Records(database))
        hooks = Hooks()
        hooks.load(config.runtime.hooks)
        engine = Engine(Journal(database), hooks)
        images = ImageStore(paths.root / "images", database, config.images, lambda: _images_in_use(store, engine))
        network = Network(config.network, paths.root / "network")
        await images.start()
        watching = asyncio.create_task(images.watch())
        await network.start()
        try:
            context = await _context(config, paths, store=store, engine=engine, images=images, network=network)
            yield context
        finally:
            await network.close()
            watching.cancel()
            await images.close()
    finally:
        sweeping.cancel()
        database.close()
        for lock in locks:
            os.close(lock)


async def _context(
    config: Config, paths: Paths, *, store: Store, engine: Engine, images: ImageStore, network: Network
) -> Context:
    systemd = config.runtime.cgroup_driver == "systemd" or (
        config.runtime.cgroup_driver == "auto" and Path("/run/systemd/system").is_dir()
    )
    init = probe.find_binary(config.runtime.init, "catatonit")
    monitor = Monitor(probe.find_binary(config.runtime.monitor, "conmon"), paths.exits)
    runtimes = _runtimes(config, paths, systemd)
    handlers = await _handlers(config, runtimes, init, systemd)
    watcher = Watcher(store, monitor, OomKills(store, paths.run / "oom-kills.json"))
    context = Context(
        config=config,
        paths=paths,
        store=store,
        events=Events(store),
        engine=engine,
        images=images,
        network=network,
        streaming=StreamingServer(config.streaming, paths.root / "streaming" / "own.pem"),
        monitor=monitor,
        watcher=watcher,
        handlers=handlers,
        runtimes=runtimes,
        host=read_host_facts(
            config.runtime.seccomp_dir,
            pids_limit=config.runtime.pids_limit,
            cdi_dirs=config.runtime.cdi_dirs,
            apparmor_default=await asyncio.to_thread(_default_apparmor_profile),
        ),
        init=init,
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        systemd_cgroups=systemd,
        stats=Collector(
            config.stats,
            lambda: measured.census(context),
            layers=paths.root / "containers",
            mountpoint=images.folder,
            ifname=config.network.ifname,
        ),
    )
    background: set[asyncio.Task[None]] = set()

    def reap(container_id: str) -> None:
        task = asyncio.create_task(_reap(context, container_id))
        background.add(task)
        task.add_done_callback(background.discard)

    watcher.on_exit = reap
    return context


async def _reap(context: Context, container_id: str) -> None:
    try:
        await context.engine.run(ReapContainer(context, container_id))
    except PodyardError as error:
        # Removing the container tries again, and so does the next start.
        logger.warning("container %s: %s", container_id[:12], error)


def _default_apparmor_profile() -> str:
    """The name of the profile that was loaded for containers that name none; "" where there cannot be one."""
    if not apparmor.enabled():
        return ""
    try:
        return apparmor.load_default()
    except FailedPrecondition as error:
        logger.warning("containers that name no AppArmor profile run without one: %s", error)
        return ""


def _runtimes(config: Config, paths: Paths, systemd: bool) -> dict[str, OciRuntime]:
    """Every OCI runtime that is configured and installed, by its name; each has its own state directory."""
    found: dict[str, OciRuntime] = {}
    wanted: list[tuple[str, str, tuple[str, ...]]] = [(Path(path).name, path, ()) for path in config.runtime.candidates]
    wanted += [(_runtime_of(name, one), one.path, tuple(one.options)) for name, one in config.runtime.handlers.items()]
    for name, binary, options in wanted:
        with contextlib.suppress(FailedPrecondition):
            found[name] = OciRuntime(probe.find_binary(binary, binary), paths.run / "oci" / name, options, systemd)
    return found


def _runtime_of(name: str, handler: HandlerConfig) -> str:
    """The name of a handler's OCI runtime: its binary's, unless it has options that only this handler wants."""
    binary = Path(handler.path).name
    return f"{binary}-{name}" if handler.options else binary


async def _handlers(
    config: Config, runtimes: Mapping[str, OciRuntime], init: Path, systemd: bool
) -> dict[str, Handler]:
    """The default handler, under "" and its runtime's name, and the configured ones."""
    cgroup = f"podyard.slice:podyard:trial-{os.getpid()}" if systemd else f"/podyard-trial-{os.getpid()}"
    candidates = [runtimes[Path(name).name] for name in config.runtime.candidates if Path(name).name in runtimes]
    default, refused = await probe.first_working(candidates, init, cgroup)
    for reason in refused:
        logger.info("not used: %s", reason)
    logger.info("OCI runtime: %s", default.path)
    handlers = dict.fromkeys(("", default.name), await _handler(default, init, cgroup, config.root))
    for name, handler in config.runtime.handlers.items():
        runtime = runtimes.get(_runtime_of(name, handler))
        if runtime is None:
            raise FailedPrecondition(f"runtime handler {name}: {handler.path} is not installed")
        handlers[name] = await _handler(runtime, init, cgroup, config.root)
    return handlers


async def _handler(runtime: OciRuntime, init: Path, cgroup: str, layers: Path) -> Handler:
    reason = await probe.no_user_namespaces(runtime, init, cgroup, layers)
    if reason:
        logger.info("no user namespaces with %s: %s", runtime.name, reason)
    return Handler(runtime, reason)


async def _listen(server: Server, config: Config, context: Context) -> None:
    runtime, images, admin = RuntimeService(context), ImageService(context.images), AdminService(context.images)
    of_runtime: list[tuple[str, str, object]] = [(version, "RuntimeService", runtime) for version in config.versions]
    of_images: list[tuple[str, str, object]] = [
        (version, "ImageService", images) for version in config.versions_of_images
    ]
    of_admin: list[tuple[str, str, object]] = [("admin", "Admin", admin)]
    if config.image_listen is None:
        await server.listen(config.listen, of_runtime + of_images + of_admin)
    else:
        await server.listen(config.listen, of_runtime + of_admin)
        await server.listen(config.image_listen, of_images)


def _images_in_use(store: Store, engine: Engine) -> set[str]:
    """The images of containers, those included that are being made."""
    used = store.images_in_use()
    for made, _ in engine.all_in_flight():
        if isinstance(made, CreateContainer):
            used |= {made.container.image_id, *made.container.volume_images.values()}
    return used


def _lock(paths: Paths) -> list[int]:
    """Hold both directories for this process alone: what is in either and in no record is taken away at start."""
    held: list[int] = []
    for folder, name, what in ((paths.root, "lock", "root"), (paths.run, "daemon.lock", "run")):
        held.append(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            for lock in held:
                os.close(lock)
            raise FailedPrecondition(
                f"another podyard uses {folder}: stop it first, or use another {what} directory"
            ) from None
    return held


def _notify(address: str, state: str) -> None:
    """Tell the service manager (sd_notify(3)), where one asked for it."""
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        channel.sendall(state.encode())
