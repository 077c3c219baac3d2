"""``podyard validate``."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podyard.cli.settings import Settings, current, endpoint_options, timeout_option
from podyard.errors import InvalidArgument

if TYPE_CHECKING:
    from podyard.validate import Case, Outcome, Target

FAILED = 1
ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a run as Ctrl-C does: what it has made is removed."""

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--list", "listed", is_flag=True, help="Print the cases and run none.")
@click.option(
    "--filter", "-k", "patterns", multiple=True, metavar="TEXT", help='Only cases with TEXT in "subject: name".'
)
@click.option(
    "--parallel", type=click.IntRange(min=1), default=4, metavar="N", show_default=True, help="Cases at a time."
)
@click.option("--strict", is_flag=True, help="Also ask for what podyard promises where the protocol leaves a choice.")
@click.option("--runtime-handler", default="", metavar="NAME", help="The runtime handler of all sandboxes.")
@click.option(
    "--registry-listen",
    default="127.0.0.1:0",
    metavar="HOST:PORT",
    show_default=True,
    help="Where the suite serves its images, over plain HTTP; the runtime must pull from there. Port 0: any.",
)
@click.option("--verbose", "-v", is_flag=True, help="Show the cases that passed, too.")
@click.option("--junit", type=FILE, metavar="FILE", help="Write JUnit XML.")
@click.option("--json", "json_file", type=FILE, metavar="FILE", help="Write JSON.")
@timeout_option
@endpoint_options
def command(
    *,
    listed: bool,
    patterns: tuple[str, ...],
    parallel: int,
    strict: bool,
    runtime_handler: str,
    registry_listen: str,
    verbose: bool,
    junit: Path | None,
    json_file: Path | None,
) -> int:
    """Check the behaviour of a CRI runtime, case by case.

    Works with any runtime of this machine and needs no network: the images are made here, out of the host's static
    busybox, and served on a loopback port. The runtime must be allowed to pull from it over plain HTTP. Everything
    that the cases make is removed again; pods of others are left alone. The exit code is 1 when a case failed.
    """
    # gRPC's own notes about connections would stand between the results; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # The cases speak v1alpha2 on purpose: that it is deprecated is no news here.
    logging.getLogger("podyard.client").setLevel(logging.ERROR)
    from podyard.validate import Target, chosen

    vain = [pattern for pattern in patterns if not chosen([pattern])]
    if vain:
        raise InvalidArgument(f"no case has {' or '.join(map(repr, vain))} in its name: --list prints them")
    cases = chosen(patterns)
    if listed:
        for entry in cases:
            print(entry.title)
        return 0
    for path in filter(None, (junit, json_file)):
        _try_to_write(path)
    settings: Settings = current()
    target = Target(
        runtime_endpoint=settings.runtime_endpoint,
        image_endpoint=settings.image_endpoint,
        handler=runtime_handler,
        strict=strict,
        registry_listen=registry_listen,
        timeout=settings.timeout,
    )
    return asyncio.run(_validate(target, cases, parallel, verbose=verbose, junit=junit, json_file=json_file))


def _complain_of(leftovers: Sequence[str]) -> None:
    from podyard.validate import report

    for line in report.left_behind(leftovers):
        print(line, file=sys.stderr, flush=True)


def _try_to_write(path: Path) -> None:
    """A run takes minutes: what would keep its report from being written is told before. A file that is there stays."""
    existed = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise InvalidArgument(f"the report {path} cannot be written: {error.strerror}") from error
    if not existed:
        path.unlink()


async def _validate(
    target: Target, cases: list[Case], parallel: int, *, verbose: bool, junit: Path | None, json_file: Path | None
) -> int:
    from podyard.validate import report, run

    task = asyncio.current_task()
    assert task is not None
    for number in ENDING:
        # nohup has SIGHUP ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel, number)
    progress = report.Progress(cases, lambda line: print(line, flush=True), verbose=verbose)
    try:
        outcome: Outcome = await run(target, cases, parallel=parallel, tell=progress, tell_left=_complain_of)
    except asyncio.CancelledError as cancelled:
        if cancelled.args and cancelled.args[0] in ENDING:
            return 128 + int(cancelled.args[0])
        raise
    print(report.summary(outcome), flush=True)
    if junit is not None:
        report.write_junit(outcome, junit)
    if json_file is not None:
        report.write_json(outcome, json_file)
    return 0 if outcome.good else FAILED
