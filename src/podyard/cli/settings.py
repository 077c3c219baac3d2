"""Where endpoints, time limits and formats come from.

The options may stand before or after a command's name. A source decides an endpoint only when no earlier one does:
options, environment, ~/.config/podyard/cli.toml, /etc/podyard/cli.toml, the default. An image endpoint counts only when
it comes from the runtime endpoint's source or an earlier one: a forgotten file must not join two runtimes.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from podyard.errors import ConfigError

DEFAULT_ENDPOINT = "unix:///run/podyard/podyard.sock"
SYSTEM_FILE = Path("/etc/podyard/cli.toml")
FORMATS = ("table", "wide", "json", "yaml", "name")

VARIABLES = {
    "runtime_endpoint": ("PODYARD_RUNTIME_ENDPOINT", "CONTAINER_RUNTIME_ENDPOINT"),
    "image_endpoint": ("PODYARD_IMAGE_ENDPOINT", "IMAGE_SERVICE_ENDPOINT"),
    "pod_root": ("PODYARD_POD_ROOT",),
    "log_root": ("PODYARD_LOG_ROOT",),
}
"""Environment variables, the first one that is set wins."""

FILE_KEYS = ("runtime-endpoint", "image-endpoint", "timeout", "pod-root", "log-root")

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for one command."""

    runtime_endpoint: str = DEFAULT_ENDPOINT
    image_endpoint: str | None = None
    """None: the runtime endpoint serves images too."""
    timeout: float = 5.0
    """Seconds for finding out whether a runtime answers: a kubelet's patience. Calls have the kubelet's limits."""
    pod_root: Path | None = None
    """Where Pods' volumes are; None: where the engine puts them."""
    log_root: Path | None = None
    """Where Pods' logs are; None: where the engine puts them."""
    output: str = "table"
    quiet: bool = False
    no_trunc: bool = False

    @property
    def for_people(self) -> bool:
        """Whether a table is wanted."""
        return self.output in {"table", "wide"} and not self.quiet


def current() -> Settings:
    """The settings of the command that runs now. Raises ConfigError for a file that is wrong."""
    given: dict[str, Any] = click.get_current_context().find_root().ensure_object(dict)
    return resolve(given, os.environ, (user_file(os.environ), SYSTEM_FILE))


def user_file(environment: Mapping[str, str]) -> Path:
    """The user's own file (XDG base directory specification)."""
    base = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "podyard" / "cli.toml"


def resolve(given: Mapping[str, Any], environment: Mapping[str, str], files: tuple[Path, ...]) -> Settings:
    """Settings from the options ``given``, an environment and the files that exist, the first source first.

    Raises ConfigError, naming the file and the key.
    """
    sources = [
        dict(given),
        {key: _first(environment, names) for key, names in VARIABLES.items()},
        *(_read(file) for file in files if file.exists()),
    ]
    values = {key: value for key, value in given.items() if key in {"output", "quiet", "no_trunc"}}
    image = None
    for source in reversed(sources):
        values.update({key: source[key] for key in ("timeout",) if source.get(key)})
        values.update({key: Path(source[key]) for key in ("pod_root", "log_root") if source.get(key)})
    for source in sources:
        image = image or source.get("image_endpoint")
        if source.get("runtime_endpoint"):
            values["runtime_endpoint"] = source["runtime_endpoint"]
            break
    return Settings(image_endpoint=image, **values)


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error
    for key, value in values.items():
        if key not in FILE_KEYS:
            raise ConfigError(f"{file}: unknown key {key!r}; known are {', '.join(FILE_KEYS)}")
        if key == "timeout":
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise ConfigError(f"{file}: timeout must be a number of seconds above 0, not {value!r}")
        elif not isinstance(value, str):
            raise ConfigError(f"{file}: {key} must be a string, not {value!r}")
    return {key.replace("-", "_"): value for key, value in values.items()}


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Keep an option that stands on the command line; the one after the command's name comes last and wins."""
    source = context.get_parameter_source(option.name or "")
    if source is click.core.ParameterSource.COMMANDLINE:
        context.find_root().ensure_object(dict)[option.name] = value


def _shared(*names: str, **attributes: Any) -> Callable[[Function], Function]:
    return click.option(*names, expose_value=False, callback=_remember, **attributes)


def endpoint_options(function: Function, *image_names: str) -> Function:
    """Add the options that say which runtime is meant."""
    names = image_names or ("--image-endpoint",)
    options = (
        _shared("--runtime-endpoint", "-r", metavar="ENDPOINT", help="The runtime's socket: unix:///path or a path."),
        _shared(*names, metavar="ENDPOINT", help="The image service's socket, where it is another one."),
    )
    return _applied(function, options)


def timeout_option(function: Function) -> Function:
    """Add the option that bounds the connecting; calls have the kubelet's limits."""
    seconds = click.FloatRange(min=0, min_open=True)
    return _shared("--timeout", type=seconds, metavar="SECONDS", help="How long a runtime may take to be reached.")(
        function
    )


def group_options(function: Function) -> Function:
    """Add all shared options. Only before a command's name is -i short for the image endpoint: exec has its own -i."""
    return endpoint_options(timeout_option(output_options(function)), "--image-endpoint", "-i")


def output_options(function: Function) -> Function:
    """Add the options that say what is printed."""
    options = (
        _shared("--output", "-o", type=click.Choice(FORMATS), metavar="FORMAT", help=f"One of {', '.join(FORMATS)}."),
        _shared("--quiet", "-q", is_flag=True, help="Print ids only."),
        _shared("--no-trunc", is_flag=True, help="Print ids in full."),
    )
    return _applied(function, options)


def _applied(function: Function, options: tuple[Callable[[Function], Function], ...]) -> Function:
    for option in reversed(options):
        function = option(function)
    return function
