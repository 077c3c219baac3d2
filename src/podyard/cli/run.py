"""``podyard run``."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from podyard.cli.endpoint import pod_engine, with_client
from podyard.cli.follow import follow_pods
from podyard.cli.output import complain
from podyard.cli.pods import show_pods
from podyard.cli.settings import Settings, output_options
from podyard.cli.steps import steps
from podyard.cli.transfer import watched
from podyard.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.manifest import Manifest
    from podyard.manifest.model import Container, Pod
    from podyard.pods import PodEngine, PodEvent, PodView


def _load(context: click.Context, parameter: click.Parameter, path: str) -> Manifest:
    """Read the manifest before any runtime is asked: what is wrong with it is known first."""
    from podyard.manifest import load

    return load(path)


@click.command()
@click.argument("manifest", metavar="POD.yaml", callback=_load)
@click.option("--follow", "-f", is_flag=True, help="Follow the logs, and start containers again that end.")
@click.option(
    "--rm", "remove", is_flag=True, help="With -f: remove the Pods at the end, Ctrl-C, SIGTERM, SIGHUP included."
)
@output_options
@with_client
async def command(client: Client, settings: Settings, *, manifest: Manifest, follow: bool, remove: bool) -> int:
    """Run the Pods of a Kubernetes manifest.

    POD.yaml holds one or several v1 Pods, in YAML or JSON, and the ConfigMaps and Secrets that they use, as documents
    beside them; "-" reads standard input. Each step is shown with its duration, and the Pods at the end. A Pod goes on
    by itself; containers that end are started again, as its restartPolicy says, while "podyard run -f" runs. Ctrl-C
    detaches: the Pod goes on. With -f the exit code is that of the first container that failed and stays so.
    """
    if remove and not follow:
        raise InvalidArgument("--rm removes the Pods when -f ends: give both")
    if not remove:
        return await _run(client, settings, manifest, follow=follow, remove=False)
    with _interrupted_by(signal.SIGTERM, signal.SIGHUP) as came:
        try:
            return await _run(client, settings, manifest, follow=True, remove=True)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not came or task is None:
                raise
            task.uncancel()
            return 128 + came[0]


@contextmanager
def _interrupted_by(*numbers: signal.Signals) -> Iterator[list[signal.Signals]]:
    """Have signals cancel this task, as Ctrl-C does, unless they are ignored; those that came."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    came: list[signal.Signals] = []

    def take(number: signal.Signals) -> None:
        came.append(number)
        if task is not None:
            task.cancel()

    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    for number in handled:
        loop.add_signal_handler(number, take, number)
    try:
        yield came
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def _run(client: Client, settings: Settings, manifest: Manifest, *, follow: bool, remove: bool) -> int:
    from podyard.pods.objects import ManifestObjects

    pods, objects = manifest.pods, ManifestObjects(manifest.config_maps, manifest.secrets)
    engine = pod_engine(client, settings, objects)
    started: list[tuple[Pod, PodView]] = []
    begun: dict[str, Pod] = {}
    try:
        for pod in pods:
            try:
                started.append((pod, await _start(client, engine, settings, pod, begun, remove=remove)))
            except FailedPrecondition as error:
                code = await _failed_code(engine, pod) if follow else 0
                if not code:
                    raise
                complain(error)
                return code
        show_pods([running for _, running in started], settings)
        if follow:
            return await _attached(engine, started, remove)
    finally:
        if remove:
            # Those too that never came up: an init container failed, or the start was interrupted.
            for pod in begun.values():
                await engine.remove(pod.metadata.name, pod.metadata.namespace)
    _tell_of_restarts(pods, settings)
    return 0


async def _start(
    client: Client, engine: PodEngine, settings: Settings, pod: Pod, begun: dict[str, Pod], *, remove: bool
) -> PodView:
    """Start a Pod, and note in ``begun`` that it is this command's: another one of its name may be there already."""
    images = {container.image for container in pod.all_containers()}
    with steps(quiet=not settings.for_people) as display:

        def take(event: PodEvent) -> None:
            begun[pod.full_name] = pod
            display.event(event)

        async with watched(client, display, images):
            try:
                return await engine.run(pod, on_event=take)
            except asyncio.CancelledError:
                name = pod.full_name
                if not remove:
                    print(
                        f'interrupted: what Pod {name} has by now stays; "podyard rm {name}" removes it',
                        file=sys.stderr,
                    )
                raise


async def _attached(engine: PodEngine, started: list[tuple[Pod, PodView]], remove: bool) -> int:
    try:
        await follow_pods(engine, started)
    except asyncio.CancelledError:
        if not remove:
            for _, running in started:
                name = running.full_name
                print(
                    f"detached: Pod {name} goes on, but containers of it that end stay ended; "
                    f'"podyard logs -f {name}" follows it, "podyard rm {name}" removes it',
                    file=sys.stderr,
                )
        raise
    codes = [await _failed_code(engine, pod) for pod, _ in started]
    return next((code for code in codes if code), 0)


async def _failed_code(engine: PodEngine, pod: Pod) -> int:
    """The exit code of the first container that failed and is not started again; else 0."""
    from podyard.pods.restarts import starts_again

    known = {container.name: container for container in pod.all_containers()}
    ended = [
        view
        for found in await engine.find(pod.metadata.name, pod.metadata.namespace)
        for view in found.containers
        if view.state == "exited" and view.exit_code != 0 and view.name in known
        if not starts_again(pod, known[view.name], view.exit_code)
    ]
    return min(ended, key=lambda view: view.finished_at).exit_code if ended else 0


def _tell_of_restarts(pods: list[Pod], settings: Settings) -> None:
    from podyard.pods.restarts import starts_again

    again = [pod for pod in pods for container in pod.spec.containers if starts_again(pod, container, exit_code=1)]
    names = list(dict.fromkeys(pod.full_name for pod in again))
    if names and settings.for_people:
        print(
            f"Containers of {', '.join(names)} that end stay ended: only podyard run -f starts them again.",
            file=sys.stderr,
        )
    probed = [pod.full_name for pod in pods if any(_has_probes(container) for container in pod.all_containers())]
    if probed and settings.for_people:
        print(f"Probes of {', '.join(probed)} are run only while podyard run -f or podyard node runs.", file=sys.stderr)


def _has_probes(container: Container) -> bool:
    return any((container.startup_probe, container.liveness_probe, container.readiness_probe))
