"""``podyard serve``, and the options by which the daemon's configuration is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from podyard.config import Config

Function = TypeVar("Function", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


def daemon_options(function: Function) -> Function:
    """Add the options that override the daemon's configuration file."""
    options = (
        click.option("--config", "file", type=PATH, help="Configuration file (default: /etc/podyard/podyard.toml)."),
        click.option("--root", type=PATH, help="Directory of what survives a reboot."),
        click.option("--run", type=PATH, help="Directory of what goes with a reboot."),
        click.option("--listen", metavar="ENDPOINT", help="The socket to serve on: a path or unix:///path."),
        click.option("--image-listen", metavar="ENDPOINT", help="A socket for the ImageService alone."),
        click.option(
            "--versions", metavar="LIST", help="CRI versions to serve, with commas between them: v1,v1alpha2."
        ),
        click.option("--log-level", type=click.Choice(("debug", "info", "warning", "error"))),
        click.option("--slow-call", type=float, metavar="SECONDS", help="Log the stages of calls that take longer."),
        click.option("--cgroup-driver", type=click.Choice(("auto", "cgroupfs", "systemd"))),
        click.option("--cgroup-parent", metavar="PATH", help="Parent of the cgroups of pods that name none."),
        click.option("--oci-runtime", multiple=True, metavar="PATH", help="Try this OCI runtime; may be repeated."),
        click.option("--cni-conf-dir", type=PATH, help="Directory of the CNI configuration."),
        click.option("--insecure-registry", multiple=True, metavar="HOST", help="Plain HTTP for it; may be repeated."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def configuration(
    *,
    file: Path | None,
    root: Path | None,
    run: Path | None,
    listen: str | None,
    image_listen: str | None,
    versions: str | None,
    log_level: str | None,
    slow_call: float | None,
    cgroup_driver: str | None,
    cgroup_parent: str | None,
    oci_runtime: tuple[str, ...],
    cni_conf_dir: Path | None,
    insecure_registry: tuple[str, ...],
) -> Config:
    """The daemon's configuration from the options. Raises ConfigError."""
    from podyard import config

    given = {
        "root": _text(root),
        "run": _text(run),
        "listen": _socket(listen),
        "image_listen": _socket(image_listen),
        "versions": None if versions is None else [name.strip() for name in versions.split(",")],
        "log_level": log_level,
        "slow_call": slow_call,
        "runtime": _given(
            cgroup_driver=cgroup_driver, cgroup_parent=cgroup_parent, candidates=list(oci_runtime) or None
        ),
        "network": _given(conf_dir=_text(cni_conf_dir)),
        "images": _given(insecure_registries=list(insecure_registry) or None),
    }
    return config.load(file, given)


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _socket(endpoint: str | None) -> str | None:
    return None if endpoint is None else endpoint.removeprefix("unix://")


@click.command()
@daemon_options
def command(**options: Any) -> None:
    """Serve the CRI on this machine, in the foreground.

    SIGTERM or Ctrl-C ends the daemon; containers go on. Options win over the configuration file; "podyard config"
    prints what holds.
    """
    config = configuration(**options)
    from podyard import daemon

    daemon.run(config)
