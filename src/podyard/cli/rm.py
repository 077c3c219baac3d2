"""``podyard rm``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from podyard.cli import view
from podyard.cli.endpoint import pod_engine, with_client
from podyard.cli.resolve import ContainerRef, Inventory, PodRef
from podyard.cli.settings import Settings, output_options
from podyard.cli.several import each
from podyard.cli.steps import steps
from podyard.errors import FailedPrecondition, InvalidArgument, NotFound

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.pods import PodEngine

DEFAULT_NAMESPACE = "default"


@click.command()
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="All Pods.")
@click.option("--force", "-f", is_flag=True, help="Kill what runs; of a Pod that is not there remove what it left.")
@output_options
@with_client
async def command(client: Client, settings: Settings, *, names: tuple[str, ...], everything: bool, force: bool) -> None:
    """Remove Pods or single containers.

    A Pod is stopped first, with its grace period; its emptyDir volumes and logs go with it. A container that runs is
    removed with --force only. With --force a name that the runtime does not know is no error: volumes and logs of a Pod
    of that name are removed, so be sure that it is no other runtime's.
    """
    if bool(names) == everything:
        raise InvalidArgument("give either names or --all")
    inventory = await Inventory.load(client)
    found = inventory.pods() if everything else [_found(inventory, name, force) for name in names]
    await each(found, Removal(client, pod_engine(client, settings), settings.quiet, force).remove)


def _found(inventory: Inventory, name: str, force: bool) -> PodRef | ContainerRef:
    try:
        return inventory.any(name)
    except NotFound:
        if not force:
            raise
        namespace, _, pod = name.rpartition("/")
        return PodRef(namespace or DEFAULT_NAMESPACE, pod, ())


@dataclass(frozen=True)
class Removal:
    """Removes one thing after the other, and shows how."""

    client: Client
    engine: PodEngine
    quiet: bool
    force: bool

    async def remove(self, found: PodRef | ContainerRef) -> None:
        """Raises FailedPrecondition for a container that runs, unless force was asked for."""
        if isinstance(found, PodRef):
            await self._remove_pod(found)
            return
        if found.container.state == view.RUNNING and not self.force:
            raise FailedPrecondition(
                f"container {found.full_name} runs: stop it first (podyard stop), or remove it with --force"
            )
        await self.client.runtime.remove_container(found.container.id)
        print(found.container.id if self.quiet else f"removed container {found.full_name}")

    async def _remove_pod(self, pod: PodRef) -> None:
        with steps(quiet=self.quiet) as display:
            grace = 0 if self.force else None
            await self.engine.remove(pod.name, pod.namespace, display.event, grace=grace)
        for sandbox in pod.sandboxes if self.quiet else ():
            print(sandbox.id)
        if not self.quiet and pod.sandboxes:
            print(f"removed Pod {pod.full_name}")
