"""The daemon's configuration: one typed tree, read from TOML, drop-ins and flags. Its defaults are its documentation.

A later source wins, key by key: the defaults, the file (``/etc/podyard/podyard.toml``), the files of
``/etc/podyard/podyard.toml.d/`` in order of their names, then the flags of ``podyard serve``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from podyard.errors import ConfigError
from podyard.images.config import ImagesConfig
from podyard.linux import mounts
from podyard.network.config import NetworkConfig
from podyard.stats.config import StatsConfig
from podyard.streaming.config import StreamingConfig

DEFAULT_FILE = Path("/etc/podyard/podyard.toml")

_ADDRESS = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")


class HandlerConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One runtime handler (a RuntimeClass' ``handler``)."""

    path: str
    """The OCI runtime: a path, or a name that is looked up in PATH."""
    options: list[str] = []
    """Global options put before the runtime's own verbs."""


class RuntimeConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How containers are run."""

    candidates: list[str] = msgspec.field(default_factory=lambda: ["crun", "runc"])
    """OCI runtimes for the default handler: the first that runs a trial container on this host is taken."""
    handlers: dict[str, HandlerConfig] = {}
    """Further runtime handlers by name."""
    monitor: str = "conmon"
    """conmon: a path, or a name that is looked up in PATH."""
    init: str = "catatonit"
    """The static init that holds a shared PID namespace: a path, or a name that is looked up in PATH."""
    cgroup_driver: Literal["auto", "cgroupfs", "systemd"] = "auto"
    """auto: systemd where it is process 1, else cgroupfs. The kubelet asks for it (RuntimeConfig)."""
    cgroup_parent: str = ""
    """Parent of the cgroups of pods that name none; "" is /podyard, or podyard.slice under systemd."""
    seccomp_dir: Path = Path("/var/lib/kubelet/seccomp")
    """Where profiles of type Localhost with a relative name are looked up."""
    cdi_dirs: list[Path] = msgspec.field(default_factory=lambda: [Path("/etc/cdi"), Path("/var/run/cdi")])
    """Where vendors describe devices (Container Device Interface); a later directory wins over an earlier one."""
    pids_limit: int = 0
    """Processes that one container may have; 0 sets no limit."""
    log_buffer: int = 0
    """Bytes after which conmon cuts a log file by itself; 0 leaves rotation to the CRI client."""
    hooks: list[str] = []
    """Hooks to load besides the installed ones, as "package.module:function"."""


class Config(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    root: Path = Path("/var/lib/podyard")
    """What must survive a reboot: the database, images, containers' writable layers."""
    run: Path = Path("/run/podyard")
    """What lives as long as the kernel: sockets, pinned namespaces, bundles."""
    listen: Path = Path("/run/podyard/podyard.sock")
    """The socket of both services (mode 0600)."""
    image_listen: Path | None = None
    """A socket for the ImageService alone; then the first one serves the RuntimeService alone."""
    versions: list[Literal["v1", "v1alpha2"]] = msgspec.field(default_factory=lambda: ["v1", "v1alpha2"])
    """The CRI versions to serve; [] for none."""
    image_versions: list[Literal["v1", "v1alpha2"]] | None = None
    """Those of the ImageService, where they are others; [] serves no images to CRI clients."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity of the daemon's own log, which goes to standard error."""
    slow_call: float = 10.0
    """Seconds after which a call's stages are logged."""
    metrics_listen: str = ""
    """Where Prometheus finds /metrics ("host:port"), in plain HTTP for whoever reaches it; "" for nowhere."""
    runtime: RuntimeConfig = msgspec.field(default_factory=RuntimeConfig)
    images: ImagesConfig = msgspec.field(default_factory=ImagesConfig)
    network: NetworkConfig = msgspec.field(default_factory=NetworkConfig)
    streaming: StreamingConfig = msgspec.field(default_factory=StreamingConfig)
    stats: StatsConfig = msgspec.field(default_factory=StatsConfig)

    @property
    def versions_of_images(self) -> list[Literal["v1", "v1alpha2"]]:
        """The versions of the ImageService."""
        return self.versions if self.image_versions is None else self.image_versions


def load(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration from ``file`` (default: /etc/podyard/podyard.toml, if it exists), its drop-ins and overrides.

    ``overrides``: a nested mapping with the keys of the file; None values are left out.

    Raises ConfigError, naming the file and the key.
    """
    if file is not None and not file.exists():
        raise ConfigError(f"there is no configuration file {file}")
    main = file or DEFAULT_FILE
    merged: dict[str, Any] = {}
    sources = [main] if main.exists() else []
    sources += sorted(Path(f"{main}.d").glob("*.toml"))
    for source in sources:
        values = _read(source)
        _check(values, str(source))
        merged = _merge(merged, values)
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    config = _check(_merge(merged, given), "the configuration")
    if config.image_listen == config.listen:
        raise ConfigError(f"image_listen and listen are both {config.listen}: leave image_listen out for one socket")
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _check(values: Mapping[str, Any], source: str) -> Config:
    try:
        config = msgspec.convert(values, Config, strict=True, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error
    for path in (config.root, config.run, config.listen, config.image_listen):
        if path is not None and not path.is_absolute():
            raise ConfigError(f"{source}: {path} must be an absolute path")
    if not mounts.fits_overlay(config.root):
        raise ConfigError(
            f"{source}: the root {config.root} has a comma, colon or backslash, which overlayfs cannot take"
        )
    port = config.metrics_listen.rpartition(":")[2]
    if config.metrics_listen and not (_ADDRESS.fullmatch(config.metrics_listen) and int(port) <= 65535):
        raise ConfigError(f"{source}: metrics_listen is {config.metrics_listen!r}, which should be like 127.0.0.1:9470")
    return config


def _decode(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


def _merge(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in more.items():
        under = merged.get(key)
        merged[key] = _merge(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
