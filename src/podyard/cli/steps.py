"""Work as it happens: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from podyard.cli.output import printable
from podyard.cli.terminal import before_the_end
from podyard.cli.units import duration, size

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from podyard.cri import admin
    from podyard.pods import PodEvent

WIDTH = 60
"""Column at which a step's duration stands."""

BAR_WIDTH = 30


class Steps(Protocol):
    """What takes the steps of some work."""

    def event(self, event: PodEvent) -> None:
        """A step has begun, is done, or has failed."""

    def pulls(self, pulls: Sequence[admin.Pull]) -> None:
        """The pulls that the steps wait for, as they stand now."""


@contextmanager
def steps(*, quiet: bool = False) -> Iterator[Steps]:
    """What shows steps on this standard output."""
    if quiet:
        yield Silent()
    elif sys.stdout.isatty():
        with LiveSteps.shown() as live:
            yield live
    else:
        yield PlainSteps()


def line(event: PodEvent) -> str:
    """A step that has ended, in one line."""
    words = printable(f"{event.step} {event.subject}")
    took = "" if event.seconds is None else duration(event.seconds)
    detail = printable(event.detail)
    if event.state == "failed":
        return f"{words:<{WIDTH}} {took:>7}  failed{f': {detail}' if detail else ''}"
    return f"{words:<{WIDTH}} {took:>7}{f'  {detail}' if detail else ''}".rstrip()


class Silent:
    """Shows nothing."""

    def event(self, event: PodEvent) -> None:
        pass

    def pulls(self, pulls: Sequence[admin.Pull]) -> None:
        pass


class PlainSteps:
    """One line for each step that has ended, and for each layer that has arrived."""

    def __init__(self) -> None:
        self._arrived: set[str] = set()

    def event(self, event: PodEvent) -> None:
        if event.state != "begun":
            print(line(event), flush=True)

    def pulls(self, pulls: Sequence[admin.Pull]) -> None:
        for pull in pulls:
            for layer in pull.layers:
                if layer.state in {"done", "shared"} and layer.digest not in self._arrived:
                    self._arrived.add(layer.digest)
                    there = "is here already" if layer.state == "shared" else f"{size(layer.total)} done"
                    print(printable(f"  {pull.reference}: layer {short_digest(layer.digest)} {there}"), flush=True)


class LiveSteps:
    """What is going on stays at the bottom of the terminal with its time; what has ended scrolls up."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._begun: dict[tuple[str, str], float] = {}
        self._pulls: Sequence[admin.Pull] = ()

    @classmethod
    @contextmanager
    def shown(cls) -> Iterator[LiveSteps]:
        """Draw until the end of the block, and leave only what has ended."""
        from rich.console import Console
        from rich.live import Live

        display = cls()
        console = Console(highlight=False, markup=False)
        with Live(get_renderable=display.picture, console=console, refresh_per_second=8, transient=True) as live:
            display._live = live
            with before_the_end(live.stop):  # it hides the cursor
                yield display

    def event(self, event: PodEvent) -> None:
        key = (event.step, event.subject)
        if event.state == "begun":
            self._begun[key] = time.monotonic()
        else:
            self._begun.pop(key, None)
        if self._live is not None:
            self._live.refresh()
        if self._live is not None and event.state != "begun":
            style = "red" if event.state == "failed" else None
            self._live.console.print(line(event), style=style, soft_wrap=True)

    def pulls(self, pulls: Sequence[admin.Pull]) -> None:
        self._pulls = pulls

    def picture(self) -> RenderableType:
        """What is going on now; called by the thread that draws."""
        from rich.console import Group
        from rich.text import Text

        now = time.monotonic()
        parts: list[RenderableType] = []
        for (step, subject), since in list(self._begun.items()):
            words = printable(f"{step} {subject}")
            parts.append(Text(f"{words:<{WIDTH}} {duration(now - since):>7} ...", no_wrap=True, style="bold"))
        if self._begun:
            parts += [picture_of_pull(pull) for pull in self._pulls if pull.layers]
        return Group(*parts)


def picture_of_pull(pull: admin.Pull) -> RenderableType:
    """A bar for each layer."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    for layer in pull.layers:
        there = layer.state in {"done", "shared"}
        total = max(layer.total, 1)
        bar = ProgressBar(total=total, completed=total if there else min(layer.done, total), width=BAR_WIDTH)
        amount = size(layer.total) if there else f"{size(layer.done)} / {size(layer.total)}"
        grid.add_row(f"  {short_digest(layer.digest)}", bar, amount, printable(layer.state))
    return grid


def short_digest(digest: str) -> str:
    """As many hex digits as tell layers apart."""
    return digest.rpartition(":")[2][:12]
