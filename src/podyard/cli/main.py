"""The command ``podyard``: finds its commands, and turns every end into an exit code.

Exit codes: 0, those of ``podyard.errors``, 2 for a wrong use, 130 for Ctrl-C, 141 when the reader of a pipe has gone;
``exec``, ``attach`` and ``run -f`` pass the exit code of what they ran.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from podyard import __version__
from podyard.cli.output import complain
from podyard.cli.settings import group_options
from podyard.errors import PodyardError, translate

SECTIONS: Mapping[str, Sequence[str]] = {
    "Pods": (
        "run",
        "pods",
        "ps",
        "stats",
        "logs",
        "exec",
        "attach",
        "cp",
        "port-forward",
        "inspect",
        "update",
        "stop",
        "rm",
    ),
    "Images": ("images", "image", "pull", "pulls", "load", "rmi", "gc", "fsck"),
    "Runtime": ("info", "version", "events", "serve", "node", "config", "validate", "reset"),
}
"""The commands; each is ``command`` in the module of its name here ("-" is "_" there)."""

INTERRUPTED = 130
READER_GONE = 141


class Commands(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out the command; Ctrl-C, and a reader of standard output that has gone away, end it quietly."""
        try:
            result = super().invoke(ctx)
            # What is still buffered must fail here, not in the interpreter's last moments.
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
            return READER_GONE
        except KeyboardInterrupt:
            # click would end the line here, too, and wait for a terminal that nobody reads.
            from podyard.cli.standard import end_line

            end_line()
            return INTERRUPTED
        return result

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"podyard.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in SECTIONS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(section):
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in commands if command])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Completion for bash, zsh and fish: eval "$(_PODYARD_COMPLETE=bash_source podyard)" (or zsh_source, '
    "fish_source). PODYARD_DEBUG=1 shows where an error comes from.",
)
@click.version_option(__version__, message="podyard %(version)s")
@group_options
def podyard() -> None:
    """Run Kubernetes Pods on this machine, and look after any CRI runtime.

    Endpoints come from the options, then PODYARD_RUNTIME_ENDPOINT or CONTAINER_RUNTIME_ENDPOINT (for images
    PODYARD_IMAGE_ENDPOINT or IMAGE_SERVICE_ENDPOINT), then ~/.config/podyard/cli.toml, then /etc/podyard/cli.toml
    (keys runtime-endpoint, image-endpoint, timeout, pod-root, log-root), and are podyard's own socket otherwise.
    PODYARD_POD_ROOT and PODYARD_LOG_ROOT move the directories of Pods' volumes and logs.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit. ``arguments``: without the program's name; the process' own by default."""
    _complete_standard_streams()
    sys.exit(_run(arguments))


def _complete_standard_streams() -> None:
    """Put /dev/null where this process was started without one of its standard streams.

    The next socket or file would get its number otherwise, and be read or written in its place.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = podyard.main(arguments, prog_name="podyard", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except PodyardError as error:
        return _report(error)
    except Exception as error:
        return _report(translate(error, "carrying out the command"))
    return result if isinstance(result, int) else 0


def _report(error: PodyardError) -> int:
    if os.environ.get("PODYARD_DEBUG", "") not in {"", "0"}:
        import traceback

        traceback.print_exception(error)
    complain(error)
    return error.exit_code


def _drop_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
