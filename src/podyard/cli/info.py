"""``podyard info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options
from podyard.cli.units import size
from podyard.errors import Unimplemented

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import api


@click.command()
@output_options
@with_client
async def command(client: Client, settings: Settings) -> None:
    """Show a runtime's conditions, handlers and configuration.

    JSON and YAML: {version, status, runtime_config, filesystems}, the answers of Version, Status (its "info" values
    decoded), RuntimeConfig (null where the runtime has no such call) and ImageFsInfo.
    """
    version = await client.runtime.version()
    status = await client.runtime.status(verbose=True)
    filesystems = await client.images.image_fs_info()
    try:
        config = await client.runtime.runtime_config()
    except Unimplemented:
        config = None
    if settings.output in {"json", "yaml"}:
        data = {
            "version": output.as_data(version),
            "status": {**output.as_data(status), "info": output.decoded(status.info)},
            "runtime_config": None if config is None else output.as_data(config),
            "filesystems": output.as_data(filesystems),
        }
        output.show_data(data, settings.output)
        return
    if settings.quiet or settings.output == "name":
        print(version.runtime_name)
        return
    driver = "unknown" if config is None else _driver(config)
    print(
        output.table(
            ("RUNTIME", "VERSION", "CRI", "CGROUP DRIVER", "ENDPOINT"),
            [
                (
                    version.runtime_name,
                    version.runtime_version,
                    client.runtime_version,
                    driver,
                    settings.runtime_endpoint,
                )
            ],
        )
    )
    print()
    print(
        output.table(
            ("CONDITION", "STATUS", "REASON", "MESSAGE"),
            [(one.type, str(one.status).lower(), one.reason, one.message) for one in status.status.conditions],
        )
    )
    if status.runtime_handlers:
        print()
        print(output.table(("HANDLER", "FEATURES"), [_handler(one) for one in status.runtime_handlers]))
    print()
    print(
        output.table(
            ("FILE SYSTEM", "HOLDS", "USED", "INODES"),
            [
                (one.fs_id.mountpoint, holds, size(one.used_bytes.value), str(one.inodes_used.value))
                for holds, found in (
                    ("images", filesystems.image_filesystems),
                    ("containers", filesystems.container_filesystems),
                )
                for one in found
            ],
        )
    )


def _driver(config: api.RuntimeConfigResponse) -> str:
    from podyard.cri import api

    return api.CgroupDriver.Name(config.linux.cgroup_driver).lower()


def _handler(handler: api.RuntimeHandler) -> tuple[str, str]:
    return handler.name or "(default)", ", ".join(field.name for field, value in handler.features.ListFields() if value)
